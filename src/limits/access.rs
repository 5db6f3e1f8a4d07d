//! Limits of keys and grants.

/// Entries of one list of a grant. As many as the values of a filter: each is a branch of a query and an entry of the live
/// index.
pub const MAX_GRANT_VALUES: usize = 128;
