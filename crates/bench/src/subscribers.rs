//! Those who listen: plain connections to `/v1/stream`, each its own task.
//!
//! Invariant: every message that reaches a socket is counted. With few subscribers the latency of
//! each is taken, with many of one in [`SAMPLED_EVENTS`] for each of them, evenly.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::address::Address;
use super::client::connect;
use super::error::BenchError;
use super::figures::Figures;
use super::limits::{
    ALL_EVENTS_SUBSCRIBERS, ANSWER_TIMEOUT, CONNECTS_AT_ONCE, READ_BYTES, SAMPLED_EVENTS, SHARDS,
};
use super::plan::Plan;
use super::request::{Epoch, RunTag, sent_at};
use super::sse::{Sink, Stream};

thread_local! {
    /// Where bytes are read to: one for a thread, so that ten thousand idle subscribers hold none.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// What subscribers count together.
#[derive(Default)]
pub struct Heard {
    shards: [Shard; SHARDS],
    /// Subscribers whose replay has met the live edge.
    caught_up: AtomicUsize,
    /// Subscribers whose stream has ended.
    ended: AtomicUsize,
    /// Why the first did.
    why: Mutex<Option<String>>,
}

#[derive(Default)]
struct Shard {
    events: AtomicU64,
    bytes: AtomicU64,
    /// Events of messages that are not of the run.
    others: AtomicU64,
    /// Events whose sequence was not above the one before.
    disorder: AtomicU64,
    latency: Mutex<Figures>,
}

impl Heard {
    /// Messages of the run heard, over all subscribers.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.sum(|shard| &shard.events)
    }

    /// Bytes of those messages.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sum(|shard| &shard.bytes)
    }

    /// Messages of somebody else heard.
    #[must_use]
    pub fn others(&self) -> u64 {
        self.sum(|shard| &shard.others)
    }

    /// Messages that came out of order, or twice.
    #[must_use]
    pub fn disorder(&self) -> u64 {
        self.sum(|shard| &shard.disorder)
    }

    /// Subscribers whose replay has met the live edge.
    #[must_use]
    pub fn caught_up(&self) -> usize {
        self.caught_up.load(Ordering::Relaxed)
    }

    /// Subscribers whose stream has ended.
    #[must_use]
    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    /// Why the first of them did.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From the intended time of a message to its event.
    #[must_use]
    pub fn latency(&self) -> Figures {
        let mut all = Figures::new();
        for shard in &self.shards {
            all.add(&shard.latency.lock().unwrap_or_else(PoisonError::into_inner));
        }
        all
    }

    fn sum(&self, of: impl Fn(&Shard) -> &AtomicU64) -> u64 {
        self.shards.iter().map(|shard| of(shard).load(Ordering::Relaxed)).sum()
    }
}

/// What is listened for.
#[derive(Clone)]
pub struct Listening {
    /// Where.
    pub address: Address,
    /// Messages of which run are counted and timed; `None` counts all and times none.
    pub run: Option<RunTag>,
    /// Both clocks.
    pub epoch: Epoch,
    /// Messages that should have been sent earlier, in microseconds since 1970, are not timed.
    pub from: Arc<AtomicU64>,
    /// Where all count.
    pub heard: Arc<Heard>,
}

/// Open streams. Dropped, they end.
pub struct Subscribers {
    /// What they heard.
    pub heard: Arc<Heard>,
    _tasks: JoinSet<()>,
}

impl Listening {
    /// For streams whose events are counted and not timed.
    #[must_use]
    pub fn untimed(address: &Address) -> Self {
        Self {
            address: address.clone(),
            run: None,
            epoch: Epoch::now(),
            from: Arc::new(AtomicU64::new(u64::MAX)),
            heard: Arc::default(),
        }
    }

    /// Opens every stream of a plan, and waits until each is ready.
    ///
    /// # Errors
    /// One could not be opened.
    pub async fn open(&self, plan: &Plan) -> Result<Subscribers, BenchError> {
        let all = plan.subscribers;
        let sampled = if all <= ALL_EVENTS_SUBSCRIBERS { 1 } else { SAMPLED_EVENTS };
        let queries = (0..all).map(|number| (number, plan.filter(number)));
        self.open_each(queries.collect(), sampled, CONNECTS_AT_ONCE).await
    }

