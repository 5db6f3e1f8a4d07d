//! Publishing entries again that were in a log before.
//!
//! Invariant: each only at its own place, and none repeated here: what has another place is refused by the
//! stream (`Nats-Expected-Last-Sequence`). The circuit breaker, which is about what clients publish, is not
//! asked, and none is ever part of an atomic batch.

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::Publisher;
use super::outcome::Failure;
use crate::bus::nats::connect::State;
use crate::bus::nats::requester::Requester;
use crate::bus::{Ack, PublishError};
use crate::limits::NATS_ACK_TIMEOUT;
use crate::message::LogEntry;

impl Publisher {
    /// Publishes entries as they stand, each on `prefix` and its subject, the first if the log's last
    /// sequence is `after`, each further one if it follows.
    pub(in crate::bus::nats) async fn publish_originals(
        &self,
        requester: &Requester,
        prefix: &str,
        entries: &[LogEntry],
        after: u64,
    ) -> Vec<Result<Ack, PublishError>> {
        let status = requester.connection.status();
        if status.state != State::Up {
            return vec![Err(Failure::not_sent("not connected to NATS").error); entries.len()];
        }
        let connects = status.connects;
        let deadline = Instant::now() + NATS_ACK_TIMEOUT;
        let mut replies = Vec::with_capacity(entries.len());
        let mut subject = String::new();
        for (entry, after) in entries.iter().zip(after..) {
            subject = format!("{prefix}{}", entry.subject.as_str());
            let headers = original_headers(entry, after);
            let sent = requester.send_request(&subject, headers, entry.payload.clone()).await;
            replies.push(sent.map_err(Failure::not_sent));
        }
        let unmeasured = self.pacer.singles();
        let outcomes =
            self.collect(requester, &subject, connects, replies, unmeasured, deadline).await;
        outcomes.into_iter().map(|outcome| outcome.map_err(|failure| failure.error)).collect()
    }
}

/// Headers that cannot be sent are left out, and told in the log.
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
