//! Pulls: jobs out of a consumer.
//!
//! Invariant: a pull waits for nothing: it takes what is there and ends with the
//! server's word that there is no more. Each has an inbox of its own, since a delivery
//! bears its own subject and not the inbox's; it lives no longer than the pull.

use std::time::Duration;

use async_nats::{Message, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::time::Instant;

use super::NatsJobs;
use super::api::consumer;
use crate::bus::BusError;
use crate::bus::nats::api::nanos;
use crate::bus::nats::connect::State;
use crate::bus::nats::entry::{self, Delivery};
use crate::limits::{MAX_LEASE_BYTES, NATS_API_TIMEOUT, PULL_SILENCE};
use crate::message::LogEntry;

/// A job as a consumer delivered it.
#[derive(Clone, Debug)]
pub struct DeliveredJob {
    /// How often it has been, this time included.
    pub attempt: u32,
    /// What it is acked by.
    pub ack: String,
    /// The entry, its sequence among its members.
    pub raw: LogEntry,
}

/// How a pull ended.
enum End {
    /// Nothing more.
    Over,
    /// There is no such consumer.
    NoConsumer,
}

impl NatsJobs {
    /// Takes what is there, at most `max`; where there is nothing yet, within `wait`, if told.
    /// `None`: the queue has no such consumer.
    ///
    /// # Errors
    /// JetStream cannot be asked. What it has delivered by then is returned instead, if any.
    pub async fn pull(
        &self,
        queue: &str,
        priority: &str,
        max: usize,
        wait: Option<Duration>,
    ) -> Result<Option<Vec<DeliveredJob>>, BusError> {
        if self.requester.connection.status().state != State::Up {
            return Err(BusError("not connected to NATS".to_owned()));
        }
        let client = &self.requester.connection.client;
        let inbox = client.new_inbox();
        let subscribed = client.subscribe(inbox.clone()).await;
        let mut messages = subscribed.map_err(|error| BusError(format!("inbox: {error}")))?;
        let stream = &self.config.jobs_stream_name;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{}", consumer(queue, priority));
        let mut body = json!({ "batch": max, "max_bytes": MAX_LEASE_BYTES, "no_wait": true });
        if let Some(wait) = wait {
            body["expires"] = nanos(wait).into();
        }
        let sent = client.publish_with_reply(subject, inbox, Bytes::from(body.to_string())).await;
        sent.map_err(|error| BusError(error.to_string()))?;
        let begun = Instant::now();
        let deadline = begun + NATS_API_TIMEOUT;
        let mut patience = begun + PULL_SILENCE;
        let mut jobs = Vec::new();
        while jobs.len() < max {
            match tokio::time::timeout_at(patience, messages.next()).await {
                Ok(Some(message)) => match take(message, &mut jobs) {
                    None => {}
                    Some(End::Over) => break,
                    Some(End::NoConsumer) if jobs.is_empty() => return Ok(None),
                    Some(End::NoConsumer) => break,
                },
                // A consumer that is deleted just then takes a pull along without a word.
                Err(_) if patience < deadline => {
                    let lost = self.was_deleted(queue, priority, begun.elapsed()).await;
                    if jobs.is_empty() && lost.is_ok_and(|lost| lost) {
                        return Ok(None);
                    }
                    patience = deadline;
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

fn take(message: Message, jobs: &mut Vec<DeliveredJob>) -> Option<End> {
    let delivery = message.reply.as_deref().and_then(Delivery::parse);
    let Some(delivery) = delivery else {
        return Some(match message.status {
            Some(StatusCode::NO_RESPONDERS) => End::NoConsumer,
            Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => End::Over,
            status => {
                let reason = message.description.unwrap_or_default();
                tracing::debug!(?status, reason, "a pull ended early");
                End::Over
            }
        });
    };
    let ack = message.reply.as_ref().map(ToString::to_string).unwrap_or_default();
    let attempt = u32::try_from(delivery.count).unwrap_or(u32::MAX);
    jobs.push(DeliveredJob { attempt, ack, raw: entry::from_delivery(message, delivery) });
    None
}
