//! Durable pull consumers of the stream.
//!
//! Invariant: deliveries and acknowledgements use a connection of their own. An entry that async-nats cannot
//! read may break it without harm to publishing or to live streams. An acknowledgement is a plain publish; if
//! it is lost, the message is delivered again.

mod acker;
mod api;
mod consumers;
mod context;
mod deliveries;
mod session;

pub(super) use consumers::NatsConsumers;
