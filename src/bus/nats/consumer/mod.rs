//! Durable pull consumers of the stream.
//!
//! Invariant: deliveries and acknowledgements have a connection of their own. So an entry that async-nats
//! cannot read may break it without harm to publishing or to live streams. An acknowledgement is sent without
//! waiting for a reply; if it is lost, the message is delivered again.

mod acker;
mod api;
mod consumers;
mod context;
mod deliveries;
mod session;

pub(super) use consumers::NatsConsumers;
