//! Limits of publishing.

use std::time::Duration;

use super::http::MAX_REQUESTS;

/// How long a publish may take before its outcome counts as unknown. The contract promises a response within 6 s.
pub const PUBLISH_DEADLINE: Duration = Duration::from_millis(5_500);
/// How long a publish may take that is a duplicate, and so must be compared with the first message of its id. The
/// contract promises a response within 6 s.
pub const DUPLICATE_DEADLINE: Duration = Duration::from_millis(5_750);
/// Duplicates compared with their first messages at once, over all requests. Each costs a round trip and a first
/// message in memory: 1 MiB, and several times that while it is decoded.
pub const DUPLICATE_CHECKS: usize = 8;
/// How many of these one request may use: few, because requests wait for each other in turn.
pub const DUPLICATE_CHECKS_PER_REQUEST: usize = 2;
/// How long `ack=committed` waits for the store (contract, section 3).
pub const COMMITTED_WAIT: Duration = Duration::from_secs(5);
/// How long a publish waits for the store to report whether it has an id.
pub const STORE_LOOKUP_TIMEOUT: Duration = Duration::from_millis(750);
/// Ids of one look-up statement: as many as arrive while the previous one runs.
pub const ID_LOOKUP_BATCH: usize = 256;
/// Ids that wait for a look-up: one for each request. Beyond them a request waits, no longer than
/// [`STORE_LOOKUP_TIMEOUT`].
pub const ID_LOOKUP_QUEUE: usize = MAX_REQUESTS;
/// How long nobody asks the store for ids after a look-up failed.
pub const STORE_LOOKUP_PAUSE: Duration = Duration::from_secs(2);
