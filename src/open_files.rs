//! The limit of open files, raised for many connections.
//!
//! Invariant: the hard limit never changes, and the commands that this process runs get the soft limit from before:
//! programs are written for the usual one (those that use `select` fail above 1,024).

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit before it was raised; the inner `None` means unlimited.
static BEFORE: OnceLock<Option<u64>> = OnceLock::new();

/// The soft limit of open files; `None` means unlimited.
#[must_use]
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Raises the soft limit to the hard one, as far as the system lets it.
pub fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let _ = BEFORE.set(limit.current);
    // If it fails, the caller compares the limit with what it needs.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// The soft limit for commands; `None` if it was not raised here.
#[must_use]
pub fn before_raise() -> Option<u64> {
    BEFORE.get().copied().flatten()
}
