//! The reasons why a check does not open the gate.

use crate::bus::BusError;
use crate::store::StoreError;

/// The reason why a check did not open the gate.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The bus does not answer; the check is repeated.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The store does not answer; the check is repeated.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream may be another one, and the store does not answer; the check is repeated.
    #[error(
        "the stream is not the one that was last compared with the store, which does not answer: {0}"
    )]
    Unverified(StoreError),
    /// Another server repairs the stream; the check is repeated.
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
