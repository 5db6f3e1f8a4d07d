//! A job: what a client enqueues, and its encoding.
//!
//! Invariant: a job is encoded once, as `{"job_id","type","payload","priority","enqueued_at"}` on one line.
//! Queue and dead letter hold these bytes; a lease returns them with attempt and token appended. Numbers,
//! escapes and member order of the payload are preserved. `enqueued_at` is the last member and has a fixed
//! length.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::limits::{HEADER_BYTES, MAX_DELAY_S, MAX_MESSAGE_BYTES, MAX_PAYLOAD_DEPTH};
use crate::message::{BodyError, ObjectReader, Token, TraceContext, format_micros, parse_rfc3339};

/// The priority of a job. A queue leases all jobs of a higher priority before any of a lower one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Before all others.
    High,
    /// The default.
    #[default]
    Normal,
    /// After all others.
    Low,
}

impl Priority {
    /// All priorities, in the order in which their jobs are leased.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The name in JSON and in the subject.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// The index in [`Self::ALL`].
    #[must_use]
    pub const fn rank(self) -> u8 {
        self as u8
    }
}

impl FromStr for Priority {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|priority| priority.as_str() == text);
        named.ok_or("must be high, normal or low")
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A job as a client posted it, validated.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The id that the client chose, if any.
    pub id: Option<Uuid>,
    type_: Token,
    /// Compact JSON.
    payload: String,
    /// The priority. On NATS it is also a token of the job's subject.
    pub priority: Priority,
    /// How long after enqueueing the job may be leased.
    pub delay: Duration,
    /// The trace that the job belongs to. It travels beside the encoding.
    pub trace: Option<Arc<TraceContext>>,
}

impl NewJob {
    /// Parses a client's JSON.
    ///
    /// # Errors
    /// The text is not JSON, or breaks rules (all of them are reported).
    pub fn parse(json: &[u8]) -> Result<Self, BodyError> {
        let mut form = ObjectReader::parse(json)?;
        let type_ = form.required_text::<Token>("type");
        let payload = form.required_raw("payload");
        let payload = payload.and_then(|raw| form.compact("payload", raw, MAX_PAYLOAD_DEPTH));
        let priority = form.text("priority", str::parse).unwrap_or_default();
        let delay = form.seconds("delay_s", 0, MAX_DELAY_S).unwrap_or_default();
        let id = form.uuid("id");
        let job = type_.zip(payload).map(|(type_, payload)| Self {
            id,
            type_,
            payload,
            priority,
            delay,
            trace: None,
        });
        form.finish("a job", job)
    }

    /// A job that stands, in a dead letter, for an entry that another NATS client published and that is not a
    /// job.
    #[must_use]
    pub fn unreadable(payload: String, priority: Priority) -> Self {
        let (type_, delay) = (Token::unknown(), Duration::ZERO);
        Self { id: None, type_, payload, priority, delay, trace: None }
    }

    /// Sets the trace that the job belongs to.
    #[must_use]
    pub fn traced(mut self, trace: Option<Arc<TraceContext>>) -> Self {
        self.trace = trace;
        self
    }

    /// The bytes of the payload.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.payload.len()
    }

    /// Encodes the job under the client's id, or under `fallback_id` if there is none.
    #[must_use]
    pub fn encode(&self, fallback_id: Uuid, enqueued_at: DateTime<Utc>) -> Job {
        let id = self.id.unwrap_or(fallback_id);
        let Self { type_, payload, priority, .. } = self;
        let time = format_micros(enqueued_at);
        let body = format!(
            "{{\"job_id\":\"{id}\",\"type\":\"{type_}\",\"payload\":{payload},\"priority\":\"{priority}\",\"enqueued_at\":\"{time}\"}}"
        );
        Job { id, priority: *priority, enqueued_at, body: Bytes::from(body) }
    }
}

