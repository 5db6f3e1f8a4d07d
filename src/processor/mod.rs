//! Background processing: each message at least once, by one worker at a time, with retries and dead letters
//! (contract, section 10).
//!
//! First deliveries of a consumer come from the bus (`bus_source`), or from the store where the bus does not have
//! them (`store_source`). Every further attempt comes from the store (`retries`), which counts attempts exactly. A
//! `runtime` runs them all, and `settle` is the one place that acks.
//!
//! Invariant: a message leaves a consumer as processed, as expired or as a dead letter, and in no other way. One
//! that never ran never becomes a dead letter.

mod bus_source;
mod consume;
mod directory;
mod durable;
mod engine;
mod exec;
mod feed_progress;
pub mod handler;
mod in_flight;
mod interruption;
mod metrics;
mod outcome;
mod policy;
mod position;
mod retries;
mod run;
mod runtime;
mod settle;
mod spec;
mod status;
mod store_source;

pub use engine::Processor;
pub use exec::ExecHandler;
pub use policy::Policy;
pub use spec::{ConsumerSpec, Start};
pub use status::{ConsumerStatus, ControlError, WEBHOOK_PREFIX};
