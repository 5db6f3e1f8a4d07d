//! The synchronisation primitives of [`super::hub`]. They have their own module so that the loom test can
//! replace them with loom's.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};
pub(super) use std::sync::{Arc, Mutex, MutexGuard};

pub(super) use super::wake::WakeList;
