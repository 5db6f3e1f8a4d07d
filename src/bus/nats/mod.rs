//! The bus in JetStream.
//!
//! Invariant: one stream is the log, and its sequences are the bus's. Nothing here
//! changes an existing stream unasked, queues publishes while there is no connection,
//! or waits without a limit. async-nats is used for its connection alone: requests,
//! acks and pulls go through inboxes of our own, since async-nats 0.51 leaks an entry
//! for every answer that never comes.
//!
//! Permissions that a server's user needs: publish on the three subject spaces and on
//! `$JS.API.STREAM.INFO.<s>`, `$JS.API.STREAM.MSG.GET.<s>`,
//! `$JS.API.CONSUMER.CREATE.<s>.*` and `$JS.API.CONSUMER.MSG.NEXT.<s>.*`; subscribe to its inbox.
//! Besides, `$JS.API.STREAM.CREATE.<s>` for the first start, `$JS.API.STREAM.PURGE.<s>` to come from
//! the memory bus, and `$JS.API.STREAM.UPDATE.<s>` for `doctor --fix`.

mod api;
mod breaker;
mod conditional;
mod config;
mod connect;
mod consumer;
mod entry;
mod error;
mod failover;
pub mod jobs;
mod publish;
mod read_connection;
mod reader;
mod requester;
mod send_queue;
mod stream;
#[cfg(test)]
mod tests;
mod usage;
mod write_back;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

pub use config::NatsConfig;
pub use stream::{Degradation, IfMissing};
pub use write_back::WriteBack;

use super::durable::DurableConsumers;
use super::{Ack, Bounds, Bus, BusError, LogIdentity, Precondition, PublishError, Reader};
use crate::message::{LogEntry, Outgoing};
use api::StreamInfo;
use connect::Connection;
use consumer::NatsConsumers;
use publish::Publisher;
use read_connection::ReadConnection;
use reader::{ReaderContext, StreamReader};
use requester::Requester;
use usage::StreamUsage;

/// What a stream keeps by its own limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At most so many messages.
    pub messages: u64,
    /// None older; `None` is no limit.
    pub age: Option<chrono::TimeDelta>,
}