    /// Opens a stream for each query, so many at once, and times one event of `sampled`.
    ///
    /// # Errors
    /// One could not be opened.
    pub async fn open_each(
        &self,
        queries: Vec<(usize, String)>,
        sampled: u64,
        at_once: usize,
    ) -> Result<Subscribers, BenchError> {
        let all = queries.len();
        let opening = queries.into_iter().map(|(number, query)| async move {
            let opened =
                tokio::time::timeout(ANSWER_TIMEOUT, self.open_one(number, &query, sampled));
            let opened = opened.await.unwrap_or_else(|_| Err("no answer within 30 s".to_owned()));
            opened.map_err(|why| BenchError::Subscribe { number: number + 1, all, why })
        });
        let mut opened = futures_util::stream::iter(opening).buffer_unordered(at_once);
        let mut tasks = JoinSet::new();
        while let Some(one) = opened.next().await {
            tasks.spawn(one?.listen());
        }
        Ok(Subscribers { heard: Arc::clone(&self.heard), _tasks: tasks })
    }

    async fn open_one(
        &self,
        number: usize,
        query: &str,
        sampled: u64,
    ) -> Result<Subscriber, String> {
        let head = self.address.head("GET", &format!("/v1/stream{query}"));
        let request = format!("{head}Accept: text/event-stream\r\n\r\n");
        let words = |error: io::Error| error.to_string();
        let mut socket = connect(&self.address).await.map_err(words)?;
        socket.write_all(request.as_bytes()).await.map_err(words)?;
        let ears = Ears {
            shard: number % SHARDS,
            sampled,
            seen: number as u64,
            last_seq: 0,
            open: false,
            listening: self.clone(),
        };
        let mut subscriber = Subscriber { socket, stream: Stream::default(), ears };
        while !subscriber.ears.open {
            subscriber.read().await?;
        }
        Ok(subscriber)
    }
}

struct Subscriber {
    socket: TcpStream,
    stream: Stream,
    ears: Ears,
}

struct Ears {
    shard: usize,
    sampled: u64,
    seen: u64,
    last_seq: u64,
    open: bool,
    listening: Listening,
}

impl Subscriber {
    async fn listen(mut self) {
        loop {
            if let Err(words) = self.read().await {
                let heard = &self.ears.listening.heard;
                heard.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(words);
                heard.ended.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Waits until there is something, and reads it.
    async fn read(&mut self) -> Result<(), String> {
        self.socket.readable().await.map_err(|error| error.to_string())?;
        BUFFER.with_borrow_mut(|buffer| match self.socket.try_read(buffer) {
            Ok(0) => Err("the server closed the connection".to_owned()),
            Ok(count) => {
                let mut batch = Batch::of(&mut self.ears);
                let read = self.stream.read(&buffer[..count], &mut batch);
                batch.end();
                read
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.to_string()),
        })
    }
}

/// What one read brought.
struct Batch<'a> {
    ears: &'a mut Ears,
    now: Instant,
    events: u64,
    bytes: u64,
    others: u64,
    disorder: u64,
}

impl<'a> Batch<'a> {
    fn of(ears: &'a mut Ears) -> Self {
        Self { ears, now: Instant::now(), events: 0, bytes: 0, others: 0, disorder: 0 }
    }

    fn end(self) {
        if self.events + self.others == 0 {
            return;
        }
        let shard = &self.ears.listening.heard.shards[self.ears.shard];
        shard.events.fetch_add(self.events, Ordering::Relaxed);
        shard.bytes.fetch_add(self.bytes, Ordering::Relaxed);
        if self.others + self.disorder > 0 {
            shard.others.fetch_add(self.others, Ordering::Relaxed);
            shard.disorder.fetch_add(self.disorder, Ordering::Relaxed);
        }
    }

    fn time(&self, sent: u64) {
        let Listening { epoch, from, heard, .. } = &self.ears.listening;
        if sent < from.load(Ordering::Relaxed) {
            return;
        }
        let took = epoch.micros(self.now).saturating_sub(sent);
        let latency = &heard.shards[self.ears.shard].latency;
        latency.lock().unwrap_or_else(PoisonError::into_inner).number(took);
    }
}

impl Sink for Batch<'_> {
    fn message(&mut self, seq: u64, event: &[u8]) {
        self.disorder += u64::from(seq <= self.ears.last_seq);
        self.ears.last_seq = seq;
        let sent = match self.ears.listening.run {
            None => None,
            Some(run) => match sent_at(event, run) {
                Some(sent) => Some(sent),
                None => {
                    self.others += 1;
                    return;
                }
            },
        };
        self.events += 1;
        self.bytes += event.len() as u64;
        self.ears.seen += 1;
        if let Some(sent) = sent
            && self.ears.seen.is_multiple_of(self.ears.sampled)
        {
            self.time(sent);
        }
    }

    fn ready(&mut self) {
        self.ears.open = true;
    }

    fn caught_up(&mut self) {
        self.ears.listening.heard.caught_up.fetch_add(1, Ordering::Relaxed);
    }
}
