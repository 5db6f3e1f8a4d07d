//! The NATS bus: the log in a JetStream stream.
//!
//! Invariant: one stream is the log, and its sequences are those of the bus. Unless requested, nothing here
//! changes an existing stream. Nothing queues publishes while there is no connection, or waits without a time
//! limit. async-nats is used for the connection only. Requests, acks and pulls have inboxes of their own,
//! because async-nats 0.51 leaks an entry for every reply that never comes (nats.rs #1617).
//!
//! Permissions that the server's user needs: publish on the three subject spaces and on
//! `$JS.API.STREAM.INFO.<s>`, `$JS.API.STREAM.MSG.GET.<s>`, `$JS.API.CONSUMER.CREATE.<s>.*` and
//! `$JS.API.CONSUMER.MSG.NEXT.<s>.*`; subscribe to its inbox. Also `$JS.API.STREAM.CREATE.<s>` for the first
//! start, `$JS.API.STREAM.PURGE.<s>` for the switch from the memory bus, and `$JS.API.STREAM.UPDATE.<s>` for
//! `doctor --fix`.

mod api;
mod breaker;
mod bus;
mod conditional;
mod config;
mod connect;
mod consumer;
mod consumer_api;
mod entry;
mod error;
mod failover;
pub mod jobs;
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
pub use stream::IfMissing;
pub use write_back::WriteBack;
