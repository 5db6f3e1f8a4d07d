//! Load, and what becomes of it: the generator behind `agentbus bench`.
//!
//! Invariants: in an open loop each request has a time at which it should begin, and its latency is
//! counted from then, so that a server that stalls cannot hide how many had to wait (coordinated
//! omission). The generator is a client like any other, over sockets alone; it is lean, since it
//! mostly shares the machine with what it measures: one thread sends, prebuilt requests are patched,
//! and answers and events are read no further than is needed to count them.

pub mod address;
pub mod client;
mod error;
pub mod figures;
pub mod lag;
pub mod limits;
pub mod meter;
pub mod open_files;
pub mod own;
pub mod plan;
pub mod process;
mod report;
mod request;
mod run;
mod schedule;
mod sender;
pub mod server;
mod sse;
pub mod subscribers;
mod timer;

pub use error::BenchError;
pub use figures::Spread;
pub use report::Report;
pub use run::{Snapshot, run};
