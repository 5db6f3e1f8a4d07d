//! Every cap of the program, with its reason.
//!
//! Invariant: no queue, buffer, batch, body or wait elsewhere is bounded by an
//! unnamed number, and none is unbounded.

mod http;
mod nats;
mod queues;
mod store;

use std::time::Duration;

pub use agentbus_message::limits::*;
pub use http::*;
pub use nats::*;
pub use queues::*;
pub use store::*;

/// Lapsed statuses that a look takes at a time, so that the answer of the store stays small.
pub const LAPSE_SCAN_ROWS: usize = 1_000;
/// Of these, how many are published at once: one group commit of the memory bus.
pub const MAX_LAPSE_PUBLISHES: usize = 64;
/// Ids under which a lapse is tried in one look, where earlier ones stand for other messages. Who
/// does not have the deployment's secret takes none of them.
pub const LAPSE_IDS: u32 = 4;
/// Least pause between looks for lapsed statuses because the log has moved on.
pub const LAPSE_SCAN_PAUSE: Duration = Duration::from_millis(500);
/// Most that a server lets pass after a status has lapsed, at random: one of them is first,
/// and the others see that it was.
pub const LAPSE_JITTER: Duration = Duration::from_millis(250);
/// Pause after which a lapsed status that could not be ended is tried again.
pub const LAPSE_RETRY: Duration = Duration::from_secs(1);

/// Publishes that wait for the memory bus's writer; beyond them a client is
/// told to come again. Some 4 s of work at 1,000 commits a second.
pub const MEMORY_QUEUE: usize = 4_096;
/// Bytes of those publishes, with those of the group that is being committed: as many as request bodies may
/// have. It is those that are shared fairly among clients, so this is what callers inside the process meet.
pub const MEMORY_QUEUE_BYTES: usize = MAX_BODY_BYTES_HELD;
/// Messages of one group commit: large enough that the fsync costs nothing a
/// message, small enough to stay within milliseconds.
pub const GROUP_COMMIT_MESSAGES: usize = 1_000;
/// Bytes of one group commit.
pub const GROUP_COMMIT_BYTES: usize = 8 * 1024 * 1024;
/// Entries the memory bus keeps for readers that follow closely; others read the journal.
pub const MEMORY_TAIL_ENTRIES: usize = 4_096;
/// Bytes of those entries.
pub const MEMORY_TAIL_BYTES: usize = 32 * 1024 * 1024;
/// Entries that a reader takes at once.
pub const READ_ENTRIES: usize = 500;
/// How long a publish may take before its outcome counts as unknown. The
/// contract promises an answer within 6 s.
pub const PUBLISH_DEADLINE: Duration = Duration::from_millis(5_500);
/// How long a publish may take that turns out to be a repeat, which is held against the first message
/// of its id then. The contract promises an answer within 6 s.
pub const DUPLICATE_DEADLINE: Duration = Duration::from_millis(5_750);
/// Repeats that are held against their first messages at once, over all requests: a round trip each, and
/// the memory of a first message, which is 1 MiB and several times that while it is decoded.
pub const DUPLICATE_CHECKS: usize = 8;
/// Of these, how many one request has: few, since requests wait for each other in turn.
pub const DUPLICATE_CHECKS_PER_REQUEST: usize = 2;
/// How long a group commit of the memory bus is tried: so much less than [`PUBLISH_DEADLINE`] that whoever
/// publishes learns what became of it, message by message.
pub const COMMIT_DEADLINE: Duration = Duration::from_millis(5_250);
/// Pause between attempts to settle the outcome of a commit.
pub const COMMIT_RETRY: Duration = Duration::from_millis(100);

