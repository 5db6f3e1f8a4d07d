//! State that the store folds from the log: agents, tasks and inboxes (contract, sections 6 and 7).
//!
//! Invariant: agents, tasks and what inboxes received change in the write that
//! moves the watermark, so a result is exact as of the watermark it names, which
//! is read in the same statement. The cursor of an inbox is the only column here
//! that clients write; it only rises.

mod agent;
mod listing;
mod sql;
mod store;
mod task;

pub use agent::{Agent, Inbox, Lapsed, LapsedStatus};
pub use listing::{AsOf, Listing};
pub use store::StateStore;
pub use task::{Task, TaskState};
