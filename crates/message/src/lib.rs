//! The message: tokens, subjects, filters, the envelope and its one encoding.
//!
//! Pure: no I/O, no clock, no randomness; whatever a rule needs is passed in.
//! Invariant: a value of a type of this module is valid, so nothing inside the
//! program validates it again. What came from outside is parsed once, at the edge.

mod decode;
mod draft;
mod encode;
mod filter;
mod json;
mod kind;
pub mod limits;
mod object;
mod pattern;
mod principal;
mod record;
mod status;
mod subject;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
mod token;

pub use decode::{decode, decode_body, expires_at};
use draft::json_members;
pub use draft::{Draft, DraftError, FieldError, idempotency_id};
pub use encode::{Outgoing, equal_except_created_at};
pub use filter::{Filter, FilterTerm, ParameterError, Query};
pub use json::{CompactError, compact};
pub use kind::Kind;
pub use object::{ObjectReader, seconds, shorten_name};
pub use pattern::SubjectPattern;
pub use principal::Principal;
pub use record::{Headers, LogEntry, Record, splice_seq};
pub use status::StatusEnd;
pub use subject::{MESSAGE_SUBJECTS, Subject};
pub use time::{format_micros, parse_rfc3339, truncate_to_micros};
pub use token::{Token, parse_uuid};

/// Header that marks a body as written by agentbus, taken byte for byte.
pub const HEADER_NATIVE: &str = "Agentbus";
/// Value of [`HEADER_NATIVE`] for wire contract v1.
pub const HEADER_NATIVE_V1: &str = "1";
/// Header by which JetStream recognises a repeated publish (ADR-4).
pub const HEADER_MSG_ID: &str = "Nats-Msg-Id";
/// Prefix of headers that an entry had when it was first logged, and that must not act again
/// where it is written back into a stream: all that begin with `Nats-`, and its time.
pub const PRESERVED_HEADER_PREFIX: &str = "Agentbus-Kept-";
/// When an entry that was written back was first logged, after [`PRESERVED_HEADER_PREFIX`] (RFC 3339).
pub const PRESERVED_TIME: &str = "Time";
/// Beginning of the headers by which a publisher tells a stream what it expects there. They
/// say nothing about the message, and hold only once.
pub const HEADER_EXPECTED_PREFIX: &str = "Nats-Expected-";
/// Beginning of the headers by which a publisher puts messages into an atomic batch (ADR-50). They
/// say nothing about the message either.
pub const HEADER_BATCH_PREFIX: &str = "Nats-Batch-";
/// Header by which a foreign publisher may name itself.
pub const HEADER_SENDER: &str = "Agent-Sender";
