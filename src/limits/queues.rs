//! Limits of work queues, and of the time that leases in a SQLite file follow.

use std::time::Duration;

/// How old the time saved in a SQLite file may be when the end of a lease is written. If the wall clock is
/// set back while no server runs, a lease may last longer by this much.
pub const STORE_TIME_MAX_AGE: Duration = Duration::from_secs(1);
/// If the difference between the wall clock and the store's time changes by more than this, somebody has set
/// the wall clock, and the new difference is stored.
pub const STORE_TIME_STEP: Duration = Duration::from_millis(100);
/// The most queues whose consumers one server creates or removes at once. Each holds a connection for
/// background processing meanwhile.
pub const MAX_QUEUE_CHANGES: usize = 2;
/// How often enqueueing a job creates its queue, if the queue is deleted each time, before the client gets a
/// 503.
pub const MAX_QUEUE_CREATE_ATTEMPTS: usize = 8;
/// Pause between polls of a request that waits for a queue that does not exist. A poll costs two requests, so
/// polls are rare, and only one runs at a time, however many such names are tried.
pub const QUEUE_POLL: Duration = Duration::from_millis(500);
/// The longest that a deletion pauses a queue's deliveries: far longer than a deletion takes. The pause ends
/// by itself if the server dies.
pub const QUEUE_PAUSE: Duration = Duration::from_secs(10);
/// Silence after which a pull that does not wait checks whether its consumer was deleted: a hundred round
/// trips.
pub const PULL_SILENCE: Duration = Duration::from_millis(500);

/// Longest lease of a queue, in seconds. Longer work extends its lease. It bounds how long the end of a lease
/// is remembered if the server cannot expire each one at its own time (NATS before 2.11).
pub const MAX_LEASE_S: u64 = 3_600;
/// The most attempts at a job: more would be a loop, not a retry.
pub const MAX_DELIVER: u64 = 100;
/// The most steps of a queue's backoff.
pub const MAX_BACKOFF_STEPS: usize = 20;
/// Longest step of a queue's backoff, in seconds: a day.
pub const MAX_BACKOFF_S: u64 = 86_400;
/// Longest delay of a job, in seconds: 30 days.
pub const MAX_DELAY_S: u64 = 2_592_000;
/// The greatest depth of nesting in a job's payload, as in a message's metadata.
pub const MAX_PAYLOAD_DEPTH: usize = 32;
/// Bytes of a delayed job's headers besides those of a message: `Nats-Schedule` with its time,
/// `Nats-Schedule-Target` with the longest subject, and what the server adds when the job is due.
pub const JOB_HEADER_BYTES: usize = 512;
/// The most jobs of one lease (contract, section 8), and the most settlements of one request.
pub const MAX_LEASE_JOBS: usize = 1_000;
/// The most bytes of jobs of one lease; the last may exceed it by one job.
pub const MAX_LEASE_BYTES: usize = 8 * 1024 * 1024;
/// Longest wait for a job, in seconds (contract, section 8).
pub const MAX_LEASE_WAIT_S: u64 = 60;
/// The most requests that wait for jobs at once, over all queues. Each holds a connection and a timer.
pub const MAX_LEASE_WAITERS: usize = 8_192;
/// Shortest sleep of a request that waits for a job. A job that is due now and that this request did not get
/// belongs to another request.
pub const JOB_WAKE: Duration = Duration::from_millis(10);
/// How often the server searches for exhausted jobs, so that they become dead letters within a second or two.
pub const JOB_SWEEP: Duration = Duration::from_secs(1);
/// The most jobs that one sweep turns into dead letters.
pub const JOB_SWEEP_ROWS: usize = 500;
/// How long a queue's configuration is cached. Another server may have changed it meanwhile.
pub const QUEUE_CACHE: Duration = Duration::from_secs(2);
/// How long the store recognises a client's job id after the job was enqueued: as long as JetStream by
/// default.
pub const JOB_ID_WINDOW: Duration = Duration::from_secs(120);
/// The most queues of one deployment. Each costs JetStream three consumers.
pub const MAX_QUEUES: usize = 10_000;
/// How long JetStream waits after the end of a lease before it delivers the job again: the clocks of servers
/// may differ, and a settlement may be on its way.
pub const LEASE_MARGIN: Duration = Duration::from_secs(1);
/// How long after a lease's end a settlement that was recorded in time may still be carried out: half of
/// [`LEASE_MARGIN`].
pub const LEASE_SLACK: Duration = Duration::from_millis(500);
/// How long a settlement is remembered after the end of its lease. If it was not carried out, its job is
/// delivered again, or found exhausted, within this time.
pub const LEASE_MEMORY: Duration = Duration::from_secs(30);
/// First pause between a server's polls for a queue's jobs; it doubles up to [`JOB_POLL_LONGEST`].
pub const JOB_POLL_FIRST: Duration = Duration::from_millis(10);
/// Longest pause between a server's polls for a queue's jobs, and so how late a waiting worker learns of a
/// job that another server took in.
pub const JOB_POLL_LONGEST: Duration = Duration::from_millis(100);
/// Queues on NATS whose state is read at once for one list. Each takes eight requests, one after the other; a page of 50
/// would take seconds where a request takes 10 ms.
pub const QUEUE_READS: usize = 8;
/// The most queues of one sweep on NATS. Each costs three requests.
pub const JOB_SWEEP_QUEUES: usize = 100;
/// Within this time after a publish, a pull on the same server waits until the consumer sees the new job.
pub const JOB_FRESH: Duration = Duration::from_millis(250);
/// Time limit for a pull to wait for a job that was just published. A consumer sees it within a millisecond
/// or two.
pub const JOB_FRESH_WAIT: Duration = Duration::from_millis(50);
