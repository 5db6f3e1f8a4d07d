//! What the store holds for work queues: their configuration, the jobs of the memory bus, and the failed
//! attempts at jobs in JetStream.
//!
//! Invariants: a lease begins, ends and runs out by the store's own clock. No other worker gets a leased job
//! before its lease has ended. A settlement that comes later, or under another lease, changes nothing. A job
//! whose attempts are used up is never leased: it waits to become a dead letter.
//!
//! Every method may be repeated after [`StoreError::Unavailable`]. If the response to a lease was lost, that
//! lease runs out. If the response to a settlement was lost, its repeat finds that the lease has ended.
//!
//! [`StoreError::Unavailable`]: super::StoreError::Unavailable

pub(super) mod columns;
pub(super) mod job;
pub(super) mod queues;
mod recorded;

pub use job::{
    AddedJob, ExhaustedJob, JobCounts, JobRow, JobSettled, JobSettlement, JobStore, LEASE_RAN_OUT,
    LeasedRow, LeasedRows, RedriveOutcome,
};
pub use queues::{QueueDeletion, QueueRow, QueueStore};
pub use recorded::{RecordedAttempt, RecordedAttemptStore};
