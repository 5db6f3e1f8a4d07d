//! The sending thread.
//!
//! Invariant: one thread has all connections, so that sending takes at most one core; a connection has one request in
//! flight at a time.

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
use super::limits::{CONCURRENT_CONNECTS, RECONNECT_PAUSE};
use super::meter::{Meter, Timing};
use super::plan::Plan;
use super::request::{Epoch, Request, RunTag};
use super::schedule::Schedule;
use super::timer::Timer;

/// Open connections that have not sent anything.
pub struct Senders {
    runtime: tokio::runtime::Runtime,
    senders: Vec<Sender>,
    address: Address,
}

/// State that all senders of a run share.
#[derive(Clone)]
pub struct SharedRun {
    /// The intended start of each request.
    pub schedule: Arc<Schedule>,
    /// The counters.
    pub meter: Arc<Meter>,
    /// Converts times to microseconds since 1970.
    pub epoch: Epoch,
    /// Ends the run early.
    pub stop: CancellationToken,
}

struct Sender {
    connection: Option<Connection>,
    timer: Timer,
    requests: Vec<Request>,
}

impl Senders {
    /// Opens all connections. Must not be called within a runtime, since it blocks on one.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn open(plan: &Plan, address: &Address, run: RunTag) -> Result<Self, BenchError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(
            |cause| BenchError::System { what: "a runtime for the sending thread", cause },
        )?;
        let senders = runtime.block_on(async {
            let opening = (0..plan.connections).map(|_| Sender::open(plan, address, run));
            let opened = futures_util::stream::iter(opening).buffer_unordered(CONCURRENT_CONNECTS);
            opened.collect::<Vec<_>>().await.into_iter().collect::<io::Result<Vec<_>>>()
        });
        let senders = senders
            .map_err(|cause| BenchError::Unreachable { address: address.to_string(), cause })?;
        Ok(Self { runtime, senders, address: address.clone() })
    }

    /// Sends on a new thread until the schedule ends or the token is cancelled; then drops `ended`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(self, shared: SharedRun, ended: oneshot::Sender<()>) -> Result<(), BenchError> {
        let send = move || {
            self.runtime.block_on(async {
                let mut all = JoinSet::new();
                for sender in self.senders {
                    all.spawn(sender.run(self.address.clone(), shared.clone()));
                }
                while all.join_next().await.is_some() {}
            });
            drop(ended);
        };
        let builder = std::thread::Builder::new().name("bench-sender".to_owned());
        let started = builder.spawn(send).map(|_| ());
        started.map_err(|cause| BenchError::System { what: "the sending thread", cause })
    }
}

impl Sender {
    async fn open(plan: &Plan, address: &Address, run: RunTag) -> io::Result<Self> {
        let connection = Some(Connection::open(address).await?);
        Ok(Self { connection, timer: Timer::new()?, requests: Request::all(plan, address, run) })
    }

    async fn run(mut self, address: Address, shared: SharedRun) {
        while !shared.stop.is_cancelled() {
            let Some((number, intended)) = shared.schedule.take(Instant::now()) else { return };
            let on_time = intended >= Instant::now();
            if on_time {
                tokio::select! {
                    biased;
                    timed = self.timer.until(intended) => if timed.is_err() { return },
                    () = shared.stop.cancelled() => return,
                }
            }
            let timing = Timing { intended, started: Instant::now(), on_time };
            self.send(number, timing, &address, &shared).await;
        }
    }

    async fn send(&mut self, number: u64, timing: Timing, address: &Address, shared: &SharedRun) {
        let index = usize::try_from(number).unwrap_or_default() % self.requests.len();
        let request = &mut self.requests[index];
        let messages = request.messages();
        let bytes = request.patched(number, shared.epoch.micros(timing.intended));
        let result = match &mut self.connection {
            Some(connection) => connection.send(bytes).await,
            None => match Connection::open(address).await {
                Ok(connection) => self.connection.insert(connection).send(bytes).await,
                Err(error) => Err(error),
            },
        };
        match result {
            Ok(response) => {
                shared.meter.record_response(timing, messages, &response);
                if !response.keep_alive {
                    self.connection = None;
                }
            }
            Err(error) => {
                shared.meter.record_failure(timing, messages, &error);
                self.connection = None;
                tokio::time::sleep(RECONNECT_PAUSE).await;
            }
        }
    }
}
