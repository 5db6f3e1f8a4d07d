//! The primitives of [`super::hub`], apart so that the model check can put
//! loom's in their place.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};
pub(super) use std::sync::{Arc, Mutex, MutexGuard};

pub(super) use super::wake::WakeList;
