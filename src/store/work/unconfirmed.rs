//! Leases that were asked for and of which no answer came.
//!
//! Invariant: a lease counts as an attempt, so one that nobody heard of is given
//! back. What was asked for may take effect late: it is given back with every
//! further question until it would have run out by itself.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use uuid::Uuid;

use crate::limits::MAX_UNCONFIRMED_LEASES;

/// By consumer: the leases, and until when each is given back.
#[derive(Default)]
pub(in crate::store) struct UnconfirmedLeases(Mutex<HashMap<String, Vec<(Uuid, Instant)>>>);

/// A lease that is being asked for. Dropped without [`PendingLease::answered`], however that
/// comes about, it is unconfirmed.
pub(in crate::store) struct PendingLease<'a> {
    all: &'a UnconfirmedLeases,
    consumer: &'a str,
    lease: Option<Uuid>,
    until: Instant,
}

impl UnconfirmedLeases {
    /// Before a lease is asked for.
    pub fn ask<'a>(
        &'a self,
        consumer: &'a str,
        lease: Uuid,
        lease_for: Duration,
    ) -> PendingLease<'a> {
        // A lease beyond what the clock counts to is not given back for ever.
        let now = Instant::now();
        let until = now.checked_add(lease_for).unwrap_or(now);
        PendingLease { all: self, consumer, lease: Some(lease), until }
    }

    /// What is to be given back of a consumer.
    pub fn of(&self, consumer: &str) -> Vec<Uuid> {
        let mut all = self.lock();
        let Some(leases) = all.get_mut(consumer) else { return Vec::new() };
        leases.retain(|(_, until)| *until > Instant::now());
        let found = leases.iter().map(|(lease, _)| *lease).collect();
        if leases.is_empty() {
            all.remove(consumer);
        }
        found
    }

    /// The consumers with something to give back.
    pub fn consumers(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<(Uuid, Instant)>>> {
        self.0.lock()
    }
}

impl PendingLease<'_> {
    /// Its answer is here.
    pub fn answered(mut self) {
        self.lease = None;
    }
}

impl Drop for PendingLease<'_> {
    fn drop(&mut self) {
        let Some(lease) = self.lease else { return };
        let mut all = self.all.lock();
        let leases = all.entry(self.consumer.to_owned()).or_default();
        if leases.len() == MAX_UNCONFIRMED_LEASES {
            leases.remove(0);
        }
        leases.push((lease, self.until));
    }
}
