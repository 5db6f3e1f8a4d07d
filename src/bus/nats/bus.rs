//! The NATS bus: connections, publisher, readers, and a cached view of the stream.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::api::StreamInfo;
use super::config::NatsConfig;
use super::connect::Connection;
use super::consumer::NatsConsumers;
use super::permissions::{self, Use};
use super::publish::Publisher;
use super::pull::PullConnection;
use super::reader::{ReaderContext, StreamReader};
use super::requester::Requester;
use super::stream::{self, IfMissing};
use super::view::StreamView;
use crate::bus::durable::DurableConsumers;
use crate::bus::{
    Ack, Bounds, Bus, BusError, LogIdentity, Precondition, PublishError, Reader, Usage,
};
use crate::message::{LogEntry, Outgoing, decode};

/// How much the stream keeps by its own limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The highest number of messages.
    pub messages: u64,
    /// The highest age of a message; `None`: no limit.
    pub age: Option<chrono::TimeDelta>,
}

/// The log in a JetStream stream.
pub struct NatsBus {
    pub(super) requester: Arc<Requester>,
    pub(super) publisher: Publisher,
    reading: Arc<ReaderContext>,
    pub(super) consumers: Arc<NatsConsumers>,
    pub(super) stream: String,
    degradations: Vec<String>,
    pub(super) view: Arc<StreamView>,
    suspicions: Arc<watch::Sender<u64>>,
    pub(super) config: NatsConfig,
    /// The tasks that refresh `view` and count `suspicions`. They end with the bus.
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl NatsBus {
    /// Connects, and finds or creates the stream.
    ///
    /// # Errors
    /// There is no server or no JetStream, or the stream cannot be a log. Tried once: the caller decides
    /// about retries.
    pub async fn connect(config: NatsConfig) -> Result<Self, BusError> {
        Self::connect_or(config, IfMissing::Create, &[]).await
    }

    /// Connects; if there is no stream, acts as `missing` says. Before, checks the permissions for these uses, and warns
    /// of those without which this process can do a part of its work.
    ///
    /// # Errors
    /// As [`NatsBus::connect`], and if the user lacks another permission for these uses.
    pub async fn connect_or(
        config: NatsConfig,
        missing: IfMissing,
        uses: &[Use],
    ) -> Result<Self, BusError> {
        config.check().map_err(BusError)?;
        let connection = Connection::open_to_check(&config, "publish").await?;
        let requester = Arc::new(Requester::start(connection.clone()).await?);
        if !uses.is_empty() {
            permissions::check(&requester, &config, uses).await?;
        }
        let (info, degradations) = stream::ensure(&requester, &config, missing).await?;
        connection.log_denials();
        let reading = Arc::new(PullConnection::open(&config, "read").await?);
        let consumers = Arc::new(NatsConsumers::new(requester.clone(), config.clone()));
        for degradation in &degradations {
            tracing::warn!("{degradation}");
        }
        let stream = config.stream_name.clone();
        let view = Arc::new(StreamView::default());
        view.learn(&info)?;
        let suspicions = Arc::new(watch::Sender::new(0));
        let counting = tokio::spawn(count_reconnects(connection, suspicions.clone()));
        let refreshing = tokio::spawn({
            let (view, requester, stream) = (view.clone(), requester.clone(), stream.clone());
            let suspicions = suspicions.clone();
            async move { view.refresh(&requester, &stream, &suspicions).await }
        });
        let publisher = if config.sync_always {
            Publisher::with_batches(&stream, &requester, view.takes_batches.clone())
        } else {
            Publisher::new(&stream)
        };
        let reading = Arc::new(ReaderContext {
            requester: requester.clone(),
            connection: reading,
            stream: stream.clone(),
            suspicions: suspicions.clone(),
        });
        Ok(Self {
            requester,
            publisher,
            reading,
            consumers,
            stream,
            degradations,
            view,
            suspicions,
            config,
            _tasks: [counting, refreshing].map(AbortOnDropHandle::new),
        })
    }

    /// What the stream lacked, or how it differed from the configuration, when this process connected.
    #[must_use]
    pub fn degradations(&self) -> &[String] {
        &self.degradations
    }

    /// One line for the operator: how `NATS_SYNC_ALWAYS` is set, and when to change it.
    ///
    /// # Errors
    /// The line, if the setting is true but the stream takes no atomic batches.
    pub fn sync_setting(&self) -> Result<&'static str, String> {
        if !self.config.sync_always {
            return Ok(
                "NATS_SYNC_ALWAYS=false: each publish is sent by itself. Set it to true if nats-server runs with \
                 `sync_interval: always`",
            );
        }
        if self.view.takes_batches.load(Ordering::Relaxed) {
            return Ok(
                "NATS_SYNC_ALWAYS=true: publishes that wait share atomic batches. Set it to false if nats-server \
                 does not run with `sync_interval: always`",
            );
        }
        Err(format!(
            "NATS_SYNC_ALWAYS=true has no effect: stream {} takes no atomic batches, so each publish is sent by itself. \
             Run nats-server 2.12 or later, then `agentbus doctor --fix`, which sets allow_atomic on the stream",
            self.stream
        ))
    }

    /// Counts the events after which the stream may be another one, so that the continuity check must run:
    /// the publishing connection was lost and made again; a reader's consumer was deleted; the stream was
    /// missing, ended earlier than before, or had another epoch.
    #[must_use]
    pub fn suspicions(&self) -> watch::Receiver<u64> {
        self.suspicions.subscribe()
    }