/// How long `ack=committed` waits for the store (contract, section 3).
pub const COMMITTED_WAIT: Duration = Duration::from_secs(5);
/// Rows of one projector write: measured to be where a larger one gains nothing.
pub const PROJECT_ROWS: usize = 2_000;
/// Least time between the beginnings of two projector writes, unless somebody waits for one or
/// it is full: at 10,000 messages a second it makes one statement of two hundred rows out of forty of five.
pub const PROJECT_PACE: Duration = Duration::from_millis(20);
/// Bytes of one projector write; as much is read ahead meanwhile.
pub const PROJECT_BYTES: usize = 8 * 1024 * 1024;
/// How long a projector's lease is good without renewal. With [`STANDBY_POLL`]
/// it bounds a take-over to under 5 s.
pub const LEASE: Duration = Duration::from_secs(3);
/// How often the active projector renews its lease when it writes nothing.
pub const LEASE_RENEW: Duration = Duration::from_secs(1);
/// How often a standby asks for the lease and the watermark.
pub const STANDBY_POLL: Duration = Duration::from_millis(500);
/// How often it asks while somebody waits for `ack=committed`.
pub const STANDBY_POLL_WAITED: Duration = Duration::from_millis(20);
/// Pause after a fault before the projector or the broadcaster tries again.
pub const FAULT_PAUSE: Duration = Duration::from_millis(250);
/// Share of the stream's limits that may lie beyond the store before publishing
/// stops, so that the stream never drops what the store lacks (contract, section 3).
pub const STORE_BEHIND_SHARE: f64 = 0.8;

/// Default of `RING_SIZE`: entries of the broadcaster's ring. At 10,000
/// messages a second a reader may lag most of a second before it reads the store.
pub const DEFAULT_RING_SIZE: usize = 8_192;
/// Bytes of frames in the ring, however few entries that is.
pub const RING_BYTES: usize = 64 * 1024 * 1024;
/// Pause of a replay that has met the ring, while the ring has not met the log.
pub const RING_PAUSE: Duration = Duration::from_millis(10);
/// How long it waits for that: the newest entry may have been deleted from the log.
pub const RING_TIMEOUT: Duration = Duration::from_secs(2);
/// Entries that one step of a subscriber takes out of the ring at once: microseconds of its lock. They are
/// matched after that.
pub const SCAN_ENTRIES: usize = 256;
/// Groups that are found by one value of filters before another name of theirs is used, where they have
/// one: as many as cost a message no more than the other work that it makes.
pub const INDEX_GROUPS_PER_VALUE: usize = 64;
/// Bytes handed to a connection at once: about what its kernel buffer ([`SEND_BUFFER`]) takes.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Rows that a replay reads from the store at once, and the sequences at whose multiples pages of
/// all messages end.
pub const REPLAY_ROWS: usize = 512;
/// Stretches of the past that are read from the store at once: as many as it has connections for
/// readers.
pub const REPLAY_READS: usize = STORE_READERS as usize;
/// How long no replay asks the store after it failed one: those that wait go to the bus at once.
pub const STORE_READ_PAUSE: Duration = Duration::from_millis(200);
/// Bytes of bodies that a replay reads from the store at once, in its last row at most one message
/// more: a reader that hangs meanwhile holds them.
pub const REPLAY_BYTES: u64 = 256 * 1024;
/// Bytes that a stream holds at most for a client that does not read: the stretch of the past that it was read
/// for, with frames and gaps, or one run of the ring ([`CHUNK_BYTES`] and a message). While the store cannot be asked,
/// and the past is read from JetStream, that is [`NATS_READ_BYTES`] and a message instead.
pub const STREAM_BYTES: usize = REPLAY_BYTES as usize + MAX_MESSAGE_BYTES + 2 * CHUNK_BYTES;
/// Holes told from one read of the store.
pub const REPLAY_HOLES: usize = 500;

/// Silence after which a stream shows a sign of life: below the time-outs of
/// common proxies (60 s and up), above the noise of mobile networks.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// Mean of the `retry:` told to browsers, in milliseconds; jittered by half.
pub const RETRY_MILLIS: u64 = 2_000;

