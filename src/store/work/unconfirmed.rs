//! Leases that were requested and whose response never arrived.
//!
//! Invariant: a lease counts as an attempt, so a lease that no worker learned of is released. A request may
//! take effect late, so its lease is released again at every further request, until it would have run out by
//! itself.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::limits::MAX_UNCONFIRMED_LEASES;

/// For each consumer: its unconfirmed leases, and until when each is released again.
#[derive(Default)]
pub(crate) struct UnconfirmedLeases(Mutex<HashMap<String, Vec<(Uuid, Instant)>>>);

/// A lease that is being requested. If this is dropped without [`PendingLease::confirm`], the lease is
/// unconfirmed.
pub(crate) struct PendingLease<'a> {
    all: &'a UnconfirmedLeases,
    consumer: &'a str,
    lease: Option<Uuid>,
    until: Instant,
}

impl UnconfirmedLeases {
    /// Begins a request. Call this before the lease is requested from the database.
    pub fn request<'a>(
        &'a self,
        consumer: &'a str,
        lease: Uuid,
        lease_for: Duration,
    ) -> PendingLease<'a> {
        // A lease that ends beyond the clock's range is not released later.
        let now = Instant::now();
        let until = now.checked_add(lease_for).unwrap_or(now);
        PendingLease { all: self, consumer, lease: Some(lease), until }
    }

    /// The unconfirmed leases of a consumer, which are to be released.
    pub fn of(&self, consumer: &str) -> Vec<Uuid> {
        let mut all = self.0.lock();
        let Some(leases) = all.get_mut(consumer) else { return Vec::new() };
        leases.retain(|(_, until)| *until > Instant::now());
        let found = leases.iter().map(|(lease, _)| *lease).collect();
        if leases.is_empty() {
            all.remove(consumer);
        }
        found
    }

    /// The consumers that have unconfirmed leases.
    pub fn consumers(&self) -> Vec<String> {
        self.0.lock().keys().cloned().collect()
    }
}

impl PendingLease<'_> {
    /// Drops the lease from the unconfirmed ones: its response has arrived.
    pub fn confirm(mut self) {
        self.lease = None;
    }
}

impl Drop for PendingLease<'_> {
    fn drop(&mut self) {
        let Some(lease) = self.lease else { return };
        let mut all = self.all.0.lock();
        let leases = all.entry(self.consumer.to_owned()).or_default();
        if leases.len() == MAX_UNCONFIRMED_LEASES {
            leases.remove(0);
        }
        leases.push((lease, self.until));
    }
}
