//! Names and values of the NATS headers that messages have in a log.

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
