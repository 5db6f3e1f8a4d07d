//! Why the store did not do something.

/// The two ways in which a store can fail, and the one in which it must.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or did not answer in time.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// It refuses this content (SQLSTATE classes 22 and 23 and the like): the same rows
    /// will be refused again.
    #[error("the store refuses this: {0}")]
    Refused(String),
    /// Another writer took the lease, or the watermark moved.
    #[error("another writer took over")]
    Fenced,
}

impl StoreError {
    /// For a compare-and-set under a lease: [`Self::Fenced`] unless a row moved.
    pub(crate) fn unless_fenced(moved: bool) -> Result<(), Self> {
        if moved { Ok(()) } else { Err(Self::Fenced) }
    }
}
