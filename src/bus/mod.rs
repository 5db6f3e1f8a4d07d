//! The bus: the log of messages, in memory or in JetStream.
//!
//! Invariant: no other content ever gets the sequence of an acknowledged message, and every reader sees entries in rising
//! sequence. The bus does not know the store; the memory bus writes through a [`memory::Journal`].

pub mod durable;
mod error;
mod log;
pub mod memory;
pub mod nats;

pub use error::{BusError, PublishError};
pub use log::{Ack, Bounds, Bus, LogIdentity, Precondition, Reader};