/// The log in a JetStream stream.
pub struct NatsBus {
    requester: Arc<Requester>,
    publisher: Publisher,
    reading: Arc<ReaderContext>,
    consumers: Arc<NatsConsumers>,
    stream: String,
    degradations: Vec<Degradation>,
    /// The stream's own window, in nanoseconds: it may be changed while we run.
    dedup_window: AtomicU64,
    fill: Arc<StreamUsage>,
    suspicions: Arc<watch::Sender<u64>>,
    config: NatsConfig,
    /// Keep [`StreamUsage`] and `suspicions` fresh; they end with the bus.
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl NatsBus {
    /// Connects, and finds or makes the stream.
    ///
    /// # Errors
    /// No server, no JetStream, or a stream that cannot be our log. Tried once: the caller
    /// decides about trying again.
    pub async fn connect(config: NatsConfig) -> Result<Self, BusError> {
        Self::connect_or(config, IfMissing::Create).await
    }

    /// Connects, and does what is said when there is no stream.
    ///
    /// # Errors
    /// As [`NatsBus::connect`].
    pub async fn connect_or(config: NatsConfig, missing: IfMissing) -> Result<Self, BusError> {
        config.check().map_err(BusError)?;
        let connection = Connection::open(&config, "publish").await?;
        let requester = Arc::new(Requester::start(connection.clone()).await?);
        let (info, degradations) = stream::ensure(&requester, &config, missing).await?;
        let link = Arc::new(ReadConnection::open(&config, "read").await?);
        let consumers = Arc::new(NatsConsumers::new(requester.clone(), config.clone()));
        for degradation in &degradations {
            tracing::warn!("{degradation}");
        }
        let stream = config.stream_name.clone();
        let fill = Arc::new(StreamUsage::default());
        let suspicions = Arc::new(watch::Sender::new(0));
        let counting = tokio::spawn(count_reconnects(connection, suspicions.clone()));
        let refreshing = tokio::spawn({
            let (fill, requester, stream) = (fill.clone(), requester.clone(), stream.clone());
            let suspicions = suspicions.clone();
            async move { fill.refresh(&requester, &stream, &suspicions).await }
        });
        let bus = Self {
            publisher: Publisher::with_batches(&stream, &requester),
            reading: Arc::new(ReaderContext {
                requester: requester.clone(),
                link,
                stream: stream.clone(),
                suspicions: suspicions.clone(),
            }),
            consumers,
            requester,
            stream,
            degradations,
            dedup_window: AtomicU64::new(0),
            fill,
            suspicions,
            config,
            _tasks: [counting, refreshing].map(AbortOnDropHandle::new),
        };
        bus.learn(&info)?;
        Ok(bus)
    }

    /// What the stream lacked, or had otherwise than configured, when we connected.
    #[must_use]
    pub fn degradations(&self) -> &[Degradation] {
        &self.degradations
    }

    /// Counts the times that the stream may have become another one, so that the continuity check
    /// is due: the publishing connection was made again after it broke, a reader's consumer was deleted,
    /// or the stream was found to be gone, to have gone back, or to have another epoch.
    #[must_use]
    pub fn suspicions(&self) -> watch::Receiver<u64> {
        self.suspicions.subscribe()
    }

    /// What the log is; a stream that is gone, and stays so for [`crate::limits::NATS_STREAM_GONE`], is made
    /// anew, shut.
    ///
    /// # Errors
    /// The server's, or that what is there cannot be our log.
    pub async fn find_or_create(&self) -> Result<LogIdentity, BusError> {
        stream::ensure(&self.requester, &self.config, IfMissing::Recreate).await?;
        self.identity().await
    }

    /// Deletes the stream and makes it again with its own configuration, empty, with an epoch of its
    /// own. NatsConsumers go with it.
    ///
    /// # Errors
    /// The server's. Between the two steps there may be no stream.
    pub async fn recreate(&self) -> Result<(), BusError> {
        let info = self.requester.stream_info(&self.stream).await?;
        let wanted = stream::anew(&write_back::reopened_if_shut(&info)?, Uuid::new_v4());
        Ok(stream::replace(&self.requester, &self.stream, &wanted).await?)
    }

    /// What the stream's own limits let it keep.
    ///
    /// # Errors
    /// The server's.
    pub async fn retention(&self) -> Result<Retention, BusError> {
        let config = self.info().await?.parsed()?;
        let messages = u64::try_from(config.max_msgs).ok().filter(|limit| *limit > 0);
        let age = Some(config.max_age).filter(|nanos| *nanos > 0);
        Ok(Retention {
            messages: messages.unwrap_or(u64::MAX),
            age: age.map(chrono::TimeDelta::nanoseconds),
        })
    }

    /// Moves the stream's next sequence to `seq`, dropping what it holds: nothing if it held
    /// nothing. Nobody else may publish meanwhile.
    ///
    /// # Errors
    /// When the stream is there already, unless `forced`: then what is below `seq` is dropped.
    pub async fn purge_to(&self, seq: u64, forced: bool) -> Result<Bounds, BusError> {
        let last = self.requester.stream_info(&self.stream).await?.state.last_seq;
        if last.saturating_add(1) >= seq && !forced {
            return Err(BusError(format!(
                "stream {} is at {last} already: refusing to purge it up to {seq}",
                self.stream
            )));
        }
        self.requester.purge_below(&self.stream, seq).await?;
        Ok(self.identity().await?.bounds)
    }

    /// Publishes an entry with its own subject, headers and payload, if the stream's last sequence
    /// is `after`. A `Nats-Msg-Id` that the stream still knows is answered as a duplicate and stores
    /// nothing: check the ack.
    ///
    /// # Errors
    /// As [`Bus::publish`]; another last sequence is [`PublishError::NotSent`].
    pub async fn publish_original(
        &self,
        entry: &LogEntry,
        after: u64,
    ) -> Result<Ack, PublishError> {
        let entries = std::slice::from_ref(entry);
        let outcomes = self.publisher.publish_originals(&self.requester, "", entries, after).await;
        let lost = || PublishError::Unknown("no outcome".to_owned());
        outcomes.into_iter().next().unwrap_or_else(|| Err(lost()))
    }

    async fn info(&self) -> Result<StreamInfo, BusError> {
        let info = self.requester.stream_info(&self.stream).await?;
        self.learn(&info)?;
        Ok(info)
    }

    fn learn(&self, info: &StreamInfo) -> Result<(), BusError> {
        let config = info.parsed()?;
        self.publisher.allow_batches(config.allow_atomic);
        let window = stream::duplicate_window(&config);
        let nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        self.dedup_window.store(nanos, Ordering::Relaxed);
        self.fill.learn(info);
        Ok(())
    }
}

/// Mends the stream of `config`: adds what it lacks and raises limits that are lower than
/// configured; lowers none, removes nothing. Acker what cannot be mended.
///
/// # Errors
/// No server, or the server refuses the change.
pub async fn fix_stream(config: &NatsConfig) -> Result<Vec<Degradation>, BusError> {
    config.check().map_err(BusError)?;
    let connection = Connection::open(config, "doctor").await?;
    stream::fix(&Requester::start(connection).await?, config).await
}

async fn count_reconnects(connection: Connection, counter: Arc<watch::Sender<u64>>) {
    let mut status = connection.status;
    let mut made = status.borrow_and_update().connects;
    while status.changed().await.is_ok() {
        let now = status.borrow_and_update().connects;
        if now > made {
            counter.send_modify(|count| *count += now - made);
            made = now;
        }
    }
}

#[async_trait]
impl Bus for NatsBus {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn log_name(&self) -> &str {
        &self.stream
    }

