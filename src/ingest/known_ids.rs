//! Asks the store for ids that the bus may have forgotten, without waiting for
//! a store that is away.
//!
//! Invariant: publishing is held up by the store for a moment at most, and then
//! not again until one look-up has found out that it is back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use uuid::Uuid;

use crate::limits::{STORE_LOOKUP, STORE_LOOKUP_PAUSE};
use crate::store::{Store, StoreError, Stored};

/// The ids that have a row in the store.
pub struct KnownIds {
    store: Arc<dyn Store>,
    /// Until when nobody asks, after a look-up failed.
    closed_until: Mutex<Option<Instant>>,
}

impl KnownIds {
    /// Asks this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, closed_until: Mutex::default() }
    }

    /// The lowest sequence of each id that has a row; empty while the store
    /// cannot be asked.
    pub async fn find(&self, ids: &[Uuid]) -> HashMap<Uuid, Stored> {
        if ids.is_empty() || !self.may_ask() {
            return HashMap::new();
        }
        let answer = tokio::time::timeout(STORE_LOOKUP, self.store.find(ids)).await;
        let slow = || Err(StoreError::Unavailable("no answer in time".to_owned()));
        match answer.unwrap_or_else(|_| slow()) {
            Ok(known) => {
                *self.closed_until() = None;
                known
            }
            Err(error) => {
                tracing::debug!(%error, "repeats are recognised by the bus alone");
                *self.closed_until() = Some(Instant::now() + STORE_LOOKUP_PAUSE);
                HashMap::new()
            }
        }
    }

    /// Whether to ask now. After a pause one caller finds out for all.
    fn may_ask(&self) -> bool {
        let mut closed_until = self.closed_until();
        let now = Instant::now();
        match *closed_until {
            Some(until) if now < until => false,
            Some(_) => {
                *closed_until = Some(now + STORE_LOOKUP_PAUSE);
                true
            }
            None => true,
        }
    }

    fn closed_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.closed_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
