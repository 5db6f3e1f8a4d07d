//! On whose behalf a call is made.
//!
//! Every domain call takes one, so that keys and grants need no new signatures.

/// The caller. There are no keys yet: everybody is anonymous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A caller who showed nothing.
    Anonymous,
}