/// An encoded job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The job's id.
    pub id: Uuid,
    /// The priority. On NATS it is also a token of the job's subject.
    pub priority: Priority,
    /// When it was enqueued.
    pub enqueued_at: DateTime<Utc>,
    /// The job as JSON, `enqueued_at` last.
    pub body: Bytes,
}

impl Job {
    /// Decodes an encoded job.
    ///
    /// # Errors
    /// A member is missing or invalid.
    pub fn decode(body: &Bytes) -> Result<Self, BodyError> {
        let mut form = ObjectReader::parse(body)?;
        let id = form.uuid("job_id");
        form.required_text::<Token>("type");
        form.required_raw("payload");
        let priority = form.required_text::<Priority>("priority");
        let enqueued_at = form.text("enqueued_at", parse_rfc3339);
        if id.is_none() || enqueued_at.is_none() {
            form.fail("", "lacks job_id or enqueued_at");
        }
        let job = match (id, priority, enqueued_at) {
            (Some(id), Some(priority), Some(enqueued_at)) => {
                Some(Self { id, priority, enqueued_at, body: body.clone() })
            }
            _ => None,
        };
        form.finish("an encoded job", job)
    }

    /// The bytes of body and headers, if that is more than a message may have; else `None`.
    #[must_use]
    pub fn excess(&self) -> Option<usize> {
        let bytes = self.body.len() + HEADER_BYTES + crate::limits::JOB_HEADER_BYTES;
        (bytes > MAX_MESSAGE_BYTES).then_some(bytes)
    }

    /// The job as JSON without `enqueued_at`. If two jobs with the same id have the same content, the second
    /// one is a duplicate, else a conflict.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        content(&self.body)
    }
}

/// As [`Job::content`], for an encoded job.
#[must_use]
pub fn content(body: &[u8]) -> &[u8] {
    const TAIL: usize = r#","enqueued_at":"2026-11-20T15:57:45.123456Z"}"#.len();
    body.get(..body.len().saturating_sub(TAIL)).unwrap_or(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_survives_to_the_byte() {
        let posted =
            br#"{ "payload" : {"b": 1.50e3, "a":"\u00e9"}, "type":"x" , "priority":"low"}"#;
        let job = NewJob::parse(posted).expect("valid").encode(Uuid::nil(), DateTime::UNIX_EPOCH);
        let text = std::str::from_utf8(&job.body).expect("UTF-8");
        assert_eq!(
            text,
            r#"{"job_id":"00000000-0000-0000-0000-000000000000","type":"x","payload":{"b":1.50e3,"a":"\u00e9"},"priority":"low","enqueued_at":"1970-01-01T00:00:00.000000Z"}"#
        );
        assert_eq!(Job::decode(&job.body), Ok(job.clone()));
        assert!(job.content().ends_with(br#""priority":"low""#));
    }

    #[test]
    fn every_invalid_member_is_reported() {
        let wrong = br#"{"type":"a b","priority":"urgent","delay_s":-1,"id":"x","extra":1}"#;
        let Err(BodyError::Invalid(errors)) = NewJob::parse(wrong) else {
            panic!("must be invalid");
        };
        let mut named: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        named.sort_unstable();
        assert_eq!(named, ["/delay_s", "/extra", "/id", "/payload", "/priority", "/type"]);
    }

    #[test]
    fn jetstream_has_the_same_priorities() {
        assert_eq!(crate::bus::nats::jobs::PRIORITIES, Priority::ALL.map(Priority::as_str));
        assert_eq!(Priority::ALL.map(Priority::rank), [0, 1, 2]);
    }

    #[test]
    fn any_json_value_is_a_payload() {
        for payload in ["null", "7", "\"x\"", "[]", "{}", "false"] {
            let posted = format!(r#"{{"type":"x","payload":{payload}}}"#);
            assert!(NewJob::parse(posted.as_bytes()).is_ok(), "{payload}");
        }
        assert!(NewJob::parse(br#"{"type":"x","payload":"\u0000"}"#).is_err());
    }
}
