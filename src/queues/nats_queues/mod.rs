//! Queues in JetStream. Their configuration and the errors of attempts are in the store.
//!
//! **When a lease ends.** The token of a lease holds its first end. This is counted from before the pull was
//! sent, so it begins before JetStream's ack wait, and the ack wait is also longer by
//! [`LEASE_MARGIN`](crate::limits::LEASE_MARGIN). So until the first end no other worker can have the job.
//! After it, the token is valid only until the end of an extension that the ledger records. In short: a token
//! is valid if its lease was not ended and the time is before its first end or before the end of a recorded
//! extension. The clocks of servers may differ by half the margin.
//!
//! **Ending a lease** takes three steps, in this order:
//! 1. The end is written to the ledger, on the condition that no end is recorded. If two requests try, on any
//!    servers, one succeeds and the other gets 410.
//! 2. If the job is given up, its dead letter is stored.
//! 3. The ack or NAK is sent, unless the margin is nearly used up: a later one could count for the next
//!    delivery.
//!
//! If the server stops, or fails, between these steps:
//! - The server is killed after step 1: JetStream delivers the job again after the ack wait. The server that
//!   leases it then reads the ledger. If the job was acked, it sends the ack again. After a nack or a fail,
//!   this is simply another attempt. So a job may run again (at least once), but it is never lost.
//! - The response is lost and the client repeats its request: the client gets 410, and an ack is sent again.
//! - The dead letter cannot be stored: the lease is reopened in the ledger, the client gets 503, and the
//!   lease goes on.
//!
//! **Expiry.** After the ack wait JetStream delivers the job again or, after `max_deliver` deliveries, gives
//! it up. NATS 2.15 does so, and publishes the advisory, only at the next pull. So every redelivered lease,
//! and a first lease that is also the last allowed, is recorded in the store with its end, and a sweep gives
//! up the jobs whose last lease has ended. The dead letter is stored before the job is removed. A job whose
//! ack is in the ledger is only removed.
//!
//! **Attempts** are JetStream's deliveries. A delivery that never reached a worker, because the server or the
//! connection failed, counts too. The store keeps the reasons of nacks. If it is unavailable, a nack succeeds
//! without storing its reason.
//!
//! **Shorter leases.** JetStream's ack wait follows the longest lease that may still be active. So when a
//! queue gets a shorter lease, jobs are redelivered after the old time until all earlier leases have ended.

mod api;
mod dead_letters;
mod enqueue;
mod entry;
mod leasing;
mod lifecycle;
mod queues;
mod settling;

pub use queues::NatsQueues;
