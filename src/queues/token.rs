//! The lease token: the lease itself, sealed ([`crate::seal`]).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A lease, as its token describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The name of the queue.
    pub queue: String,
    /// The job's sequence in the queue's log.
    pub seq: u64,
    /// The number of the attempt that the lease is for; the first is 1.
    pub attempt: u32,
    /// When the lease runs out, unless it is extended, in microseconds since 1970.
    pub expires_us: i64,
    /// Identifies the lease in store or bus. Named `grant` in tokens, since tokens with this name are in use.
    #[serde(rename = "grant")]
    pub handle: LeaseHandle,
    /// The key that got the lease; `None` for a worker without a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Identifies a lease in the store or the bus that keeps the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaseHandle {
    /// In the store: the id in the job's row.
    Store(Uuid),
    /// In JetStream: a delivery.
    JetStream {
        /// The ack subject of the delivery.
        ack: String,
        /// The lease's id in the ledger.
        lease: Uuid,
        /// The id of the job.
        job: Uuid,
    },
}

impl Lease {
    /// When the lease runs out, unless it is extended.
    #[must_use]
    pub fn expires_at(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.expires_us).unwrap_or(DateTime::UNIX_EPOCH)
    }
}
