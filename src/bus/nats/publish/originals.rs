//! Publishes entries that were in a log before, with their original headers.
//!
//! Invariant: an entry is stored only at its own sequence; at any other the stream refuses it
//! (`Nats-Expected-Last-Sequence`). Nothing is retried here, and entries never become part of an atomic
//! batch. The circuit breaker is not used: it is for clients' publishes.

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::outcome::Failure;
use super::publisher::Publisher;
use crate::bus::nats::connect::State;
use crate::bus::nats::requester::Requester;
use crate::bus::{Ack, PublishError};
use crate::limits::NATS_ACK_TIMEOUT;
use crate::message::LogEntry;

impl Publisher {
    /// Publishes each entry, with its own headers, on the subject `prefix` + its subject. The stream accepts
    /// the first entry only if its last sequence is `after`, and each further one only right after the one
    /// before.
    pub(crate) async fn publish_originals(
        &self,
        requester: &Requester,
        prefix: &str,
        entries: &[LogEntry],
        after: u64,
    ) -> Vec<Result<Ack, PublishError>> {
        let status = requester.connection.status();
        if status.state != State::Up {
            return vec![Err(Failure::not_connected().error); entries.len()];
        }
        let deadline = Instant::now() + NATS_ACK_TIMEOUT;
        let mut replies = Vec::with_capacity(entries.len());
        let mut subject = String::new();
        for (entry, after) in entries.iter().zip(after..) {
            subject = format!("{prefix}{}", entry.subject.as_str());
            let headers = original_headers(entry, after);
            let sent = requester.send_request(&subject, headers, entry.payload.clone()).await;
            replies.push(sent.map_err(Failure::not_sent));
        }
        let outcomes = self.collect(requester, &subject, status.connects, replies, deadline).await;
        outcomes.into_iter().map(|outcome| outcome.map_err(|failure| failure.error)).collect()
    }
}

/// The entry's headers. Those that async-nats cannot send are left out and logged.
fn original_headers(entry: &LogEntry, after: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &entry.headers {
        match (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            (Ok(name), Ok(value)) => headers.append(name, value),
            _ => tracing::warn!(seq = entry.seq, name, "a header cannot be sent again"),
        }
    }
    headers.insert(async_nats::header::NATS_EXPECTED_LAST_SEQUENCE, after.to_string());
    headers
}
