//! The store: history, state and work, in PostgreSQL or SQLite.
//!
//! Invariants: the store holds a prefix of the log up to the watermark (`committed_through`), except for
//! recorded holes. Rows, counters and watermark move in one transaction, by compare-and-set on the epoch of
//! the writer's lease and the old watermark. So a writer that was replaced cannot write, however long it was
//! frozen. The store does not know the bus.
//!
//! [`Store`] is the sum of narrow traits. A method whose SQL is the same in both databases has its body in
//! the trait and runs on [`sql::Database`]. Every other method is implemented in `postgres/` and in
//! `sqlite/`, beside its SQL.

mod audit;
mod backup;
mod batch;
mod calls;
mod contract;
mod erasures;
mod error;
mod fold;
mod history;
pub mod jobs;
mod keys;
mod log;
mod membership;
pub mod plan;
pub mod postgres;
mod rows;
mod schema;
mod schemas;
mod search;
mod sql;
pub mod sqlite;
pub mod state;
mod trace;
mod versions;
pub mod work;
mod write_all;

#[cfg(test)]
pub(crate) mod contract_tests;

pub use audit::{AuditRow, AuditStore};
pub use backup::{BackupContent, Restoration};
pub use batch::Batch;
pub use contract::{PoolState, Store, StoreFiles};
pub use erasures::{Erasure, ErasureStore, FinishedErasures};
pub use error::StoreError;
pub use history::{Counts, HistoryStore, InboxFront, Original, Page, Stored};
pub use keys::{DISABLED, KeyRow, KeyStore, KeyTable, SecretRow};
pub use log::{Hole, HoleReason, Lease, LogState, LogStore, Write};
pub use membership::{BusKind, Membership, MembershipState};
pub use schema::{SchemaDifference, Step};
pub use schemas::{SchemaRow, SchemaStore, SchemaTable};
pub use search::{Reach, search};
pub use state::StateStore;
pub use versions::{VersionStore, Versions};
pub use write_all::write_all;
