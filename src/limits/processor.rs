//! Limits of background processing.

use std::time::Duration;

/// The most bytes that are stored of an attempt's error: enough for a person to see what happened.
pub const MAX_ATTEMPT_ERROR: usize = 2_048;
/// The most bytes of messages that one lease of messages set aside returns; the last may exceed it by one
/// message. One retry worker holds this many in memory.
pub const LEASE_DUE_BYTES: u64 = 8 * 1024 * 1024;
/// The most bytes of bodies in one statement that sets messages aside or adds dead letters. PostgreSQL takes
/// far more at once; on SQLite the statement takes no longer than the log's writer may wait.
pub const WORK_WRITE_BYTES: usize = 8 * 1024 * 1024;
/// The most characters of earlier attempts that a redriven message keeps: thirty errors of full length. So a
/// message that is redriven every minute does not grow.
pub const KEPT_ATTEMPTS_CHARS: usize = 64 * 1024;
/// How long a process may lock the row of a consumer or a queue: longer than the three NATS API calls that
/// create a durable consumer again, shorter than another process waits for the lock.
pub const CONSUMER_LOCK_TIMEOUT: Duration = Duration::from_secs(8);
/// Rows that one statement deletes when a consumer is removed: some 100 ms of work, which is below every
/// time-out and a short wait for another writer.
pub const WORK_DELETE_ROWS: usize = 10_000;
/// How long the process that runs an attempt may be silent before the attempt counts as lost (contract,
/// section 10). The process prolongs this time while it lives.
pub const CONSUMER_ACK_WAIT: Duration = Duration::from_secs(30);
/// The most attempts at a message before it becomes a dead letter (contract, section 10).
pub const CONSUMER_MAX_DELIVER: u32 = 3;
/// Pauses after failed attempts: the first is short, for a passing fault; the last is long enough for a
/// restart of what a handler needs.
pub const CONSUMER_BACKOFF: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];
/// How many times a lease is prolonged within its ack wait, so that two prolongations may get lost.
pub const CONSUMER_PROGRESS_PARTS: u32 = 3;
/// Default of `PROCESSOR_CONCURRENCY`. Commands run as processes, and each waits for something.
pub const DEFAULT_CONCURRENCY: usize = 8;
/// The highest `PROCESSOR_CONCURRENCY`. With more, the messages in flight could take as much memory as a
/// stream.
pub const MAX_CONCURRENCY: usize = 4_096;
/// The most unacknowledged messages of a durable consumer: enough for several hundred processes with the
/// default concurrency, or for four with the highest.
pub const CONSUMER_MAX_ACK_PENDING: usize = 32_768;
/// How often consumers are read from the store, so that a pause takes effect within a second.
pub const CONSUMERS_POLL: Duration = Duration::from_millis(750);
/// How often a durable consumer's position is stored. If the stream is lost, the work since then is done
/// again. It costs two small requests to the bus.
pub const FLOOR_POLL: Duration = Duration::from_secs(1);
/// How often a consumer's totals are written to the store.
pub const TOTALS_FLUSH: Duration = Duration::from_secs(1);
/// How long a stop waits for the last deliveries to arrive and the last acks to leave: a round trip to a busy
/// server.
pub const NATS_STOP_FLUSH: Duration = Duration::from_secs(1);
/// Delay after which a message returned at a stop is delivered again: by then this process has ended its
/// pulls.
pub const NATS_NAK_DELAY: Duration = Duration::from_millis(500);
/// The most outcomes written to the store at once.
pub const SETTLE_BATCH: usize = 256;
/// How long a consumer that stops waits to write its last outcomes while the store is unreachable. After that
/// their messages are delivered again.
pub const SETTLE_STOP: Duration = Duration::from_secs(2);
/// The most messages that a feed dispatches by one write to the store. At one message a second each message
/// costs a write, at full speed a two-thousandth of one.
pub const FEED_ENTRIES: usize = 2_000;
/// How long the claim on a feed lasts without renewal, and so how long another process waits after one was
/// killed.
pub const FEED_LEASE: Duration = Duration::from_secs(5);
/// How often a feed's progress is stored and the claim on it renewed.
pub const FEED_SAVE: Duration = Duration::from_secs(1);
/// Longest pause before the retries ask the store what is due, since other processes set messages aside as
/// well.
pub const RETRY_POLL: Duration = Duration::from_secs(1);
/// How long the retries wait for the traces of what they leased. The shortest `ack_wait` is one second, and the leases run.
pub const RETRY_TRACE_WAIT: Duration = Duration::from_millis(250);
/// How long redelivered messages may stay without an outcome before their durable consumer is created again
/// from the last safe position: twice the ack wait.
pub const EXHAUSTED_TIMEOUT: Duration = Duration::from_secs(60);
/// How long to wait for a command's last output after its exit. A child that it left behind may keep the pipe
/// open for ever.
pub const EXEC_STDERR_GRACE: Duration = Duration::from_millis(200);
/// The most leases that are remembered for release because their response was lost: several minutes at one a
/// second. A lease that is forgotten costs its message an attempt.
pub const MAX_UNCONFIRMED_LEASES: usize = 256;
/// The most polls of a durable consumer's position at a stop, until the last acks have arrived: a second in
/// all.
pub const LAST_FLOOR_POLLS: u32 = 20;
/// Pause between the [`LAST_FLOOR_POLLS`].
pub const LAST_FLOOR_PAUSE: Duration = Duration::from_millis(50);
