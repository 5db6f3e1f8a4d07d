//! The memory bus: a log in this process. Every entry is written to a journal before its ack.
//!
//! Invariant: an acknowledged message is committed in the journal, and readers see an entry only after that.
//! One writer task assigns the sequences. Publishes that arrive while it commits share the next commit (group
//! commit). The queue of publishes is bounded in number and bytes. A publish whose caller no longer waits is
//! dropped from it.

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
