//! The load generator of `agentbus bench`.
//!
//! Invariants: in an open loop each request has an intended start time, and its latency is measured from that time,
//! so that a stall of the server shows in every request that waited (no coordinated omission). The generator uses
//! the HTTP API only. It takes little processor time, since it usually shares the machine with the server: one thread
//! sends, requests are built once and patched, responses and events are parsed only as far as needed to count them.

pub mod address;
pub mod client;
mod error;
pub mod lag;
pub mod limits;
pub mod meter;
pub mod open_files;
pub mod plan;
pub mod process;
mod report;
mod request;
mod run;
pub mod samples;
mod schedule;
mod sender;
pub mod server;
mod sse;
pub mod subscribers;
mod timer;

pub use error::BenchError;
pub use report::Report;
pub use run::{Snapshot, run};
pub use samples::Summary;
