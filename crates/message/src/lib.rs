//! The messages of agentbus: tokens, subjects, filters, the envelope and its encoding. Section numbers in
//! this crate refer to the wire contract.
//!
//! No I/O, no clock, no randomness: times and ids are parameters. Invariant: values are validated once, where
//! they are parsed, and are valid from then on.
//!
//! A message goes from a client's JSON through the log to its readers:
//!
//! ```
//! use agentbus_message::{Draft, HEADER_NATIVE, HEADER_NATIVE_V1, LogEntry, Outgoing, decode};
//! # use chrono::DateTime;
//! # use uuid::Uuid;
//!
//! let posted = br#"{"kind":"task","type":"started","sender_id":"coder-1","task_id":"T1"}"#;
//! let draft = Draft::parse(posted)?;
//! let outgoing = Outgoing::encode(&draft, Uuid::nil(), DateTime::UNIX_EPOCH);
//! assert_eq!(outgoing.subject.as_str(), "agent.task.T1.started");
//!
//! let entry = LogEntry {
//!     seq: 7,
//!     subject: outgoing.subject,
//!     headers: vec![(HEADER_NATIVE.to_owned(), HEADER_NATIVE_V1.to_owned())],
//!     payload: outgoing.body.clone(),
//!     logged_at: DateTime::UNIX_EPOCH,
//! };
//! let record = decode(entry, "agent-messages");
//! assert_eq!((record.seq, record.sender_id.as_str()), (7, "coder-1"));
//! assert_eq!(record.body, outgoing.body, "encoded once");
//! # Ok::<(), agentbus_message::BodyError>(())
//! ```

mod decode;
mod draft;
mod encode;
mod erase;
mod error;
mod filter;
mod headers;
mod json;
mod kind;
pub mod limits;
mod object;
mod pattern;
mod payload;
mod record;
mod scope;
mod status;
mod subject;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
mod token;
mod trace;

pub use decode::{decode, decode_body, expires_at, key_id, sender_id, text_or_base64};
pub use draft::{Draft, idempotency_id};
pub use encode::{Outgoing, equal_as_posted};
pub use erase::erase;
pub use error::{BodyError, FieldError};
pub use filter::{Filter, FilterTerm, NameTerms, ParameterError, Query};
pub use headers::{
    HEADER_BATCH_PREFIX, HEADER_EXPECTED_PREFIX, HEADER_MSG_ID, HEADER_NATIVE, HEADER_NATIVE_V1,
    HEADER_SENDER, Headers, PRESERVED_HEADER_PREFIX, PRESERVED_TIME,
};
pub use kind::Kind;
pub use object::{ObjectReader, seconds, shorten_name};
pub use pattern::SubjectPattern;
pub use payload::{content_and_metadata, content_contains};
pub use record::{LogEntry, Record, splice_seq};
pub use scope::Scope;
pub use status::StatusEnd;
pub use subject::{MESSAGE_SUBJECTS, Subject};
pub use time::{format_micros, parse_rfc3339, truncate_to_micros};
pub use token::{Token, parse_uuid};
pub use trace::{HEADER_TRACEPARENT, HEADER_TRACESTATE, TraceContext};
