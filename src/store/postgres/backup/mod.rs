//! Copies the tables of a deployment with `pg_dump`, and makes a store of such a copy with `pg_restore` and `psql`.
//!
//! Invariants: `pg_dump` reads the snapshot in which the state of the log was read, so the copy is complete up to exactly
//! that sequence, and no server waits for it. A restore is one transaction, its changes included, and commits only on
//! the last line that `psql` gets: a process that dies before leaves an empty database.

mod programs;
mod snapshot;
mod target;

pub use snapshot::{DatabaseFacts, Snapshot};
pub use target::PostgresTarget;
