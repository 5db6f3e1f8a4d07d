//! Limits of publishing.

use std::time::Duration;

use super::http::MAX_REQUESTS;

/// Time limit of a publish, after which its outcome counts as unknown. The contract promises a response
/// within 6 s.
pub const PUBLISH_DEADLINE: Duration = Duration::from_millis(5_500);
/// Time limit of a publish that is a duplicate, which must be compared with the first message of its id. The
/// contract promises a response within 6 s.
pub const DUPLICATE_DEADLINE: Duration = Duration::from_millis(5_750);
/// The most duplicates that are compared with their first messages at once, over all requests. Each costs a
/// round trip and a first message in memory: 1 MiB, and several times that while it is decoded.
pub const DUPLICATE_CHECKS: usize = 8;
/// The most of the [`DUPLICATE_CHECKS`] that one request may use: few, because requests wait for each other
/// in turn.
pub const DUPLICATE_CHECKS_PER_REQUEST: usize = 2;
/// How long `ack=committed` waits for the store (contract, section 3).
pub const COMMITTED_WAIT: Duration = Duration::from_secs(5);
/// Time limit for the store to report whether it has a message of a given id.
pub const STORE_LOOKUP_TIMEOUT: Duration = Duration::from_millis(750);
/// The most ids of one look-up statement: as many as arrive while the previous statement runs.
pub const ID_LOOKUP_BATCH: usize = 256;
/// The most ids that wait for a look-up: one for each request. Beyond them a request waits for room, no
/// longer than [`STORE_LOOKUP_TIMEOUT`].
pub const ID_LOOKUP_QUEUE: usize = MAX_REQUESTS;
/// How long the store is not asked for ids after a look-up failed.
pub const STORE_LOOKUP_PAUSE: Duration = Duration::from_secs(2);
