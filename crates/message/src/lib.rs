//! The message of agentbus: tokens, subjects, filters, the envelope and its one encoding. Section numbers in the
//! documentation of this crate refer to the wire contract.
//!
//! Pure: no I/O, no clock, no randomness; whatever a rule needs is passed in. Invariant: values are parsed once, where
//! they arrive, and are valid from then on; nothing inside the program validates them again.
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
mod error;
mod filter;
mod json;
mod kind;
pub mod limits;
mod object;
mod pattern;
mod record;
mod status;
mod subject;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
mod token;

pub use decode::{decode, decode_body, expires_at};
pub use draft::{Draft, idempotency_id};
pub use encode::{Outgoing, equal_except_created_at};
pub use error::{BodyError, FieldError};
pub use filter::{Filter, FilterTerm, ParameterError, Query};
pub use json::{CompactError, compact};
pub use kind::Kind;
pub use object::{ObjectReader, seconds, shorten_name};
pub use pattern::SubjectPattern;
pub use record::{Headers, LogEntry, Record, splice_seq};
pub use status::StatusEnd;
pub use subject::{MESSAGE_SUBJECTS, Subject};
pub use time::{format_micros, parse_rfc3339, truncate_to_micros};
pub use token::{Token, parse_uuid};

/// Header that marks a payload as an envelope written by agentbus, which readers take byte for byte.
pub const HEADER_NATIVE: &str = "Agentbus";
/// Value of [`HEADER_NATIVE`] for wire contract v1.
pub const HEADER_NATIVE_V1: &str = "1";
/// Header by which JetStream recognises a duplicate publish (ADR-4).
pub const HEADER_MSG_ID: &str = "Nats-Msg-Id";
/// Prefix under which an entry that is written back into a stream keeps the headers that the stream must not act on
/// again: all that begin with `Nats-`, and [`PRESERVED_TIME`].
pub const PRESERVED_HEADER_PREFIX: &str = "Agentbus-Kept-";
/// Name, after [`PRESERVED_HEADER_PREFIX`], of the header with the time at which such an entry was first logged
/// (RFC 3339).
pub const PRESERVED_TIME: &str = "Time";
/// Prefix of the headers with a publisher's expectations about the stream. They apply to one publish and are no part
/// of the message.
pub const HEADER_EXPECTED_PREFIX: &str = "Nats-Expected-";
/// Prefix of the headers that put a message into an atomic batch (ADR-50). They are no part of the message either.
pub const HEADER_BATCH_PREFIX: &str = "Nats-Batch-";
/// Header with which a foreign publisher may name itself (section 1).
pub const HEADER_SENDER: &str = "Agent-Sender";
