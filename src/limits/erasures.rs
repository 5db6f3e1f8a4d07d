//! Limits of erasures.

use std::time::Duration;

/// The most characters of the reason of an erasure: a few sentences.
pub const MAX_ERASE_REASON: usize = 500;
/// The most messages with one id that one request erases. Two are usual: a repeat while the store was away.
pub const MAX_ERASED_OF_ID: usize = 100;
/// How often a server looks for erasures that another one began and did not finish.
pub const ERASE_POLL: Duration = Duration::from_secs(1);
/// The most erasures read at once: half a megabyte.
pub const ERASE_PAGE: usize = 1_000;
/// The most requests to the bus at once when it is searched for erased messages.
pub const ERASE_AT_ONCE: usize = 32;
