//! The bus: the log of messages, in memory or in JetStream.
//!
//! Invariant: the sequence of an acknowledged message is never assigned to other content, and every reader
//! sees entries in rising sequence. The bus does not depend on the store; the memory bus writes to a
//! [`memory::Journal`].

pub mod durable;
mod error;
mod log;
pub mod memory;
pub mod nats;

pub use error::{BusError, PublishError};
pub use log::{Ack, Bounds, Bus, LogIdentity, Precondition, Reader, Usage};
