//! Pulls jobs from a consumer.
//!
//! Invariant: a pull takes the jobs that are there, and ends when the server reports that there are no more.
//! Its inbox lives no longer than the pull.

use std::time::Duration;

use async_nats::{Message, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::time::Instant;

use super::client::NatsJobs;
use super::consumers::consumer;
use crate::bus::BusError;
use crate::bus::nats::api::nanos;
use crate::bus::nats::connect::State;
use crate::bus::nats::entry;
use crate::bus::nats::pull::{PullInbox, delivery_of};
use crate::limits::{MAX_LEASE_BYTES, NATS_API_TIMEOUT, PULL_SILENCE};
use crate::message::LogEntry;

/// A job that was delivered.
#[derive(Clone, Debug)]
pub struct DeliveredJob {
    /// How often the job was delivered, counting this time.
    pub attempt: u32,
    /// The subject to acknowledge the delivery on.
    pub ack: String,
    /// The job's entry in the stream.
    pub raw: LogEntry,
}

/// The meaning of one message from the server.
enum Pulled {
    Job(DeliveredJob),
    /// No more jobs.
    End,
    NoConsumer,
}

impl NatsJobs {
    /// Pulls up to `max` jobs that are there. If there are none, waits up to `wait` for the first ones.
    /// `None`: the queue has no such consumer.
    ///
    /// # Errors
    /// JetStream cannot be reached and has delivered nothing.
    pub async fn pull(
        &self,
        queue: &str,
        priority: &str,
        max: usize,
        wait: Option<Duration>,
    ) -> Result<Option<Vec<DeliveredJob>>, BusError> {
        let connection = &self.requester.connection;
        if connection.status().state != State::Up {
            return Err(BusError("not connected to NATS".to_owned()));
        }
        let name = consumer(queue, priority);
        let mut inbox = PullInbox::open(&connection.client, self.jobs_stream(), &name).await?;
        let mut body = json!({ "batch": max, "max_bytes": MAX_LEASE_BYTES, "no_wait": true });
        if let Some(wait) = wait {
            body["expires"] = nanos(wait).into();
        }
        inbox.request(Bytes::from(body.to_string())).await?;
        let begun = Instant::now();
        let deadline = begun + NATS_API_TIMEOUT;
        let mut next_check = begun + PULL_SILENCE;
        let mut jobs = Vec::new();
        while jobs.len() < max {
            match tokio::time::timeout_at(next_check, inbox.messages.next()).await {
                Ok(Some(message)) => match read(message) {
                    Pulled::Job(job) => jobs.push(job),
                    Pulled::NoConsumer if jobs.is_empty() => return Ok(None),
                    Pulled::NoConsumer | Pulled::End => break,
                },
                // The pull may get no response at all: a consumer that is deleted at this moment drops it. So
                // the consumer is checked.
                Err(_) if next_check < deadline => {
                    let deleted = self.was_deleted(queue, priority, begun.elapsed()).await;
                    if jobs.is_empty() && deleted.is_ok_and(|deleted| deleted) {
                        return Ok(None);
                    }
                    next_check = deadline;
                }
                _ if jobs.is_empty() => {
                    return Err(BusError("no answer from JetStream to a pull".to_owned()));
                }
                _ => break,
            }
        }
        Ok(Some(jobs))
    }
}

fn read(message: Message) -> Pulled {
    let Some(delivery) = delivery_of(&message) else {
        return match message.status {
            Some(StatusCode::NO_RESPONDERS) => Pulled::NoConsumer,
            Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => Pulled::End,
            status => {
                let reason = message.description.unwrap_or_default();
                tracing::debug!(?status, reason, "a pull ended early");
                Pulled::End
            }
        };
    };
    let ack = message.reply.as_ref().map(ToString::to_string).unwrap_or_default();
    let attempt = u32::try_from(delivery.count).unwrap_or(u32::MAX);
    Pulled::Job(DeliveredJob { attempt, ack, raw: entry::from_delivery(message, delivery) })
}