    fn dedup_window(&self) -> Option<Duration> {
        Some(Duration::from_nanos(self.dedup_window.load(Ordering::Relaxed)))
    }

    async fn publish(&self, messages: Vec<Outgoing>) -> Vec<Result<Ack, PublishError>> {
        let outcomes = self.publisher.publish(&self.requester, &messages).await;
        if let Some(seq) = outcomes.iter().flatten().map(|ack| ack.seq).max() {
            self.fill.acked(seq);
        }
        outcomes
    }

    async fn publish_if(
        &self,
        message: Outgoing,
        condition: &Precondition,
    ) -> Result<Option<Ack>, PublishError> {
        let outcome = self.publisher.publish_if(&self.requester, &message, condition).await;
        if let Ok(Some(ack)) = &outcome {
            self.fill.acked(ack.seq);
        }
        outcome
    }

    async fn identity(&self) -> Result<LogIdentity, BusError> {
        let info = self.info().await?;
        let config = info.parsed()?;
        Ok(LogIdentity {
            bounds: info.state.bounds(),
            epoch: stream::epoch(&config),
            write_back_pending: write_back::is_shut(&config),
        })
    }

    /// Asked of the stream's leader, which alone surely has it: a direct get may be answered by a
    /// replica that is behind, and breaks the connection when the entry is not UTF-8.
    async fn get(&self, seq: u64) -> Result<Option<LogEntry>, BusError> {
        Ok(self.requester.entry_at(&self.stream, seq).await?)
    }

    async fn reader(&self, from: u64) -> Result<Box<dyn Reader>, BusError> {
        Ok(Box::new(StreamReader::new(self.reading.clone(), from)))
    }

    fn health(&self) -> Result<(), String> {
        self.publisher.health(&self.requester)
    }

    fn uncommitted_share(&self, committed_through: u64) -> f64 {
        self.fill.share(committed_through)
    }

    fn durable_consumers(&self) -> Option<Arc<dyn DurableConsumers>> {
        Some(Arc::new(Arc::clone(&self.consumers)))
    }
}
