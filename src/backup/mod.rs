//! Backup of a store to a folder, and restore from it.
//!
//! Invariants: a folder without its manifest is no backup, and the manifest is written last. Nothing is restored from
//! a folder whose files differ from it. A backup names the sequence up to which it is complete, and no sequence that may
//! have been assigned after it is given to other content ([`skip_to`]).
//!
//! A backup holds the store. Jobs of queues on NATS are in JetStream, and so not in it.

mod folder;
mod manifest;
mod skip;

pub use folder::{Unfinished, verify};
pub use manifest::{BackupFile, Manifest, POSTGRES_FILE, SQLITE_FILE};
pub use skip::skip_to;
