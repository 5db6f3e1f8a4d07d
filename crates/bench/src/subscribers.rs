//! Subscribers: connections to `/v1/stream`, a task for each.
//!
//! Invariant: every message that reaches a socket is counted. With few subscribers the latency of every event is
//! recorded, with many that of one in [`SAMPLE_EVERY`] events of each subscriber.

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
use super::limits::{
    CONCURRENT_CONNECTS, READ_BYTES, RESPONSE_TIMEOUT, SAMPLE_EVERY, SHARDS, UNSAMPLED_SUBSCRIBERS,
};
use super::plan::Plan;
use super::request::{Epoch, RunTag, intended_micros};
use super::samples::Samples;
use super::sse::{Sink, Stream};

thread_local! {
    /// The read buffer: one for each thread, so that idle subscribers need no memory for one.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// The counters of all subscribers.
#[derive(Default)]
pub struct EventCounts {
    shards: [Shard; SHARDS],
    /// Subscribers whose replay has reached the live edge.
    caught_up: AtomicUsize,
    /// Subscribers whose stream has ended.
    ended: AtomicUsize,
    /// Why the first of these ended.
    first_end: Mutex<Option<String>>,
}

#[derive(Default)]
struct Shard {
    events: AtomicU64,
    bytes: AtomicU64,
    /// Events of messages that do not belong to the run.
    foreign: AtomicU64,
    /// Events whose sequence was not above the previous one.
    out_of_order: AtomicU64,
    latency: Mutex<Samples>,
}

impl EventCounts {
    /// Events of the run's messages.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.sum(|shard| &shard.events)
    }

    /// Bytes of these events.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sum(|shard| &shard.bytes)
    }

    /// Events of other messages.
    #[must_use]
    pub fn foreign(&self) -> u64 {
        self.sum(|shard| &shard.foreign)
    }

    /// Events out of order, and duplicates.
    #[must_use]
    pub fn out_of_order(&self) -> u64 {
        self.sum(|shard| &shard.out_of_order)
    }

    /// Subscribers whose replay has reached the live edge.
    #[must_use]
    pub fn caught_up(&self) -> usize {
        self.caught_up.load(Ordering::Relaxed)
    }

    /// Subscribers whose stream has ended.
    #[must_use]
    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    /// Why the first of these ended.
    #[must_use]
    pub fn first_end(&self) -> Option<String> {
        self.first_end.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Latency from the intended time of a message to its event.
    #[must_use]
    pub fn latency(&self) -> Samples {
        let mut all = Samples::new();
        for shard in &self.shards {
            all.merge(&shard.latency.lock().unwrap_or_else(PoisonError::into_inner));
        }
        all
    }

    fn sum(&self, counter: impl Fn(&Shard) -> &AtomicU64) -> u64 {
        self.shards.iter().map(|shard| counter(shard).load(Ordering::Relaxed)).sum()
    }
}

/// How streams are opened and counted.
#[derive(Clone)]
pub struct SubscriberOptions {
    /// The server.
    pub address: Address,
    /// The run whose messages are counted and timed; `None` counts all messages and times none.
    pub run: Option<RunTag>,
    /// Converts times to microseconds since 1970.
    pub epoch: Epoch,
    /// Messages with an intended time before this, in microseconds since 1970, are not timed.
    pub from: Arc<AtomicU64>,
    /// The counters.
    pub received: Arc<EventCounts>,
}

/// Open streams; on drop they are closed.
pub struct Subscribers {
    /// Their counters.
    pub received: Arc<EventCounts>,
    _tasks: JoinSet<()>,
}

impl SubscriberOptions {
    /// Options for streams whose events are counted but not timed.
    #[must_use]
    pub fn untimed(address: &Address) -> Self {
        Self {
            address: address.clone(),
            run: None,
            epoch: Epoch::now(),
            from: Arc::new(AtomicU64::new(u64::MAX)),
            received: Arc::default(),
        }
    }

    /// Opens the streams of a plan, and waits until each is ready.
    ///
    /// # Errors
    /// A stream cannot be opened.
    pub async fn open(&self, plan: &Plan) -> Result<Subscribers, BenchError> {
        let all = plan.subscribers;
        let sample_every = if all <= UNSAMPLED_SUBSCRIBERS { 1 } else { SAMPLE_EVERY };
        let queries = (0..all).map(|number| (number, plan.filter(number)));
        self.open_each(queries.collect(), sample_every, CONCURRENT_CONNECTS).await
    }

