//! Limits of live streams and replays.

use std::time::Duration;

use super::store::STORE_READERS;
use agentbus_message::limits::MAX_MESSAGE_BYTES;

/// Default of `RING_SIZE`, in entries. At 10,000 messages a second a reader may fall nearly a second behind
/// before it must read the store.
pub const DEFAULT_RING_SIZE: usize = 8_192;
/// The most bytes of frames in the ring. Large messages reach this before `RING_SIZE` entries do.
pub const RING_BYTES: usize = 64 * 1024 * 1024;
/// Pause between two checks by a replay that has reached the ring, while the ring is still behind the log.
pub const RING_PAUSE: Duration = Duration::from_millis(10);
/// Time limit for a replay to wait until the ring has caught up. The newest entry may have been deleted from
/// the log, and then never reaches the ring.
pub const RING_TIMEOUT: Duration = Duration::from_secs(2);
/// The most entries that a subscription takes out of the ring at once: this takes microseconds under the
/// ring's lock. The subscription matches them after it has released the lock.
pub const SCAN_ENTRIES: usize = 256;
/// A filter group is indexed by the rarest name of its filter whose values index fewer groups than this, if
/// there is one. To check this many groups costs a message no more than its other work.
pub const INDEX_GROUPS_PER_VALUE: usize = 64;
/// The most bytes written to a connection at once: about as many as its kernel buffer
/// ([`super::SEND_BUFFER`]) takes.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Rows that a replay reads from the store at once. Pages of all messages end at multiples of this number, so
/// that replays share them.
pub const REPLAY_ROWS: usize = 512;
/// The most replays that read the store at once: one for each of its connections for readers.
pub const REPLAY_READS: usize = STORE_READERS as usize;
/// How long no replay asks the store after the store failed one. Meanwhile waiting replays read the bus at
/// once.
pub const STORE_READ_PAUSE: Duration = Duration::from_millis(200);
/// The most bytes of bodies that a replay reads from the store at once; the last row may exceed it by one
/// message. A reader that hangs holds this many in memory.
pub const REPLAY_BYTES: u64 = 256 * 1024;
/// The most bytes that a stream holds for a client that does not read: one page of the replay with its frames
/// and gaps, or one run of the ring ([`CHUNK_BYTES`] and a message). While the replay reads JetStream because
/// the store does not answer, the stream holds [`super::NATS_READ_BYTES`] and a message instead.
pub const STREAM_BYTES: usize = REPLAY_BYTES as usize + MAX_MESSAGE_BYTES + 2 * CHUNK_BYTES;
/// The most holes in one read of the store: some 20 kB.
pub const REPLAY_HOLES: usize = 500;
/// Silence after which a stream sends a heartbeat. It is shorter than the time-outs of common proxies (60 s
/// and up), and long enough for mobile networks.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// Mean of the `retry:` sent to browsers, in milliseconds. It is varied by half, so that clients do not all
/// reconnect at once.
pub const RETRY_MILLIS: u64 = 2_000;
/// Shortest time between two measurements of how fresh a stream is.
pub const DELIVERY_SAMPLE: Duration = Duration::from_millis(100);
