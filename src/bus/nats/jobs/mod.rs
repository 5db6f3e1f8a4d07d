//! Work queues in JetStream: streams, consumers, acks and the ledger of leases.
//!
//! There are two streams, created at their first use. An existing stream is never changed.
//! - The **jobs** stream has work-queue retention. One durable pull consumer takes `jobs.<queue>.<priority>`.
//!   A delayed job is a message schedule (ADR-51) on `jobs.<queue>.<priority>.later.<id>`, which no consumer
//!   takes: when it is due, the server publishes it on the first subject.
//! - The **leases** stream is the ledger: one subject per lease, one record per subject.
//!
//! **Why a ledger.** An ack of JetStream does not show whether the lease was still valid (nats-server,
//! `server/consumer.go`):
//! - an ack or NAK of an earlier delivery counts for the current delivery;
//! - a second ack, of a message that was already removed, is confirmed like the first;
//! - a `+WPI` restarts the ack wait of whichever worker has the message now.
//!
//! So with acks alone, a late worker could end the lease of another worker. The ledger prevents that: to end
//! a lease, a server writes its record on the condition that there is none yet
//! (`Nats-Expected-Last-Subject-Sequence`). Only the server whose write succeeds sends the ack.
//!
//! Invariant: nothing here decides whether a lease is still valid; [`crate::queues::NatsQueues`] does.

mod advisories;
mod client;
mod consumers;
mod ledger;
mod outgoing;
mod pull;
mod removal;
mod streams;

pub use advisories::MaxDeliveriesAdvisories;
pub use client::NatsJobs;
pub use consumers::QueueCounts;
pub use ledger::{LeaseRecord, LeaseState, RecordOutcome, RecordWrite};
pub use outgoing::{OutgoingJob, PRIORITIES};
pub use pull::DeliveredJob;
