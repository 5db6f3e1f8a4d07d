//! State that the store folds from the log: agents, tasks and inboxes (contract, sections 6 and 7).
//!
//! Invariant: agents, tasks and what inboxes received change in the write that moves the watermark. A result
//! and the watermark that it names are read in one statement, so the result is exact as of that watermark.
//! Clients write only one column here, the cursor of an inbox, which only rises.

mod agent;
mod listing;
mod sql;
mod store;
mod task;
mod visible;

pub use agent::{Agent, Inbox, Lapsed, LapsedStatus};
pub use listing::{AsOf, Listing};
pub use store::StateStore;
pub use task::{Task, TaskState};
