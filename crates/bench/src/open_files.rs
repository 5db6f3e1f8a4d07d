//! Room for many connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::error::BenchError;
use super::limits::OTHER_FILES;

/// Raises the soft limit of open files to what so many connections need.
///
/// # Errors
/// The hard limit is lower, and may not be raised.
pub fn allow(connections: usize) -> Result<(), BenchError> {
    let needed = u64::try_from(connections + OTHER_FILES).unwrap_or(u64::MAX);
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(needed));
    // Only root raises the hard limit too; whoever may not tries within it.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum });
    raised.map_err(|_| BenchError::OpenFiles { needed, allowed: limit.maximum.unwrap_or(u64::MAX) })
}
