//! The store in PostgreSQL, for any number of servers.
//!
//! Invariants: a write is one statement, on a connection that is kept for the writer's life. Reads,
//! background processing, cursors of inboxes, work queues, and lease and watermark have pools of their own,
//! so that none waits for another. The database's `statement_timeout` ends every statement that takes too
//! long, or a time-out here closes its connection.

mod backup;
mod connection;
mod database;
mod fold;
mod history;
mod jobs;
mod locks;
mod log;
mod membership;
mod migrations;
mod page;
mod partitions;
mod queues;
mod rights;
mod schema;
mod store;
#[cfg(test)]
mod tests;
mod work;
mod write;

pub use backup::{DatabaseFacts, PostgresTarget, Snapshot};
pub use connection::exposure;
pub use partitions::create_partition_sql;
pub use store::PostgresStore;