/// How often a memory bus that could not write looks whether it can again.
pub const JOURNAL_PROBE: Duration = Duration::from_millis(500);
/// Default messages of a history page (contract, section 3).
pub const DEFAULT_PAGE: usize = 100;
/// Most messages of a history page (contract, section 3).
pub const MAX_PAGE: usize = 1_000;
/// Longest wait for a message in an inbox or for a reply (contract, sections 7 and 9): as
/// long as common proxies leave a silent connection alone.
pub const MAX_REPLY_WAIT: Duration = Duration::from_secs(60);
/// Bytes of bodies that one page of an inbox carries: one full message, or a good hundred
/// usual ones. Ten thousand agents may be woken in one moment.
pub const INBOX_PAGE_BYTES: u64 = 1024 * 1024;
/// Names of types, and of senders, that the counters tell: those with the most messages. An answer
/// stays below 100 kB, and a console has no use for more.
pub const STATS_NAMES: usize = 500;
/// Agents that a task is shown with: a page of a thousand tasks stays below 5 MB.
pub const TASK_AGENTS: usize = 64;
/// Pages of inboxes that are read at once: what keeps the store's readers busy, and leaves
/// them free for others in between.
pub const INBOX_READS: usize = 8;
/// How often samples of latency become counts: they take 24 bytes each until then, or until somebody
/// reads the metrics.
pub const METRICS_UPKEEP: Duration = Duration::from_secs(1);
/// How long a look-up of an unknown id waits for the store to reach the log's end.
pub const READ_YOUR_WRITE: Duration = Duration::from_secs(1);
/// How long a health check waits for a part's answer.
pub const HEALTH_WAIT: Duration = Duration::from_secs(1);
/// Pause between attempts to reach a bus or a store that was absent at start.
pub const START_RETRY: Duration = Duration::from_millis(500);
/// How long writer and projector may take to stop after requests have ended.
pub const CORE_STOP: Duration = Duration::from_secs(5);
/// How often the hold on the store is looked at.
pub const MEMBERSHIP_CHECK: Duration = Duration::from_secs(1);
/// How long a drain of the stream waits for the next entry before it counts
/// what is left as deleted.
pub const DRAIN_WAIT: Duration = Duration::from_secs(5);
/// By how much sequences jump when a stream's tail is abandoned: beyond anything
/// the stream can take meanwhile (at a million messages a second, an hour), and
/// small enough that 2^53 holds two million such jumps.
pub const ABANDON_JUMP: u64 = 1 << 32;

/// Sequences of one partition of `messages` in PostgreSQL: small enough that an index
/// fits in memory and retention drops history in fair pieces, large enough that a
/// hundred million messages are a hundred partitions, which plan in a few milliseconds.
pub const PARTITION_SEQS: u64 = 1_000_000;
/// Sequences of one narrow row of the time index: at most this many rows are read for
/// nothing at either end of a `since`/`until` range.
pub const TIME_INDEX_SEQS: u64 = 1_000;
/// Sequences of one wide row of the time index: a thousand narrow ones, so that a bound
/// in a log of a thousand million messages is found by reading two thousand rows.
pub const TIME_INDEX_WIDE_SEQS: u64 = 1_000_000;
/// Index ranges that one page is merged from, where a choice is left: each costs the
/// database planning time whether or not it holds a row.
pub const MAX_PLAN_BRANCHES: usize = 128;
/// Bytes of bodies that one page of history carries before it is cut short: eight of the
/// largest messages, and not the thousand that `limit` would let pass.
pub const MAX_PAGE_BYTES: u64 = 8 * 1024 * 1024;
/// Connections that read history: more than that only queue inside PostgreSQL on the
/// machines agentbus is meant for.
pub const STORE_READERS: u32 = 8;
/// Connections of a SQLite store that read: as many as a laptop has cores to spare.
pub const SQLITE_READERS: u32 = 4;
/// Connections for lease, watermark and sign of life, which slow reads must not starve.
pub const STORE_CONTROLS: u32 = 2;
/// Connections that move cursors of inboxes: agents confirm at any rate they like, and must
/// not hold up the lease.
pub const STORE_CURSORS: u32 = 2;
/// Connections for work queues: transactions of a few milliseconds, so that four carry
/// thousands of leases a second.
pub const STORE_JOBS: u32 = 4;
/// How long a reader waits for a connection: a store that is away is told in 3 s, within
/// the 6 s that the contract allows a 503.
pub const STORE_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the database may work on a read: every plan is bounded, so more is a fault.
pub const STORE_READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the database may work on a write: a batch takes milliseconds, a checkpoint
/// on a slow disk seconds.
pub const STORE_WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// What is allowed on top of a statement's own limit before its connection is given up:
/// the database ends a statement by itself, unless the network is gone.
pub const STORE_GRACE: Duration = Duration::from_secs(1);
/// How long a joining server waits for a dead predecessor's hold to end: a killed
/// server's connection closes at once, its backend notices in milliseconds.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(3);
/// How often it tries meanwhile.
pub const JOIN_RETRY: Duration = Duration::from_millis(100);
/// How often a member makes sure of its hold; twice that is the longest a server that
/// lost its database session goes on believing in it.
pub const MEMBERSHIP_PING: Duration = Duration::from_secs(2);
/// Rows of one SQLite insert: where more no longer makes it faster (measured), far below
/// SQLite's 32,766 parameters.
pub const SQLITE_INSERT_ROWS: usize = 64;
/// Rows of an insert where each number of them is a statement of its own to prepare: the largest that fits is taken,
/// so that few are prepared and what is left over takes three at most.
pub const SQLITE_INSERT_SIZES: [usize; 12] =
    [SQLITE_INSERT_ROWS, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1];
