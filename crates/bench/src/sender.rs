//! The thread that sends.
//!
//! Invariant: one thread with all connections, so that the generator takes at most one core of what
//! it measures; a connection has one request on the way at a time.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt as _;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::address::Address;
use super::client::Connection;
use super::error::BenchError;
use super::limits::{CONNECTS_AT_ONCE, RECONNECT_PAUSE};
use super::meter::{Begin, Meter};
use super::plan::Plan;
use super::request::{Epoch, Request, RunTag};
use super::schedule::Schedule;
use super::timer::Timer;

/// Connections that are open and have sent nothing.
pub struct Ready {
    runtime: tokio::runtime::Runtime,
    senders: Vec<Sender>,
    address: Address,
}

/// What all senders of a run share.
#[derive(Clone)]
pub struct Course {
    /// When each request should begin.
    pub schedule: Arc<Schedule>,
    /// Where answers are counted.
    pub meter: Arc<Meter>,
    /// Both clocks.
    pub epoch: Epoch,
    /// Ends the run early.
    pub stop: CancellationToken,
}

struct Sender {
    connection: Option<Connection>,
    timer: Timer,
    requests: Vec<Request>,
}

impl Ready {
    /// Opens every connection. Not to be called from within a runtime.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn open(plan: &Plan, address: &Address, run: RunTag) -> Result<Self, BenchError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|cause| BenchError::System { what: "a runtime to send from", cause })?;
        let senders = runtime.block_on(async {
            let opening = (0..plan.connections).map(|_| Sender::open(plan, address, run));
            let opened = futures_util::stream::iter(opening).buffer_unordered(CONNECTS_AT_ONCE);
            opened.collect::<Vec<_>>().await.into_iter().collect::<io::Result<Vec<_>>>()
        });
        let senders = senders
            .map_err(|cause| BenchError::Unreachable { address: address.to_string(), cause })?;
        Ok(Self { runtime, senders, address: address.clone() })
    }

    /// Sends on a thread of its own until the schedule or the token ends it; `ended` is dropped then.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(self, course: Course, ended: oneshot::Sender<()>) -> Result<(), BenchError> {
        let send = move || {
            self.runtime.block_on(async {
                let mut all = JoinSet::new();
                for sender in self.senders {
                    all.spawn(sender.run(self.address.clone(), course.clone()));
                }
                while all.join_next().await.is_some() {}
            });
            drop(ended);
        };
        let named = std::thread::Builder::new().name("bench-sender".to_owned());
        let started = named.spawn(send).map(|_| ());
        started.map_err(|cause| BenchError::System { what: "a thread to send from", cause })
    }
}

impl Sender {
    async fn open(plan: &Plan, address: &Address, run: RunTag) -> io::Result<Self> {
        let connection = Some(Connection::open(address).await?);
        Ok(Self { connection, timer: Timer::new()?, requests: Request::all(plan, address, run) })
    }

    async fn run(mut self, address: Address, course: Course) {
        while !course.stop.is_cancelled() {
            let Some((number, intended)) = course.schedule.take(Instant::now()) else { return };
            let waited = intended >= Instant::now();
            if waited {
                tokio::select! {
                    biased;
                    timed = self.timer.until(intended) => if timed.is_err() { return },
                    () = course.stop.cancelled() => return,
                }
            }
            let begin = Begin { intended, begun: Instant::now(), waited };
            self.send(number, begin, &address, &course).await;
        }
    }

    async fn send(&mut self, number: u64, begin: Begin, address: &Address, course: &Course) {
        let of = usize::try_from(number).unwrap_or_default() % self.requests.len();
        let request = &mut self.requests[of];
        let messages = request.messages();
        let bytes = request.at(number, course.epoch.micros(begin.intended));
        let answered = match &mut self.connection {
            Some(connection) => connection.send(bytes).await,
            None => match Connection::open(address).await {
                Ok(connection) => self.connection.insert(connection).send(bytes).await,
                Err(error) => Err(error),
            },
        };
        match answered {
            Ok(answer) => {
                course.meter.answered(begin, messages, &answer);
                if !answer.keeps {
                    self.connection = None;
                }
            }
            Err(error) => {
                course.meter.failed(begin, messages, &error);
                self.connection = None;
                tokio::time::sleep(RECONNECT_PAUSE).await;
            }
        }
    }
}
