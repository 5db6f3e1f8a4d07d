//! Keeps what a server has in memory as the store has it: keys, payload schemas.
//!
//! Invariant: a change holds on this server within [`RENEWAL_POLL`] and the time of two reads. While the store is away,
//! the last snapshot counts, and a metric says how old it is.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::limits::RENEWAL_POLL;
use crate::store::{Store, StoreError, Versions};

/// A part of the store that is in memory.
#[async_trait]
pub trait Snapshot: Send + Sync {
    /// What it holds, for the log and the metric `agentbus_<name>_age_seconds`.
    fn name(&self) -> &'static str;

    /// Whether it is as the store has it.
    fn is_current(&self, stored: &Versions) -> bool;

    /// Reads it again.
    ///
    /// # Errors
    /// The store does not answer.
    async fn renew(&self) -> Result<(), StoreError>;

    /// Does what goes by the clock. Called before each look.
    async fn tick(&self) {}

    /// Called once at the end.
    async fn end(&self) {}
}

/// One snapshot, and when it last was as the store has it.
struct Kept {
    snapshot: Arc<dyn Snapshot>,
    renewed: DateTime<Utc>,
    is_away: bool,
}

/// Renews snapshots, which have just been read, until cancelled.
pub async fn keep(
    snapshots: Vec<Arc<dyn Snapshot>>,
    store: Arc<dyn Store>,
    clock: Clock,
    cancel: CancellationToken,
) {
    let now = clock.now();
    let kept = |snapshot| Kept { snapshot, renewed: now, is_away: false };
    let mut all: Vec<Kept> = snapshots.into_iter().map(kept).collect();
    for kept in &mut all {
        kept.report(Ok(()), now);
    }
    while cancel.run_until_cancelled(tokio::time::sleep(RENEWAL_POLL)).await.is_some() {
        for kept in &all {
            kept.snapshot.tick().await;
        }
        let now = clock.now();
        let stored = store.versions().await;
        for kept in &mut all {
            let renewed = match &stored {
                Ok(stored) => kept.renew(stored, now).await,
                Err(error) => Err(error.to_string()),
            };
            kept.report(renewed, clock.now());
        }
    }
    for kept in all {
        kept.snapshot.end().await;
    }
}

impl Kept {
    async fn renew(&mut self, stored: &Versions, now: DateTime<Utc>) -> Result<(), String> {
        if !self.snapshot.is_current(stored) {
            self.snapshot.renew().await.map_err(|error| error.to_string())?;
        }
        self.renewed = now;
        Ok(())
    }

    fn report(&mut self, renewed: Result<(), String>, now: DateTime<Utc>) {
        let name = self.snapshot.name();
        if let Err(error) = &renewed
            && !self.is_away
        {
            tracing::warn!(
                error,
                "{name} cannot be read: the last known ones count until the store answers"
            );
        }
        self.is_away = renewed.is_err();
        let age = (now - self.renewed).num_milliseconds().max(0);
        metrics::gauge!(format!("agentbus_{name}_age_seconds")).set(age as f64 / 1e3);
    }
}