/// Statements a store connection keeps prepared: the shapes of filters in use.
pub const STORE_STATEMENTS: usize = 256;
/// Page cache of each SQLite connection, in KiB: the upper levels of thirteen indices of a
/// million rows, so that a write reads no index page twice.
pub const SQLITE_CACHE_KIB: u32 = 16 * 1024;
/// Ids that one SQLite statement looks up: far below its 32,766 parameters.
pub const SQLITE_STATEMENT_IDS: usize = 1_000;
/// Pages of SQLite's log after which a write moves them into the database: 16 MiB, so that
/// pages written by every batch are moved once for many (measured: a sixth faster than 1,000).
pub const SQLITE_CHECKPOINT_PAGES: u32 = 4_000;
/// Where a page begins less than so far from the end of a partition, its first statement looks
/// at the next one too: enough for a page of a hundred of what is one message in a thousand.
pub const NEAREST_SEQS: u64 = PARTITION_SEQS / 10;
/// Partitions that the second statement of a page looks at, where the first has not filled it:
/// PostgreSQL plans and locks each partition with its 14 indices (its lock table has
/// room for 6,400 by default).
pub const NEXT_WINDOW_PARTITIONS: usize = 4;
/// Partitions that each further statement of a page looks at, for values that are rare.
pub const WINDOW_PARTITIONS: usize = 16;
/// How far the store's clock may be from ours before `doctor` speaks of it: leases are
/// seconds long, and times of messages should tell their order to a person.
pub const CLOCK_TOLERANCE: Duration = Duration::from_millis(500);
/// How long a publish waits for the store to say whether it knows an id.
pub const STORE_LOOKUP_TIMEOUT: Duration = Duration::from_millis(750);
/// Ids asked for by one statement: as many as come while the one before is on its way.
pub const ID_LOOKUP_BATCH: usize = 256;
/// Ids that wait to be asked for; beyond them a request waits for a place, no longer than
/// [`STORE_LOOKUP_TIMEOUT`]: one for each request at work.
pub const ID_LOOKUP_QUEUE: usize = MAX_REQUESTS;
/// How long nobody asks it after that failed.
pub const STORE_LOOKUP_PAUSE: Duration = Duration::from_secs(2);
/// Bytes of an attempt's error that are kept: enough for a person to see what happened.
pub const MAX_ATTEMPT_ERROR: usize = 2_048;

