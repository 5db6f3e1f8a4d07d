//! Erases messages everywhere this deployment keeps them (contract, section 17).
//!
//! Invariants: the order is intent, stream, store, memory. The intent is in the store before anything is gone, and any
//! server finishes it: so an erasure that a server began and did not end is ended by the next one. Every step may be
//! repeated. A message counts as erased in memory ([`Erased`](crate::erased::Erased)) only once stream and store have
//! nothing of it.

mod eraser;
mod records;
mod snapshot;

pub use eraser::{EraseError, Eraser};
pub use records::{ErasureRecord, Repeated};
pub use snapshot::ErasedSnapshot;
