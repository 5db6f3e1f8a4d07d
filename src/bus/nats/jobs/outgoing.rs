//! Jobs on their way into the stream.

use async_nats::HeaderMap;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};

use crate::bus::nats::publish::Publishable;
use crate::message::{HEADER_MSG_ID, HEADER_NATIVE, HEADER_NATIVE_V1};

/// A job to be published.
#[derive(Clone, Debug)]
pub struct OutgoingJob {
    /// Its queue.
    pub queue: String,
    /// `high`, `normal` or `low`.
    pub priority: &'static str,
    /// The id by which JetStream recognises a repeat.
    pub msg_id: String,
    /// Whether the client chose it.
    pub id_is_clients: bool,
    /// When it is due, if not now, and a token of its own to wait under.
    pub due: Option<(DateTime<Utc>, String)>,
    /// Where it goes; see [`OutgoingJob::addressed`].
    pub subject: String,
    /// Its encoding.
    pub body: Bytes,
}

/// The subject of a queue's jobs of one priority.
#[must_use]
pub(super) fn subject(queue: &str, priority: &str) -> String {
    format!("jobs.{queue}.{priority}")
}

impl OutgoingJob {
    /// The same job, its subject told: its priority's, or one to wait under.
    #[must_use]
    pub fn addressed(mut self) -> Self {
        let target = subject(&self.queue, self.priority);
        self.subject = match &self.due {
            Some((_, id)) => format!("{target}.later.{id}"),
            None => target,
        };
        self
    }
}

impl Publishable for OutgoingJob {
    fn subject(&self) -> &str {
        &self.subject
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER_NATIVE, HEADER_NATIVE_V1);
        headers.insert(HEADER_MSG_ID, self.msg_id.as_str());
        if let Some((due, _)) = &self.due {
            // ADR-51. The server strips both, and the id, when it publishes the job.
            let at = due.to_rfc3339_opts(SecondsFormat::Micros, true);
            headers.insert("Nats-Schedule", format!("@at {at}"));
            headers.insert("Nats-Schedule-Target", subject(&self.queue, self.priority));
        }
        headers
    }

    fn payload(&self) -> Bytes {
        self.body.clone()
    }

    fn id_is_clients(&self) -> bool {
        self.id_is_clients
    }
}