/// Webhooks of a deployment: each has a consumer on every server, and reads the whole log.
pub const MAX_WEBHOOKS: usize = 100;
/// Bytes of a webhook's URL: what common servers and proxies take.
pub const MAX_WEBHOOK_URL: usize = 2_048;
/// Deliveries of one webhook on their way at once from one server: enough to hide a round
/// trip of 50 ms at 150 messages a second, few enough not to flood a small receiver.
pub const WEBHOOK_CONCURRENCY: usize = 8;
/// How long a receiver may take to accept a connection, its name and TLS included.
pub const WEBHOOK_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a delivery may take in all: Standard Webhooks asks for 15 to 30 s.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(20);
/// Connections kept open to one receiver between deliveries: as many as are used at once.
pub const WEBHOOK_IDLE_CONNECTIONS: usize = WEBHOOK_CONCURRENCY;
/// How long they are kept: below the 60 s after which common servers close them.
pub const WEBHOOK_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes that are read of a refusal's body, for the error's text.
pub const MAX_WEBHOOK_ERROR_BODY: usize = 512;
/// Default of `WEBHOOK_BACKOFF_S`: nearly 16 hours in all, so that a receiver may be away for a night.
pub const DEFAULT_WEBHOOK_BACKOFF: [Duration; 9] = {
    const fn minutes(count: u64) -> Duration {
        Duration::from_secs(count * 60)
    }
    let (first, second) = (Duration::from_secs(5), Duration::from_secs(30));
    let (hour, half) = (minutes(60), minutes(30));
    [first, second, minutes(2), minutes(10), half, hour, minutes(120), minutes(240), minutes(480)]
};
/// Longest wait that `WEBHOOK_BACKOFF_S` may ask for: a week.
pub const MAX_WEBHOOK_WAIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Most attempts that `WEBHOOK_BACKOFF_S` may ask for: each leaves an error of up to
/// [`MAX_ATTEMPT_ERROR`] in the row.
pub const MAX_WEBHOOK_ATTEMPTS: usize = 32;
/// Longest `Retry-After` of a receiver that is heeded: the longest wait of our own.
pub const MAX_WEBHOOK_RETRY_AFTER: Duration = Duration::from_secs(8 * 60 * 60);
/// Failures in a row after which a webhook may be paused: one message alone does not have
/// as many before its last attempt.
pub const WEBHOOK_PAUSE_FAILURES: u32 = 10;
/// How long these must have lasted: less than the attempts at one message take in all, so that
/// a receiver that is away for longer costs no message, and resuming goes on where it stopped.
pub const WEBHOOK_PAUSE_AFTER: Duration = Duration::from_secs(12 * 60 * 60);
/// How often a success is recorded while all is well.
pub const WEBHOOK_SUCCESS_EVERY: Duration = Duration::from_secs(1);
/// How often a server looks which webhooks there are: changes take effect within a second.
pub const WEBHOOK_POLL: Duration = Duration::from_millis(500);
/// Age from which a webhook's consumer without the webhook is removed: making one takes
/// seconds at most, and clocks of servers differ by less.
pub const WEBHOOK_ORPHAN_AGE: chrono::TimeDelta = chrono::TimeDelta::minutes(1);
/// How long making a webhook waits for its name to be resolved, to tell a private one at once.
pub const WEBHOOK_LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections for background processing: leases and verdicts are batches, and more of
/// them at once would only wait for each other's fsync.
pub const STORE_WORKERS: u32 = 4;
/// Bytes of messages that one lease of messages set aside hands out, in its last at most
/// one message more: what one worker of retries holds in memory.
pub const LEASE_DUE_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes of bodies that one statement sets aside or buries: far below what PostgreSQL takes
/// at once, and on SQLite as long as the log's writer may wait for it.
pub const WORK_WRITE_BYTES: usize = 8 * 1024 * 1024;
/// Characters of earlier attempts that a redriven message takes along: thirty errors of full
/// length, so that redriving the same one every minute does not make it grow.
pub const KEPT_ATTEMPTS_CHARS: usize = 64 * 1024;
/// How long a process may hold a consumer, or the place of a queue: longer than the three calls of NATS's API in
/// which a durable consumer is made anew, shorter than another process waits for its turn.
pub const CONSUMER_LOCK_TIMEOUT: Duration = Duration::from_secs(8);
/// Rows that one statement deletes when a consumer goes: some 100 ms of work, so that
/// neither a time-out nor a writer that waits meets it.
pub const WORK_DELETE_ROWS: usize = 10_000;

