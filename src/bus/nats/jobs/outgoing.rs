//! Jobs to be published.

use std::sync::Arc;

use async_nats::HeaderMap;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use uuid::Uuid;

use crate::bus::nats::publish::Publishable;
use crate::message::{HEADER_MSG_ID, HEADER_NATIVE, HEADER_NATIVE_V1, TraceContext};

/// The priorities of jobs, in the order in which they are leased.
pub const PRIORITIES: [&str; 3] = ["high", "normal", "low"];

/// A job to be published.
#[derive(Clone, Debug)]
pub struct OutgoingJob {
    /// The job's queue.
    pub queue: String,
    /// The job's priority, one of [`PRIORITIES`].
    pub priority: &'static str,
    /// The job's `Nats-Msg-Id`, by which JetStream recognises duplicates.
    pub msg_id: String,
    /// Whether the client chose the id.
    pub id_is_clients: bool,
    /// When the job is due; `None` if it is due at once.
    pub due: Option<DateTime<Utc>>,
    /// The subject on which the job is published.
    pub subject: String,
    /// The encoded job.
    pub body: Bytes,
    /// The trace that the job belongs to.
    pub trace: Option<Arc<TraceContext>>,
}

/// The subject of a queue's jobs of one priority.
pub(super) fn subject(queue: &str, priority: &str) -> String {
    format!("jobs.{queue}.{priority}")
}

impl OutgoingJob {
    /// A job that is due at once. `msg_id` may derive from an id that the client chose.
    #[must_use]
    pub fn new(queue: &str, priority: &'static str, msg_id: String, body: Bytes) -> Self {
        let (subject, queue) = (subject(queue, priority), queue.to_owned());
        Self { queue, priority, msg_id, id_is_clients: true, due: None, subject, body, trace: None }
    }

    /// Delays the job until `due`. Its schedule gets its own subject.
    #[must_use]
    pub fn delayed(self, due: DateTime<Utc>) -> Self {
        let subject = format!("{}.later.{}", self.subject, Uuid::new_v4().simple());
        Self { due: Some(due), subject, ..self }
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
        if let Some(trace) = &self.trace {
            trace.headers().for_each(|(name, value)| headers.insert(name, value));
        }
        if let Some(due) = &self.due {
            // ADR-51. The server removes these headers and the id when it publishes the job.
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
