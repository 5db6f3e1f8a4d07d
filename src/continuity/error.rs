//! Why a check did not open the gate.

use crate::bus::BusError;
use crate::store::StoreError;

/// Why a check did not open the gate.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The bus does not answer; retried.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The store does not answer; retried.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream may be another one, and the store does not answer; retried.
    #[error(
        "the stream is not the one that was last compared with the store, which does not answer: {0}"
    )]
    Unverified(StoreError),
    /// Another server repairs the stream; retried.
    #[error("another server is bringing the stream up to the store")]
    Busy,
    /// The stream and the store have different content at a committed sequence.
    #[error(
        "the stream holds other content than the store at sequence {0}: publishing is stopped. \
         Restore the stream that the store was filled from, or stop the servers and run `agentbus rebuild`: \
         it recreates the stream from the store, and stores what only this stream holds"
    )]
    ContentDiffers(u64),
}