    /// The identity of the log. Creates a stream that does not exist, after
    /// [`crate::limits::NATS_STREAM_GONE`] and closed for publishing.
    ///
    /// # Errors
    /// JetStream cannot be reached, or refuses, or the stream cannot be a log.
    pub async fn find_or_create(&self) -> Result<LogIdentity, BusError> {
        stream::ensure(&self.requester, &self.config, IfMissing::Recreate).await?;
        self.identity().await
    }

    /// Deletes the stream with its consumers, and creates it again, empty, closed for publishing, with its own
    /// configuration and a new epoch. In place of a mirror it creates a stream.
    ///
    /// # Errors
    /// JetStream cannot be reached, or refuses. After an error there may be no stream.
    pub async fn recreate(&self) -> Result<(), BusError> {
        let info = self.requester.stream_info(&self.stream).await?;
        let version = self.requester.connection.server_version();
        let wanted = stream::anew(&info, &self.config, version)?;
        Ok(stream::replace(&self.requester, &self.stream, &wanted).await?)
    }

    /// How much the stream keeps by its own limits.
    ///
    /// # Errors
    /// JetStream cannot be reached, or refuses.
    pub async fn retention(&self) -> Result<Retention, BusError> {
        let config = self.info().await?.parsed()?;
        let messages = u64::try_from(config.max_msgs).ok().filter(|limit| *limit > 0);
        let age = Some(config.max_age).filter(|nanos| *nanos > 0);
        Ok(Retention {
            messages: messages.unwrap_or(u64::MAX),
            age: age.map(chrono::TimeDelta::nanoseconds),
        })
    }

    /// Makes `seq` the stream's next sequence and drops all entries. No other client may publish meanwhile.
    ///
    /// # Errors
    /// The next sequence is already `seq` or higher, and `forced` is false. With `forced`, the entries below
    /// `seq` are dropped then.
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

    /// Publishes an entry with its own subject, headers and payload, if the stream's last sequence is
    /// `after`. If the stream still knows the entry's `Nats-Msg-Id`, it stores nothing and the ack says
    /// duplicate: the caller must check the ack.
    ///
    /// # Errors
    /// As [`Bus::publish`]. If the stream has another last sequence: [`PublishError::NotSent`].
    pub async fn publish_original(
        &self,
        entry: &LogEntry,
        after: u64,
    ) -> Result<Ack, PublishError> {
        let entries = std::slice::from_ref(entry);
        let outcomes = self.publisher.publish_originals(&self.requester, "", entries, after).await;
        let none = || PublishError::Unknown("no outcome".to_owned());
        outcomes.into_iter().next().unwrap_or_else(|| Err(none()))
    }

    pub(super) async fn info(&self) -> Result<StreamInfo, BusError> {
        let info = self.requester.stream_info(&self.stream).await?;
        self.view.learn(&info)?;
        Ok(info)
    }
}

/// Adds to the stream what it lacks, and raises limits that are lower than configured. Never lowers a limit
/// or removes anything. Returns what is still lacking.
///
/// # Errors
/// No server, or the server refuses the change.
pub async fn fix_stream(config: &NatsConfig) -> Result<Vec<String>, BusError> {
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
        Some(self.view.duplicate_window())
    }

    async fn publish(&self, messages: Vec<Outgoing>) -> Vec<Result<Ack, PublishError>> {
        let outcomes = self.publisher.publish(&self.requester, &messages).await;
        if let Some(seq) = outcomes.iter().flatten().map(|ack| ack.seq).max() {
            self.view.acked(seq);
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
            self.view.acked(ack.seq);
        }
        outcome
    }

    async fn identity(&self) -> Result<LogIdentity, BusError> {
        let info = self.info().await?;
        let config = info.parsed()?;
        Ok(LogIdentity {
            bounds: info.state.bounds(),
            epoch: config.epoch(),
            write_back_pending: config.is_closed(),
        })
    }

    /// Asks the stream's leader. A direct get may be answered by a replica that is behind, and breaks the
    /// connection if the entry is not UTF-8.
    async fn get(&self, seq: u64) -> Result<Option<LogEntry>, BusError> {
        Ok(self.requester.entry_at(&self.stream, seq).await?)
    }

    /// JetStream cannot change an entry, so it is deleted, and its bytes are overwritten.
    async fn erase(&self, seq: u64, id: Uuid, erased: &Bytes) -> Result<(), BusError> {
        let Some(entry) = self.get(seq).await? else { return Ok(()) };
        let record = decode(entry, &self.stream);
        let is_erased = record.foreign.is_none() && record.body == *erased;
        if record.id != id || is_erased {
            return Ok(());
        }
        Ok(self.requester.erase_entry(&self.stream, seq).await?)
    }

    async fn reader(&self, from: u64) -> Result<Box<dyn Reader>, BusError> {
        Ok(Box::new(StreamReader::new(self.reading.clone(), from)))
    }

    fn health(&self) -> Result<(), String> {
        self.publisher.health(&self.requester)
    }

    fn uncommitted_share(&self, committed_through: u64) -> f64 {
        self.view.share_beyond(committed_through)
    }

    fn usage(&self, committed_through: u64) -> Option<Usage> {
        Some(Usage { requests: self.requester.awaited(), ..self.view.usage(committed_through) })
    }

    fn durable_consumers(&self) -> Option<Arc<dyn DurableConsumers>> {
        Some(Arc::clone(&self.consumers) as Arc<dyn DurableConsumers>)
    }
}
