//! Work queues in JetStream: its streams, its consumers, its acks.
//!
//! Two streams, made on first use and never changed when they are there. The **jobs**
//! stream has work-queue retention: `jobs.<queue>.<priority>` is taken by one durable
//! pull consumer each, `jobs.<queue>.<priority>.later.<id>` by none: there a delayed job
//! lies as a message schedule (ADR-51) until the server publishes it on the first. The
//! **leases** stream is the ledger: one subject a lease, one record a subject.
//!
//! What JetStream's acks do and do not tell (nats-server, `server/consumer.go`): an ack or
//! NAK of an earlier delivery is taken as one of the current delivery, a second ack of a
//! message that is gone is answered like the first, and `+WPI` resets the timer of whoever
//! holds the message. So an ack alone cannot tell a lost lease, nor keep a late worker off
//! another's. The ledger does: a lease ends by the one who writes its record first
//! (`Nats-Expected-Last-Subject-Sequence`), and only then is the ack sent.
//!
//! Invariant: nothing here decides when a lease is over; see [`crate::queues::NatsQueues`].
//!
//! Permissions: publish on `jobs.>`, `leases.>`, `$JS.ACK.<jobs>.>`, and of both streams on
//! `$JS.API.STREAM.{INFO,CREATE,MSG.GET}.<s>`; of the jobs stream on
//! `$JS.API.STREAM.{MSG.DELETE,PURGE}.<s>` and
//! `$JS.API.CONSUMER.{CREATE,INFO,PAUSE,DELETE,MSG.NEXT}.<s>.>`; subscribe to
//! `$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.<s>.>`.

mod advisories;
mod api;
mod ledger;
mod outgoing;
mod pull;
mod removal;
mod streams;

use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;

pub use advisories::MaxDeliveriesAdvisories;
pub use ledger::{LeaseRecord, LeaseState, RecordOutcome};
pub use outgoing::OutgoingJob;
pub use pull::DeliveredJob;

use super::api::ack_body;
use super::config::NatsConfig;
use super::connect::{Connection, State};
use super::publish::Publisher;
use super::requester::Requester;
use crate::bus::durable::AckKind;
use crate::bus::{Ack, BusError, PublishError};
use crate::limits::NATS_ACK_TIMEOUT;
use crate::message::LogEntry;
use streams::Known;

/// What three consumers and the stream tell of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Never delivered.
    pub waiting: u64,
    /// DeliveredJob, and neither acked nor exhausted: leased, or given back for later.
    pub pending: u64,
    /// Scheduled.
    pub scheduled: u64,
}

/// Queues of one NATS account.
pub struct NatsJobs {
    requester: Requester,
    publisher: Publisher,
    config: NatsConfig,
    /// What the streams are, once they were found or made.
    streams: Mutex<Known>,
}

impl NatsJobs {
    /// Connects. The streams are made when they are first needed.
    ///
    /// # Errors
    /// No server.
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

    /// Whether jobs can be delayed; if not, why.
    ///
    /// # Errors
    /// The streams can neither be found nor made.
    pub async fn delays(&self) -> Result<Result<(), String>, BusError> {
        Ok(self.streams().await?.delays.clone())
    }

    /// Publishes jobs in order; one outcome each, in order.
    pub async fn publish(&self, jobs: &[OutgoingJob]) -> Vec<Result<Ack, PublishError>> {
        if let Err(error) = self.streams().await {
            return vec![Err(PublishError::NotSent(error.0)); jobs.len()];
        }
        let outcomes = self.publisher.publish(&self.requester, jobs).await;
        if outcomes.iter().any(|outcome| matches!(outcome, Err(PublishError::NotSent(_)))) {
            *self.streams.lock().await = Known::InDoubt;
        }
        outcomes
    }

    /// The job at a sequence, if it is there.
    ///
    /// # Errors
    /// JetStream cannot be asked.
    pub async fn entry(&self, seq: u64) -> Result<Option<LogEntry>, BusError> {
        Ok(self.requester.entry_at(&self.config.jobs_stream_name, seq).await?)
    }

    /// Sends acks, all at once; `Err` where JetStream did not say that it has one.
    pub async fn ack(&self, acks: &[(String, AckKind)]) -> Vec<Result<(), BusError>> {
        let asked =
            acks.iter().map(|(subject, kind)| (subject.clone(), HeaderMap::new(), ack_body(*kind)));
        let answers = self.ask_all(asked.collect()).await;
        answers.into_iter().map(|answer| answer.map(drop)).collect()
    }

    /// Sends all, then waits for all, within one ack's patience.
    async fn ask_all(
        &self,
        asked: Vec<(String, HeaderMap, Bytes)>,
    ) -> Vec<Result<async_nats::Message, BusError>> {
        let deadline = Instant::now() + NATS_ACK_TIMEOUT;
        let mut replies = Vec::with_capacity(asked.len());
        for (subject, headers, payload) in asked {
            // What is queued now would go out after a reconnect, when its lease may be over.
            if self.requester.connection.status().state != State::Up {
                replies.push(Err(BusError("not connected to NATS".to_owned())));
                continue;
            }
            replies.push(
                self.requester.send_request(&subject, headers, payload).await.map_err(BusError),
            );
        }
        let mut answers = Vec::with_capacity(replies.len());
        for reply in replies {
            let answer = match reply {
                Err(error) => Err(error),
                Ok(mut reply) => match tokio::time::timeout_at(deadline, reply.recv()).await {
                    Ok(Some(message))
                        if message.status == Some(async_nats::StatusCode::NO_RESPONDERS) =>
                    {
                        Err(BusError("JetStream is not there".to_owned()))
                    }
                    Ok(Some(message)) => Ok(message),
                    Ok(None) => Err(BusError("the NATS client has ended".to_owned())),
                    Err(_) => Err(BusError("no ack from JetStream in time".to_owned())),
                },
            };
            answers.push(answer);
        }
        answers
    }
}