    /// Opens a stream for each numbered query, at most `concurrency` at a time, and times one in `sample_every` events.
    ///
    /// # Errors
    /// A stream cannot be opened.
    pub async fn open_each(
        &self,
        queries: Vec<(usize, String)>,
        sample_every: u64,
        concurrency: usize,
    ) -> Result<Subscribers, BenchError> {
        let all = queries.len();
        let opening = queries.into_iter().map(|(number, query)| async move {
            let opened =
                tokio::time::timeout(RESPONSE_TIMEOUT, self.open_one(number, &query, sample_every));
            let opened = opened.await.unwrap_or_else(|_| Err("no response within 30 s".to_owned()));
            opened.map_err(|why| BenchError::Subscribe { number: number + 1, all, why })
        });
        let mut opened = futures_util::stream::iter(opening).buffer_unordered(concurrency);
        let mut tasks = JoinSet::new();
        while let Some(one) = opened.next().await {
            tasks.spawn(one?.run());
        }
        Ok(Subscribers { received: Arc::clone(&self.received), _tasks: tasks })
    }

    async fn open_one(
        &self,
        number: usize,
        query: &str,
        sample_every: u64,
    ) -> Result<Subscriber, String> {
        let head = self.address.head("GET", &format!("/v1/stream{query}"));
        let request = format!("{head}Accept: text/event-stream\r\n\r\n");
        let text = |error: io::Error| error.to_string();
        let mut socket = connect(&self.address).await.map_err(text)?;
        socket.write_all(request.as_bytes()).await.map_err(text)?;
        let state = SubscriberState {
            shard: number % SHARDS,
            sample_every,
            seen: number as u64,
            last_seq: 0,
            open: false,
            options: self.clone(),
        };
        let mut subscriber = Subscriber { socket, stream: Stream::default(), state };
        while !subscriber.state.open {
            subscriber.read().await?;
        }
        Ok(subscriber)
    }
}

struct Subscriber {
    socket: TcpStream,
    stream: Stream,
    state: SubscriberState,
}

struct SubscriberState {
    shard: usize,
    sample_every: u64,
    seen: u64,
    last_seq: u64,
    open: bool,
    options: SubscriberOptions,
}

impl Subscriber {
    async fn run(mut self) {
        loop {
            if let Err(reason) = self.read().await {
                let received = &self.state.options.received;
                received
                    .first_end
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(reason);
                received.ended.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Waits until the socket is readable, and reads once.
    async fn read(&mut self) -> Result<(), String> {
        self.socket.readable().await.map_err(|error| error.to_string())?;
        BUFFER.with_borrow_mut(|buffer| match self.socket.try_read(buffer) {
            Ok(0) => Err("the server closed the connection".to_owned()),
            Ok(count) => {
                let mut batch = ReadBatch::new(&mut self.state);
                let read = self.stream.read(&buffer[..count], &mut batch);
                batch.flush();
                read
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.to_string()),
        })
    }
}

/// The events of one read, counted together.
struct ReadBatch<'a> {
    state: &'a mut SubscriberState,
    now: Instant,
    events: u64,
    bytes: u64,
    foreign: u64,
    out_of_order: u64,
}

impl<'a> ReadBatch<'a> {
    fn new(state: &'a mut SubscriberState) -> Self {
        Self { state, now: Instant::now(), events: 0, bytes: 0, foreign: 0, out_of_order: 0 }
    }

    fn flush(self) {
        if self.events + self.foreign == 0 {
            return;
        }
        let shard = &self.state.options.received.shards[self.state.shard];
        shard.events.fetch_add(self.events, Ordering::Relaxed);
        shard.bytes.fetch_add(self.bytes, Ordering::Relaxed);
        if self.foreign + self.out_of_order > 0 {
            shard.foreign.fetch_add(self.foreign, Ordering::Relaxed);
            shard.out_of_order.fetch_add(self.out_of_order, Ordering::Relaxed);
        }
    }

    fn record_latency(&self, sent: u64) {
        let SubscriberOptions { epoch, from, received, .. } = &self.state.options;
        if sent < from.load(Ordering::Relaxed) {
            return;
        }
        let latency_micros = epoch.micros(self.now).saturating_sub(sent);
        let latency = &received.shards[self.state.shard].latency;
        latency.lock().unwrap_or_else(PoisonError::into_inner).record(latency_micros);
    }
}

impl Sink for ReadBatch<'_> {
    fn message(&mut self, seq: u64, event: &[u8]) {
        self.out_of_order += u64::from(seq <= self.state.last_seq);
        self.state.last_seq = seq;
        let sent = match self.state.options.run {
            None => None,
            Some(run) => match intended_micros(event, run) {
                Some(sent) => Some(sent),
                None => {
                    self.foreign += 1;
                    return;
                }
            },
        };
        self.events += 1;
        self.bytes += event.len() as u64;
        self.state.seen += 1;
        if let Some(sent) = sent
            && self.state.seen.is_multiple_of(self.state.sample_every)
        {
            self.record_latency(sent);
        }
    }

    fn ready(&mut self) {
        self.state.open = true;
    }

    fn caught_up(&mut self) {
        self.state.options.received.caught_up.fetch_add(1, Ordering::Relaxed);
    }
}
