//! Why the work for one generation of a consumer ended early.

use crate::bus::BusError;
use crate::bus::durable::DeliveryError;
use crate::store::StoreError;

/// Why the work for a generation ended before the consumer stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum Interruption {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    #[error("the consumer no longer exists")]
    Deleted,
    #[error("the consumer was moved to another position")]
    Superseded,
}
