//! The store in PostgreSQL, for any number of servers.
//!
//! Invariants: a write is one statement on one connection that is kept for the writer's life. Reads, background
//! processing, cursors of inboxes, work queues, and lease and watermark have pools of their own, so that none waits
//! for another. Every statement ends by the database's `statement_timeout`, or with its connection by a time-out here.

mod connection;
mod database;
mod fold;
mod history;
mod jobs;
mod locks;
mod log;
mod membership;
mod page;
mod partitions;
mod queues;
mod store;
#[cfg(test)]
mod tests;
mod work;
mod write;

pub use connection::exposure;
pub use partitions::create_partition_sql;
pub use store::PostgresStore;
