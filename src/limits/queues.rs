//! Limits of work queues, and of the time that leases in a SQLite file are counted by.

use std::time::Duration;

/// How old the stored time of a SQLite file may be where ends of leases are written: by as much a lease may last
/// longer if the wall clock is set back while no server runs.
pub const STORE_TIME_MAX_AGE: Duration = Duration::from_secs(1);
/// Difference between the wall clock and the store's time from which the clock counts as set, and the difference
/// is stored.
pub const STORE_TIME_STEP: Duration = Duration::from_millis(100);
/// Queues whose consumers one server creates or removes at once: each holds a connection for background
/// processing meanwhile.
pub const MAX_QUEUE_CHANGES: usize = 2;
/// How often enqueueing a job creates its queue that is deleted each time in between, before its client gets a
/// 503.
pub const MAX_QUEUE_CREATE_ATTEMPTS: usize = 8;
/// Pause between polls of a request that waits for a queue that does not exist: two requests each, so they are
/// rare, and one after the other, however many such names are tried.
pub const QUEUE_POLL: Duration = Duration::from_millis(500);
/// How long a deletion pauses a queue's deliveries at most: far more than it takes, and the pause ends by itself
/// where the server dies.
pub const QUEUE_PAUSE: Duration = Duration::from_secs(10);
/// Silence after which a pull that does not wait checks whether its consumer was deleted: a hundred times a round
/// trip.
pub const PULL_SILENCE: Duration = Duration::from_millis(500);

/// Longest lease of a queue; longer work extends it. Bounds how long the end of a lease is remembered where the
/// server cannot expire each at its own time (NATS before 2.11).
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
/// Bytes of a delayed job's headers beside those of a message: `Nats-Schedule` with its time,
/// `Nats-Schedule-Target` with the longest subject, and what the server adds when it is due.
pub const JOB_HEADER_BYTES: usize = 512;
/// Most jobs of one lease (contract, section 8), and settlements of one request.
pub const MAX_LEASE_JOBS: usize = 1_000;
/// Bytes of jobs of one lease; the last may exceed it by one job.
pub const MAX_LEASE_BYTES: usize = 8 * 1024 * 1024;
/// Longest wait for a job (contract, section 8).
pub const MAX_LEASE_WAIT_S: u64 = 60;
/// Requests that wait for jobs at once, over all queues: each holds a connection and a timer.
pub const MAX_LEASE_WAITERS: usize = 8_192;
/// Shortest sleep of a request that waits for a job: what is due now and was not leased belongs to another.
pub const JOB_WAKE: Duration = Duration::from_millis(10);
/// How often exhausted jobs are searched: they are dead letters within a second or two.
pub const JOB_SWEEP: Duration = Duration::from_secs(1);
/// Jobs that one sweep makes dead letters.
pub const JOB_SWEEP_ROWS: usize = 500;
/// Age of a cached queue configuration: another server may have changed it.
pub const QUEUE_CACHE: Duration = Duration::from_secs(2);
/// How long the store recognises a client's job id after it was enqueued: JetStream's default.
pub const JOB_ID_WINDOW: Duration = Duration::from_secs(120);
/// Most queues of one deployment: each costs JetStream three consumers.
pub const MAX_QUEUES: usize = 10_000;
/// By how much JetStream waits longer than a lease lasts before it delivers the job again: clocks of servers may
/// differ, and a settlement may be on the way.
pub const LEASE_MARGIN: Duration = Duration::from_secs(1);
/// How long after a lease's end a settlement that was recorded in time may still be carried out: half the margin.
pub const LEASE_SLACK: Duration = Duration::from_millis(500);
/// How much longer than a lease its settlement is remembered: until its job, if the settlement was not carried
/// out, is delivered again or found exhausted.
pub const LEASE_MEMORY: Duration = Duration::from_secs(30);
/// First pause of a server's poll for a queue's jobs; it doubles up to [`JOB_POLL_LONGEST`].
pub const JOB_POLL_FIRST: Duration = Duration::from_millis(10);
/// Longest pause of that poll: how late a waiting worker learns of a job that another server took in.
pub const JOB_POLL_LONGEST: Duration = Duration::from_millis(100);
/// Queues of one sweep on NATS: three requests each.
pub const JOB_SWEEP_QUEUES: usize = 100;
/// How long after a publish a pull of the same server waits for the consumer to see the new message.
pub const JOB_FRESH: Duration = Duration::from_millis(250);
/// How long such a pull waits at most: a consumer sees a message within a millisecond or two.
pub const JOB_FRESH_WAIT: Duration = Duration::from_millis(50);
