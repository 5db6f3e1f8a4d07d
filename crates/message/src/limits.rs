//! Limits of messages, subject patterns and filters.

/// The most characters of a token (contract, section 1).
pub const MAX_TOKEN_CHARS: usize = 64;
/// The most bytes of a subject pattern. Four tokens and their dots take 259; subjects of other NATS clients
/// may be longer.
pub const MAX_PATTERN_BYTES: usize = 512;
/// The most levels of nesting in `metadata` (contract, section 1): a depth that every client's parser
/// accepts.
pub const MAX_METADATA_DEPTH: usize = 32;
/// The longest `metadata.ttl_s` of a status, in seconds (contract, section 6): one day. A status that is
/// older says nothing about its agent.
pub const MAX_TTL_S: i64 = 86_400;
/// The most members of one body: far more than the contract has. Each name is compared with the others, so a
/// body of a megabyte with only short members would cost seconds.
pub const MAX_MEMBERS: usize = 512;
/// The most faults that one response reports: enough to correct a body, and too few to make a response much
/// larger than its request.
pub const MAX_NAMED_ERRORS: usize = 64;
/// The most characters of a client's parameter or member name that an error repeats. No known name is longer.
pub const MAX_SHOWN_NAME: usize = 64;
/// The most values in all filters of one request together. It bounds the SQL and the cost of matching.
pub const MAX_FILTER_VALUES: usize = 128;
/// The most bytes of all filter values of one request: half of the largest request head. A subscription keeps
/// them while it is open.
pub const MAX_FILTER_BYTES: usize = 32 * 1024;

/// The most bytes of one encoded message, body and headers: NATS's default `max_payload`, less the space for
/// headers and later additions. NATS closes a connection that sends more.
pub const MAX_MESSAGE_BYTES: usize = 1_048_576 - 4_096;
/// Bytes of the headers that agentbus adds to a body: `NATS/1.0`, `Agentbus: 1` and `Nats-Msg-Id` with its 36
/// characters, each line with two bytes of line end, and an empty line.
pub const HEADER_BYTES: usize = 76;
/// The most bytes of a request body: eight messages of the largest size, or one whose escapes make it longer
/// than its encoding.
pub const MAX_REQUEST_BYTES: usize = 8 * 1024 * 1024;
/// The most messages in one batch (contract, section 3).
pub const MAX_BATCH_MESSAGES: usize = 1_000;
