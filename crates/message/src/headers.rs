//! The headers of log entries, and the names of those that agentbus sets and reads.

/// The headers of a log entry, in the order in which the bus returns them.
pub type Headers = Vec<(String, String)>;

/// Marks a payload as an envelope that agentbus wrote. Readers take it byte for byte.
pub const HEADER_NATIVE: &str = "Agentbus";
/// The value of [`HEADER_NATIVE`] for wire contract v1.
pub const HEADER_NATIVE_V1: &str = "1";
/// The header by which JetStream recognises a duplicate (ADR-4).
pub const HEADER_MSG_ID: &str = "Nats-Msg-Id";
/// Prefix for headers of an entry that is written back into a stream. The stream must not act on the headers
/// that begin with `Nats-` again, so they keep their names behind this prefix. [`PRESERVED_TIME`] has it too.
pub const PRESERVED_HEADER_PREFIX: &str = "Agentbus-Kept-";
/// Name, behind [`PRESERVED_HEADER_PREFIX`], of the header with the time when the entry was first logged (RFC
/// 3339).
pub const PRESERVED_TIME: &str = "Time";
/// Prefix of the headers with a publisher's expectations about the stream. They apply to one publish and are
/// not part of the message.
pub const HEADER_EXPECTED_PREFIX: &str = "Nats-Expected-";
/// Prefix of the headers that put a message into an atomic batch (ADR-50). They are not part of the message.
pub const HEADER_BATCH_PREFIX: &str = "Nats-Batch-";
/// The header by which another NATS client may name itself as the sender (contract, section 1).
pub const HEADER_SENDER: &str = "Agent-Sender";
