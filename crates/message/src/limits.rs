//! Limits of messages, subject patterns and filters.

/// Characters of a token (contract, section 1).
pub const MAX_TOKEN_CHARS: usize = 64;
/// Bytes of a subject pattern: four tokens and their dots take 259; foreign subjects may be longer.
pub const MAX_PATTERN_BYTES: usize = 512;
/// Depth of `metadata` (contract, section 1), so that every client's parser can follow.
pub const MAX_METADATA_DEPTH: usize = 32;
/// Longest `metadata.ttl_s` of a status, in seconds (contract, section 6): one day. An older status says nothing about
/// its agent.
pub const MAX_TTL_S: i64 = 86_400;
/// Members of one body, far more than any in the contract has. Each is compared with the others, so a megabyte of them
/// would cost seconds.
pub const MAX_MEMBERS: usize = 512;
/// Faults reported in one response: enough to correct a body, too few to amplify a request.
pub const MAX_NAMED_ERRORS: usize = 64;
/// Characters of the name of a client's parameter or member that an error repeats: no known name is longer.
pub const MAX_SHOWN_NAME: usize = 64;
/// Values of all filters of one request together: bounds the SQL and the cost of matching.
pub const MAX_FILTER_VALUES: usize = 128;
/// Bytes of these values: half of the largest request head. A subscription keeps them while it is open.
pub const MAX_FILTER_BYTES: usize = 32 * 1024;

/// Body and headers of one message, encoded: NATS's default `max_payload` less
/// what headers and later additions need. NATS closes a connection that sends more.
pub const MAX_MESSAGE_BYTES: usize = 1_048_576 - 4_096;
/// Bytes that our headers take beside a body: `NATS/1.0`, `Agentbus: 1` and `Nats-Msg-Id`
/// with its 36 characters, each line ended by two, and an empty line.
pub const HEADER_BYTES: usize = 76;
/// A request body: eight full messages, or one whose escapes shrink when encoded.
pub const MAX_REQUEST_BYTES: usize = 8 * 1024 * 1024;
/// Messages of one batch (contract, section 3).
pub const MAX_BATCH_MESSAGES: usize = 1_000;
