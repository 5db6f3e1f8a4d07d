//! Background processing (contract, section 10): each message is processed at least once, by one worker at a
//! time, with retries and dead letters.
//!
//! The first delivery of a message comes from the bus (`bus_source`), or, if the bus does not have the
//! message, from the store (`store_source`): a range of the log that the store delivers is a feed. If an
//! attempt fails, the message is set aside: the store keeps it with its attempts until the next one is due.
//! All further attempts come from there (`retries`), and the store counts them exactly. A `runtime` runs the
//! attempts of a consumer, and only `settle` acks. Each time that a consumer is moved to another position, a
//! new generation of it begins.
//!
//! Invariant: a message leaves a consumer only as processed, as expired or as a dead letter. A message that
//! never ran does not become a dead letter.

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
