//! The log in this process, written through to a journal before the ack.
//!
//! Invariant: an acknowledged message is committed in the journal, and readers see an entry only after that. One writer
//! task assigns the sequences; publishes that come while it commits share the next commit (group commit). The queue of
//! publishes is bounded in number and bytes, and abandoned ones are dropped.

mod bus;
mod call;
mod journal;
mod reader;
mod shared;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

pub use bus::MemoryBus;
pub use journal::{Journal, JournalError};
pub use writer::Writer;
