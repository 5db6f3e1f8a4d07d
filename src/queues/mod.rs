//! Work queues: each job goes to one worker at a time (contract, section 8).
//!
//! Invariants: a job is acknowledged once it is durable. It is leased to one worker at a time: no other
//! worker gets it before the `lease_expires_at` in the response. After a lease has ended, its token changes
//! nothing on any server. A job leaves its queue only when it is done, or after its dead letter was stored.
//! So a job runs at least once, and workers must tolerate repeats.
//!
//! [`StoreQueues`] keeps jobs in the store, for the memory bus; [`NatsQueues`] keeps them in JetStream. In
//! both cases the store holds the configuration of each queue.

mod config;
mod config_cache;
mod contract;
mod dead_letter;
mod done_counter;
mod error;
mod job;
mod nats_queues;
mod settlement;
mod store_queues;
mod token;
mod waiters;

pub use config::{QueueConfig, in_seconds};
pub use config_cache::QueueConfigCache;
pub use contract::{Enqueued, LeaseRequest, LeasedJob, QueueState, Queues};
pub use done_counter::DoneCounter;
pub use error::QueueError;
pub use job::{Job, NewJob, Priority, content};
pub use nats_queues::NatsQueues;
pub use settlement::{LeaseAction, Settled, Settlement};
pub use store_queues::StoreQueues;
pub use token::{Lease, LeaseHandle};
