//! The limit of open files, raised for many connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::error::BenchError;
use super::limits::SPARE_OPEN_FILES;

/// Raises the soft limit of open files as far as this number of connections needs.
///
/// # Errors
/// The hard limit is lower and cannot be raised.
pub fn allow(connections: usize) -> Result<(), BenchError> {
    let needed = u64::try_from(connections + SPARE_OPEN_FILES).unwrap_or(u64::MAX);
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(needed));
    // Root may raise the hard limit too; for others this fails if the hard limit is too low.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum });
    raised.map_err(|_| BenchError::OpenFiles { needed, allowed: limit.maximum.unwrap_or(u64::MAX) })
}