/// How long an attempt belongs to one process (contract, section 10); prolonged while that lives.
pub const CONSUMER_ACK_WAIT: Duration = Duration::from_secs(30);
/// Attempts at a message before it is a dead letter (contract, section 10).
pub const CONSUMER_MAX_DELIVER: u32 = 3;
/// Pauses after failed attempts: soon for what passes by itself, then long enough for a restart
/// of what a handler needs.
pub const CONSUMER_BACKOFF: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];
/// Parts of the ack wait after which it is prolonged: two may get lost.
pub const CONSUMER_PROGRESS_PARTS: u32 = 3;
/// Default of `PROCESSOR_CONCURRENCY`: commands run as processes, and each waits for something.
pub const DEFAULT_CONCURRENCY: usize = 8;
/// Most of it: beyond, what is in hand would need a stream's worth of memory.
pub const MAX_CONCURRENCY: usize = 4_096;
/// Unanswered messages of a durable consumer: several hundred processes with the default, or four
/// that hold the most.
pub const CONSUMER_MAX_ACK_PENDING: usize = 32_768;
/// How often consumers are looked at in the store: a pause is seen within a second.
pub const CONSUMERS_POLL: Duration = Duration::from_millis(750);
/// How often a durable consumer's place is written to the store: what was done since is done again
/// where the stream is lost meanwhile. Two small questions to the bus each time.
pub const FLOOR_POLL: Duration = Duration::from_secs(1);
/// How often totals go to the store.
pub const TOTALS_FLUSH: Duration = Duration::from_secs(1);
/// How long a stop waits for the last deliveries to arrive and the last answers to leave: a
/// way there and back, with a busy server in between.
pub const NATS_STOP_FLUSH: Duration = Duration::from_secs(1);
/// When a delivery given back is handed out again: after its process has ended its pulls.
pub const NATS_NAK_DELAY: Duration = Duration::from_millis(500);
/// Verdicts written to the store at once.
pub const SETTLE_BATCH: usize = 256;
/// How long the last verdicts may wait for a store that is away when a consumer stops; what is
/// not recorded then is handed out again.
pub const SETTLE_STOP: Duration = Duration::from_secs(2);
/// Messages that a feed takes on by one write: a write each at one message a second, and a
/// two-thousandth of one at full speed.
pub const FEED_ENTRIES: usize = 2_000;
/// How long the right to feed is good without renewal: how long another waits for a killed one.
pub const FEED_LEASE: Duration = Duration::from_secs(5);
/// How often a feed's progress is written, and the right to it prolonged.
pub const FEED_SAVE: Duration = Duration::from_secs(1);
/// How long retries wait at most before they look what is due: others set aside as well.
pub const RETRY_POLL: Duration = Duration::from_secs(1);
/// How long messages may have been handed out again without an end before their durable consumer
/// is made anew from the last safe place: twice the ack wait.
pub const EXHAUSTED_TIMEOUT: Duration = Duration::from_secs(60);
/// How long what a command said last is waited for after its exit: a child that it left behind
/// may keep the pipe open for ever.
pub const EXEC_STDERR_GRACE: Duration = Duration::from_millis(200);
/// Sequences that are skipped one by one where a tail is written back (an entry stored and deleted
/// again for each, some 5,000 a second); beyond that the stream lets go of what it holds instead.
pub const WRITE_BACK_FILLERS: u64 = 10_000;
/// Rows read at once to be written back: a few round trips' worth, well within a lease's time.
pub const WRITE_BACK_ROWS: usize = 1_000;
/// Leases of a consumer that were asked for in vain and are remembered to be given back: at one
/// a second, those of several minutes. What is forgotten costs a message one attempt.
pub const MAX_UNCONFIRMED_LEASES: usize = 256;
/// Looks at a durable consumer's place at the end, until the last answers have come: a second.
pub const LAST_FLOOR_POLLS: u32 = 20;
/// Pause between them.
pub const LAST_FLOOR_PAUSE: Duration = Duration::from_millis(50);

