//! Queues in JetStream; their configuration and the errors of attempts are in the store.
//!
//! **When a lease has expired.** A lease's token holds its first end. It counts from before the pull was
//! sent, so from before JetStream began its ack wait, and that is longer by
//! [`LEASE_MARGIN`](crate::limits::LEASE_MARGIN). Until the first end no other worker can have the job; after it,
//! the token is valid only until the end of an extension that the ledger records. So a token is valid if its
//! lease has not been ended and the time is before its first end or before the recorded extension. The clocks
//! of servers may differ by half the margin.
//!
//! **Ending a lease** takes three steps, in this order:
//! 1. The ledger. The end is written under the condition that no end is recorded. If two
//!    requests try, on any servers, one succeeds and the other gets 410.
//! 2. The dead letter, if the job is given up.
//! 3. The ack or NAK, unless the margin is nearly spent: one that comes later could count for the next
//!    delivery.
//!
//! If it stops between these steps:
//! - The server is killed after step 1. JetStream delivers the job again when the ack wait is over. The
//!   server that leases it then reads the ledger. If the job was acked, its ack is completed. After a nack or a fail this
//!   is simply another attempt. So a job may run again (at least once), and it is never lost.
//! - The response is lost and the client repeats its request: it gets 410, and an ack is completed.
//! - The dead letter cannot be stored. The lease is reopened in the ledger, the client gets 503, and the
//!   lease goes on.
//!
//! **Expiry.** After the ack wait JetStream delivers the job again or, after `max_deliver` deliveries, gives
//! it up. NATS 2.15 does so, and publishes the advisory, only at the next pull. So each lease but the first
//! is recorded in the store with its end, and a sweep gives up the jobs whose last lease has ended. The dead
//! letter is stored before the job is removed. A job that is acked by the ledger is only removed.
//!
//! **Attempts** are JetStream's deliveries. A delivery that never reached its worker, because the server or
//! the connection died, counts too. The store keeps the reasons of nacks; while it is unavailable, a nack
//! succeeds without storing its reason.
//!
//! **Shorter leases.** JetStream's ack wait follows the longest lease that may still be active. So when a queue
//! gets a shorter lease, leases expire after the old time until all earlier leases have ended.

mod api;
mod dead_letters;
mod enqueue;
mod entry;
mod leasing;
mod lifecycle;
mod queues;
mod settling;

pub use queues::NatsQueues;
