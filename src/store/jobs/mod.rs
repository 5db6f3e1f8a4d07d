//! What the store holds for work queues: their configuration, the jobs of the memory bus, and the failed
//! attempts of jobs in JetStream.
//!
//! Invariants: a lease begins, ends and runs out by the store's own clock. No other worker gets a leased job
//! before its lease has ended; an end that comes later, or under another lease, changes nothing. A job whose
//! attempts are used up is never leased: it waits to become a dead letter.
//!
//! Every method may be repeated after [`StoreError::Unavailable`]: a lease or an end whose response was lost
//! shows as a lease that runs out, or as one that has ended.
//!
//! [`StoreError::Unavailable`]: super::StoreError::Unavailable

pub(super) mod columns;
pub(super) mod contract;
pub(super) mod queues;
mod recorded;

pub use contract::{
    AddedJob, ExhaustedJob, JobCounts, JobRow, JobSettled, JobSettlement, JobStore, LeasedRow,
    LeasedRows, RedriveOutcome,
};
pub use queues::{QueueDeletion, QueueRow, QueueStore};
pub use recorded::{RecordedAttempt, RecordedAttemptStore};

/// The error of an attempt whose lease ran out.
pub const LEASE_RAN_OUT: &str = "the lease ran out";
