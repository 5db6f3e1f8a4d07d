//! Pulls: requests for messages from a JetStream consumer.
//!
//! Used by readers of the log, durable consumers and work queues. They share the connection
//! ([`PullConnection`]), the inbox ([`PullInbox`]), the pulls that stay open ([`PullSession`]) and the pauses
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
