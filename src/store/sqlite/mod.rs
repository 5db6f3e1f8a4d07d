//! The store in one SQLite file, for one server.
//!
//! Invariants: what is acknowledged is synced to disk (WAL with `synchronous=FULL`). One connection writes. A
//! writer takes it out of its slot while in use, so that a write that is dropped half-way drops the
//! connection, and with it the open transaction. An error of the disk is returned, never taken for success.

mod backup;
mod connection;
mod database;
mod files;
mod fold;
mod history;
mod jobs;
mod log;
mod membership;
mod queues;
mod store;
#[cfg(test)]
mod tests;
mod time;
mod wal;
mod work;
mod write;

pub use backup::{SqliteTarget, back_up};
pub use files::DATABASE_FILE;
pub use store::SqliteStore;
