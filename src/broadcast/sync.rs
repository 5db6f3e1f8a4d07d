//! The primitives of [`super::hub`], in a module of their own so that the model check can replace them with loom's.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};
pub(super) use std::sync::{Arc, Mutex, MutexGuard};

pub(super) use super::wake::WakeList;
