//! The NATS bus: the log in a JetStream stream.
//!
//! Invariant: one stream is the log, and its sequences are those of the bus. Unless requested, nothing here
//! changes an existing stream. Nothing queues publishes while there is no connection, or waits without a time
//! limit. async-nats is used for the connection only. Requests, acks and pulls have inboxes of their own,
//! because async-nats 0.51 leaks an entry for every reply that never comes (nats.rs #1617).
//!
//! [`permissions`] lists the permissions that the user needs.

mod api;
mod breaker;
mod bus;
mod conditional;
mod config;
mod connect;
mod consumer;
mod consumer_api;
mod credentials;
mod denial;
mod entry;
mod error;
mod failover;
pub mod jobs;
mod permissions;
mod publish;
mod pull;
mod reader;
mod requester;
mod send_queue;
mod stream;
mod stream_config;
#[cfg(test)]
mod tests;
mod view;
mod write_back;

pub use bus::{NatsBus, Retention, fix_stream};
pub use config::NatsConfig;
pub use credentials::check_credentials;
pub use denial::{Action, Denial};
pub use permissions::{Missing, Permission, Use, missing_permissions, needed};
pub use stream::IfMissing;
pub use write_back::WriteBack;
