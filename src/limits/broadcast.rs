//! Limits of live streams and replays.

use std::time::Duration;

use super::store::STORE_READERS;
use agentbus_message::limits::MAX_MESSAGE_BYTES;

/// Default of `RING_SIZE`: entries of the ring. At 10,000 messages a second a reader may be nearly a second
/// behind before it reads the store.
pub const DEFAULT_RING_SIZE: usize = 8_192;
/// Bytes of frames in the ring, however few entries that is.
pub const RING_BYTES: usize = 64 * 1024 * 1024;
/// Pause between two checks of a replay that has reached the ring, while the ring is behind the log.
pub const RING_PAUSE: Duration = Duration::from_millis(10);
/// How long such a replay waits: the newest entry may have been deleted from the log.
pub const RING_TIMEOUT: Duration = Duration::from_secs(2);
/// Entries that a subscription takes out of the ring at once: microseconds under its lock. It matches them after
/// that.
pub const SCAN_ENTRIES: usize = 256;
/// Filter groups indexed under one value before an alternative of theirs is used instead, where they have one. To
/// check as many costs a message no more than its other work.
pub const INDEX_GROUPS_PER_VALUE: usize = 64;
/// Bytes written to a connection at once: about what its kernel buffer ([`super::SEND_BUFFER`]) takes.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Rows that a replay reads from the store at once. Pages of all messages end at multiples of it, so that replays
/// share them.
pub const REPLAY_ROWS: usize = 512;
/// Replays that read the store at once: as many as it has connections for readers.
pub const REPLAY_READS: usize = STORE_READERS as usize;
/// How long no replay asks the store after it failed one: those that wait go to the bus at once.
pub const STORE_READ_PAUSE: Duration = Duration::from_millis(200);
/// Bytes of bodies that a replay reads from the store at once; the last row may exceed it by one message. A
/// reader that hangs holds as many.
pub const REPLAY_BYTES: u64 = 256 * 1024;
/// Bytes that a stream holds at most for a client that does not read: one page of the replay with its frames and
/// gaps, or one run of the ring ([`CHUNK_BYTES`] and a message). While the replay reads JetStream because the
/// store does not answer, it is [`super::NATS_READ_BYTES`] and a message instead.
pub const STREAM_BYTES: usize = REPLAY_BYTES as usize + MAX_MESSAGE_BYTES + 2 * CHUNK_BYTES;
/// Holes in one read of the store: some 20 kB.
pub const REPLAY_HOLES: usize = 500;
/// Silence after which a stream sends a heartbeat: below the time-outs of common proxies (60 s and up), rare
/// enough for mobile networks.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// Mean of the `retry:` sent to browsers, in milliseconds, varied by half against reconnect storms.
pub const RETRY_MILLIS: u64 = 2_000;
