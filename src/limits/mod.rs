//! Every limit of the server, with its unit and its reason: a module for each part that the limits protect.
//!
//! Invariant: no queue, buffer, batch, body or wait elsewhere is bounded by an unnamed number, and none is unbounded.

mod access;
mod broadcast;
mod erasures;
mod http;
mod ingest;
mod log;
mod memory;
mod nats;
mod process;
mod processor;
mod queues;
mod schemas;
mod services;
mod store;
mod telemetry;
mod webhooks;

pub use access::*;
pub use agentbus_message::limits::*;
pub use broadcast::*;
pub use erasures::*;
pub use http::*;
pub use ingest::*;
pub use log::*;
pub use memory::*;
pub use nats::*;
pub use process::*;
pub use processor::*;
pub use queues::*;
pub use schemas::*;
pub use services::*;
pub use store::*;
pub use telemetry::*;
pub use webhooks::*;