/// Longest lease of a queue: longer work extends it. Bounds how long the end of a lease is
/// remembered where the server cannot forget each at its own time (NATS before 2.11).
pub const MAX_LEASE_S: u64 = 3_600;
/// Most attempts at a job: more is a loop, not a retry.
pub const MAX_DELIVER: u64 = 100;
/// Steps of a queue's backoff.
pub const MAX_BACKOFF_STEPS: usize = 20;
/// Longest step of a queue's backoff: a day.
pub const MAX_BACKOFF_S: u64 = 86_400;
/// Longest delay of a job: 30 days.
pub const MAX_DELAY_S: u64 = 2_592_000;
/// Depth of a job's payload, as of a message's metadata.
pub const MAX_PAYLOAD_DEPTH: usize = 32;
/// Bytes that a delayed job's headers take beside those of a message: `Nats-Schedule` with its time
/// and `Nats-Schedule-Target` with the longest subject, and what the server adds when it is due.
pub const JOB_HEADER_BYTES: usize = 512;
/// Most jobs of one lease (contract, section 8), and settlements of one request.
pub const MAX_LEASE_JOBS: usize = 1_000;
/// Bytes of jobs that one lease carries, in its last job at most one more.
pub const MAX_LEASE_BYTES: usize = 8 * 1024 * 1024;
/// Longest wait for a job (contract, section 8).
pub const MAX_LEASE_WAIT_S: u64 = 60;
/// Requests that wait for jobs at once, over all queues: each holds a connection and a timer.
pub const MAX_LEASE_WAITERS: usize = 8_192;
/// Shortest sleep of who waits for a job: what is due now and was not leased is another's.
pub const JOB_WAKE: Duration = Duration::from_millis(10);
/// How often exhausted jobs are looked for: they are dead letters within a second or two.
pub const JOB_SWEEP: Duration = Duration::from_secs(1);
/// Jobs that one sweep buries at once.
pub const JOB_SWEEP_ROWS: usize = 500;
/// Age of what is known of a queue's configuration: another server may have changed it.
pub const QUEUE_CACHE: Duration = Duration::from_secs(2);
/// How long the store recognises a client's job id after it was enqueued: as long as JetStream's default.
pub const JOB_ID_WINDOW: Duration = Duration::from_secs(120);
/// Most queues of one deployment: each costs JetStream three consumers.
pub const MAX_QUEUES: usize = 10_000;
/// By how much JetStream waits longer than a lease lasts before it gives a job to another: what the
/// clocks of servers may differ, and what an end may be on the way.
pub const LEASE_MARGIN: Duration = Duration::from_secs(1);
/// How long after a lease's end an end recorded in time may still be carried out: half the margin.
pub const LEASE_SLACK: Duration = Duration::from_millis(500);
/// How much longer than a lease its end is remembered: until its job, had the end not been carried
/// out, is delivered again or found exhausted.
pub const LEASE_MEMORY: Duration = Duration::from_secs(30);
/// First pause of a server's poll for a queue's jobs; it doubles up to [`JOB_POLL_LONGEST`].
pub const JOB_POLL_FIRST: Duration = Duration::from_millis(10);
/// Longest pause of that poll: how late a waiting worker learns of a job that another server took in.
pub const JOB_POLL_LONGEST: Duration = Duration::from_millis(100);
/// Queues that one sweep on NATS looks at: three questions each.
pub const JOB_SWEEP_QUEUES: usize = 100;
/// For how long after a publish a pull of the same server waits for the consumer to learn of it.
pub const JOB_FRESH: Duration = Duration::from_millis(250);
/// How long such a pull waits at most: a consumer learns of a message within a millisecond or two.
pub const JOB_FRESH_WAIT: Duration = Duration::from_millis(50);
