//! Pulls: how messages come out of a JetStream consumer.
//!
//! Readers of the log, durable consumers and work queues pull. They share the connection that recovers
//! ([`PullConnection`]), the inbox ([`PullInbox`]), the pulls that stay open ([`PullSession`]) and the waits
//! between sessions ([`Retry`]).

mod connection;
mod error;
mod inbox;
mod retry;
mod session;

pub(super) use connection::PullConnection;
pub(super) use error::PullError;
pub(super) use inbox::{PullInbox, delivery_of};
pub(super) use retry::Retry;
pub(super) use session::{PullSession, Pulled};
