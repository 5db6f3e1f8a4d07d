//! The connection of the work queues to JetStream.

use async_nats::HeaderMap;
use futures_util::future::join_all;
use tokio::sync::Mutex;

use super::outgoing::OutgoingJob;
use crate::bus::durable::AckKind;
use crate::bus::nats::api::ack_body;
use crate::bus::nats::config::NatsConfig;
use crate::bus::nats::connect::Connection;
use crate::bus::nats::publish::Publisher;
use crate::bus::nats::requester::Requester;
use crate::bus::{Ack, BusError, PublishError};
use crate::limits::NATS_ACK_TIMEOUT;
use crate::message::LogEntry;

/// The optional features that the streams of the work queues support.
#[derive(Clone, Debug)]
pub(super) struct StreamFeatures {
    /// Whether jobs can be delayed; `Err` with the reason if not.
    pub delays: Result<(), String>,
    /// Whether a lease record can have its own time to live.
    pub ttl: bool,
}

/// What this process knows about the streams.
#[derive(Debug, Default)]
pub(super) enum StreamsState {
    /// They were not looked up yet.
    #[default]
    Unknown,
    /// They exist.
    Found(StreamFeatures),
    /// They existed, and one may have been deleted: the next call checks.
    Doubtful,
}

/// The work queues of one NATS account.
pub struct NatsJobs {
    pub(super) requester: Requester,
    pub(super) config: NatsConfig,
    pub(super) streams: Mutex<StreamsState>,
    publisher: Publisher,
}

impl NatsJobs {
    /// Connects. The streams are created at their first use.
    ///
    /// # Errors
    /// There is no server.
    pub async fn connect(config: NatsConfig) -> Result<Self, BusError> {
        config.check().map_err(BusError)?;
        let connection = Connection::open(&config, "jobs").await?;
        Ok(Self {
            requester: Requester::start(connection).await?,
            publisher: Publisher::new(&config.jobs_stream_name),
            config,
            streams: Mutex::default(),
        })
    }

    pub(super) fn jobs_stream(&self) -> &str {
        &self.config.jobs_stream_name
    }

    /// Publishes jobs. Returns one outcome for each, in order.
    pub async fn publish(&self, jobs: &[OutgoingJob]) -> Vec<Result<Ack, PublishError>> {
        if let Err(error) = self.streams().await {
            return vec![Err(PublishError::NotSent(error.0)); jobs.len()];
        }
        let outcomes = self.publisher.publish(&self.requester, jobs).await;
        if outcomes.iter().any(|outcome| matches!(outcome, Err(PublishError::NotSent(_)))) {
            *self.streams.lock().await = StreamsState::Doubtful;
        }
        outcomes
    }

    /// The job at a sequence of the jobs stream.
    ///
    /// # Errors
    /// JetStream cannot be reached.
    pub async fn entry(&self, seq: u64) -> Result<Option<LogEntry>, BusError> {
        Ok(self.requester.entry_at(self.jobs_stream(), seq).await?)
    }

    /// Removes a job from the stream. If it is not there, nothing happens.
    ///
    /// # Errors
    /// JetStream cannot be reached.
    pub async fn remove(&self, seq: u64) -> Result<(), BusError> {
        Ok(self.requester.delete_entry(self.jobs_stream(), seq).await?)
    }

    /// Acknowledges deliveries by their ack subjects, all at the same time. `Err` for each that JetStream did
    /// not confirm.
    pub async fn ack(&self, acks: &[(String, AckKind)]) -> Vec<Result<(), BusError>> {
        // Without a connection each fails at once: an ack that the client queued could be sent after its
        // lease expired.
        let sent = acks.iter().map(async |(subject, kind)| {
            let body = ack_body(*kind);
            self.requester.request(subject, HeaderMap::new(), body, NATS_ACK_TIMEOUT).await?;
            Ok(())
        });
        join_all(sent).await
    }
}
