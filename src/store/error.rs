//! Errors of the store.

/// The database failed, refused the content, or fenced this process.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached or did not respond in time.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The database refuses this content (SQLSTATE classes 22 and 23 and the like), and would refuse it again.
    #[error("the store refuses this: {0}")]
    Refused(String),
    /// Another writer has the lease, or the watermark has moved.
    #[error("another writer took over")]
    Fenced,
}

impl StoreError {
    /// `Ok` if a compare-and-set under a lease changed a row, else [`Self::Fenced`].
    pub(crate) fn unless_fenced(moved: bool) -> Result<(), Self> {
        if moved { Ok(()) } else { Err(Self::Fenced) }
    }
}
