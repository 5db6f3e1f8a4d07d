//! Reads entries of the jobs stream as jobs.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::message::{
    BodyError, HEADER_MSG_ID, HEADER_NATIVE, HEADER_NATIVE_V1, LogEntry, parse_uuid, text_or_base64,
};
use crate::queues::{Job, NewJob, Priority};
use crate::store::jobs::QueueRow;

/// The `Nats-Msg-Id` of a job. It includes the id of the queue's creation: after a queue was deleted and
/// created again, the stream must not recognise ids from before.
pub(super) fn msg_id(row: &QueueRow, id: impl std::fmt::Display) -> String {
    let queue = &row.name;
    match row.incarnation {
        Some(incarnation) => format!("{queue}/{id}/{}", incarnation.simple()),
        None => format!("{queue}/{id}"),
    }
}

/// When a job was enqueued: from its encoding, or else when the stream stored it.
pub(super) fn enqueued_at(raw: &LogEntry) -> DateTime<Utc> {
    read(raw).map_or(raw.logged_at, |job| job.enqueued_at)
}

/// The queue named in the subject.
pub(super) fn queue_of(raw: &LogEntry) -> &str {
    raw.subject.as_str().split('.').nth(1).unwrap_or_default()
}

/// The priority named in the subject.
fn priority_of(raw: &LogEntry) -> Priority {
    let third = raw.subject.as_str().split('.').nth(2);
    third.and_then(|token| token.parse().ok()).unwrap_or_default()
}

/// The id of a job that another NATS client published: its `Nats-Msg-Id` if that is a UUID, else an id
/// derived from the entry, which is the same on every server.
fn foreign_id(raw: &LogEntry) -> Uuid {
    let given = raw.header(HEADER_MSG_ID).and_then(|id| parse_uuid(id).ok());
    let derived = || format!("{} {} {}", raw.subject, raw.seq, raw.logged_at.timestamp_micros());
    given.unwrap_or_else(|| Uuid::new_v5(&Uuid::NAMESPACE_URL, derived().as_bytes()))
}

/// Reads a job from an entry, written by agentbus or, in the format of the HTTP API, by another NATS client.
/// `Err` with the reason if the entry is not a job.
pub(super) fn read(raw: &LogEntry) -> Result<Job, String> {
    if raw.header(HEADER_NATIVE) == Some(HEADER_NATIVE_V1) {
        return Job::decode(&raw.payload).map_err(|_| "it is not an encoded job".to_owned());
    }
    let mut new = NewJob::parse(&raw.payload).map_err(|error| match error {
        BodyError::Syntax { detail, .. } => detail,
        BodyError::Invalid(errors) => {
            let text =
                |error: crate::message::FieldError| format!("{} {}", error.pointer, error.detail);
            errors.into_iter().map(text).collect::<Vec<_>>().join("; ")
        }
    })?;
    // The priority in the subject overrides the one in the payload: it decided which consumer delivered the
    // job.
    new.priority = priority_of(raw);
    Ok(new.encode(foreign_id(raw), raw.logged_at))
}

/// Encodes an entry that is not a job, for its dead letter.
pub(super) fn unreadable(raw: &LogEntry) -> Job {
    let (text, _) = text_or_base64(&raw.payload);
    let payload = serde_json::Value::from(text).to_string();
    NewJob::unreadable(payload, priority_of(raw)).encode(foreign_id(raw), raw.logged_at)
}
