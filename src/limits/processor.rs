//! Limits of background processing.

use std::time::Duration;

/// Bytes of an attempt's error that are stored: enough for a person to see what happened.
pub const MAX_ATTEMPT_ERROR: usize = 2_048;
/// Bytes of messages that one lease of messages set aside returns; the last may exceed it by one message. One
/// retry worker holds as many in memory.
pub const LEASE_DUE_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes of bodies in one statement that sets messages aside or adds dead letters: far below what PostgreSQL
/// takes at once, and on SQLite as long as the log's writer may wait.
pub const WORK_WRITE_BYTES: usize = 8 * 1024 * 1024;
/// Characters of earlier attempts that a redriven message keeps: thirty errors of full length, so that redriving
/// it every minute does not make it grow.
pub const KEPT_ATTEMPTS_CHARS: usize = 64 * 1024;
/// How long a process may lock a consumer's or a queue's row: longer than the three NATS API calls that create a
/// durable consumer again, shorter than another process waits for the lock.
pub const CONSUMER_LOCK_TIMEOUT: Duration = Duration::from_secs(8);
/// Rows that one statement deletes when a consumer is removed: some 100 ms of work, below every time-out and
/// short for a waiting writer.
pub const WORK_DELETE_ROWS: usize = 10_000;
/// How long a process may be silent before its attempt counts as lost (contract, section 10); prolonged while it
/// lives.
pub const CONSUMER_ACK_WAIT: Duration = Duration::from_secs(30);
/// Attempts at a message before it is a dead letter (contract, section 10).
pub const CONSUMER_MAX_DELIVER: u32 = 3;
/// Pauses after failed attempts: short for a passing fault, then long enough for a restart of what a handler
/// needs.
pub const CONSUMER_BACKOFF: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];
/// A lease is prolonged each time this fraction of its ack wait has passed: two prolongations may get lost.
pub const CONSUMER_PROGRESS_PARTS: u32 = 3;
/// Default of `PROCESSOR_CONCURRENCY`: commands run as processes, and each waits for something.
pub const DEFAULT_CONCURRENCY: usize = 8;
/// Most of it: beyond, messages in flight would take a stream's worth of memory.
pub const MAX_CONCURRENCY: usize = 4_096;
/// Unacknowledged messages of a durable consumer: several hundred processes with the default concurrency, or four
/// with the highest.
pub const CONSUMER_MAX_ACK_PENDING: usize = 32_768;
/// How often consumers are read from the store: a pause takes effect within a second.
pub const CONSUMERS_POLL: Duration = Duration::from_millis(750);
/// How often a durable consumer's position is stored: where the stream is lost, what was done since is done
/// again. Costs two small requests to the bus.
pub const FLOOR_POLL: Duration = Duration::from_secs(1);
/// How often totals go to the store.
pub const TOTALS_FLUSH: Duration = Duration::from_secs(1);
/// How long a stop waits for the last deliveries to arrive and the last acks to leave: a round trip to a busy
/// server.
pub const NATS_STOP_FLUSH: Duration = Duration::from_secs(1);
/// When a message returned at a stop is delivered again: after this process has ended its pulls.
pub const NATS_NAK_DELAY: Duration = Duration::from_millis(500);
/// Outcomes written to the store at once.
pub const SETTLE_BATCH: usize = 256;
/// How long the last outcomes may wait for a store that is away when a consumer stops; their messages are
/// delivered again.
pub const SETTLE_STOP: Duration = Duration::from_secs(2);
/// Messages that a feed dispatches by one write: at one message a second a write each, at full speed a
/// two-thousandth.
pub const FEED_ENTRIES: usize = 2_000;
/// How long the right to feed lasts without renewal: how long another process waits for a killed one.
pub const FEED_LEASE: Duration = Duration::from_secs(5);
/// How often a feed's progress is stored and the right to it renewed.
pub const FEED_SAVE: Duration = Duration::from_secs(1);
/// Longest pause before retries ask what is due: other processes set messages aside as well.
pub const RETRY_POLL: Duration = Duration::from_secs(1);
/// How long messages may stay redelivered without an outcome before their durable consumer is created again from
/// the last safe position: twice the ack wait.
pub const EXHAUSTED_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a command's last output is waited for after its exit: a child that it left behind may keep the pipe
/// open for ever.
pub const EXEC_STDERR_GRACE: Duration = Duration::from_millis(200);
/// Leases whose answer was lost and that are remembered to be released: several minutes at one a second. One that
/// is forgotten costs its message an attempt.
pub const MAX_UNCONFIRMED_LEASES: usize = 256;
/// Polls of a durable consumer's position at the end, until the last acks have arrived: a second in all.
pub const LAST_FLOOR_POLLS: u32 = 20;
/// Pause between them.
pub const LAST_FLOOR_PAUSE: Duration = Duration::from_millis(50);
