//! Raises the limit of open files, for many connections.
//!
//! Invariant: the hard limit never changes. Commands that this process runs get the original soft limit,
//! since programs are written for the usual one (those that use `select` fail above 1,024).

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit before it was raised; the inner `None` means unlimited.
static BEFORE: OnceLock<Option<u64>> = OnceLock::new();

/// The soft limit of open files; `None` means unlimited.
#[must_use]
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Raises the soft limit to the hard one, if the system allows it.
pub fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let _ = BEFORE.set(limit.current);
    // If this fails, the caller notices when it compares the limit with what it needs.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// The soft limit from before [`raise`], for commands; `None` if it was unlimited or not raised.
#[must_use]
pub fn before_raise() -> Option<u64> {
    BEFORE.get().copied().flatten()
}
