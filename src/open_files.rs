//! Room for many connections: the limit of open files.
//!
//! Invariant: the hard limit is never touched, and what this process raises for itself it does not
//! hand to the commands that it runs: programs are written for the soft limit that is usual.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit before it was raised; `None` within: there was none.
static BEFORE: OnceLock<Option<u64>> = OnceLock::new();

/// The soft limit of open files; `None`: there is none.
#[must_use]
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Raises the soft limit to the hard one, as far as the system lets it.
pub fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let _ = BEFORE.set(limit.current);
    // Where it fails, what needs more says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// The soft limit that commands are to have, if it was raised here.
#[must_use]
pub fn before_raise() -> Option<u64> {
    BEFORE.get().copied().flatten()
}
