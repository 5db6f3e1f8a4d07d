//! Says of agents that they are gone when their status has lapsed (contract,
//! section 6).
//!
//! Invariant: every server looks, and each lapse is told once and never over a newer
//! status: it has one id whoever tells it, and the log takes it only if nothing stands
//! there for the agent that the one who tells did not know.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::bus::Unless;
use crate::clock::Clock;
use crate::committed::Committed;
use crate::ingest::Ingest;
use crate::limits::{
    COMMITTED_WAIT, LAPSE_JITTER, LAPSE_LOOK, LAPSE_RETRY, LAPSES, LAPSES_AT_ONCE,
};
use crate::message::{Draft, Principal, SubjectPattern, Token};
use crate::store::Store;

/// Watches over the statuses that may lapse.
pub struct Presence {
    /// Publishes, behind the same gate as everybody.
    pub ingest: Arc<Ingest>,
    /// Knows who has lapsed.
    pub store: Arc<dyn Store>,
    /// Tells when there may be other statuses.
    pub committed: Arc<Committed>,
    /// By which they lapse.
    pub clock: Clock,
}

impl Presence {
    /// Runs until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let watch = async {
            loop {
                let looked_at = self.committed.through();
                let due = self.look().await;
                // Statuses come with the log, so a log that stands still is not looked at.
                let moved = async {
                    tokio::time::sleep(LAPSE_LOOK).await;
                    self.committed.beyond(looked_at).await;
                };
                tokio::select! {
                    () = until(due) => {}
                    () = moved => {}
                }
            }
        };
        cancel.run_until_cancelled(watch).await;
    }

    /// Ends what has lapsed, and says when to look again if nothing happens.
    async fn look(&self) -> Option<Duration> {
        let now = self.clock.now();
        let found = match self.store.lapsed(now, LAPSES).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "lapsed statuses are not looked for");
                return Some(LAPSE_RETRY);
            }
        };
        let as_of = found.as_of;
        let (mut through, mut open) = (as_of, false);
        for some in found.value.statuses.chunks(LAPSES_AT_ONCE) {
            let mut ends = Vec::with_capacity(some.len());
            for (agent, seq) in some {
                ends.push(self.end(agent, *seq, as_of));
            }
            for ended in join_all(ends).await {
                match ended {
                    Some(seq) => through = through.max(seq),
                    None => open = true,
                }
            }
        }
        // Else the next look would find them all again.
        self.committed.reached(through, COMMITTED_WAIT).await;
        if open || found.value.statuses.len() == LAPSES {
            return Some(LAPSE_RETRY);
        }
        found.value.next.map(|next| until_lapsed(next, now))
    }

    /// Tells one lapse, and where it stands; `None` when it was not to be told, or not now.
    async fn end(&self, agent: &Token, expired: u64, as_of: u64) -> Option<u64> {
        let subjects: SubjectPattern = format!("agent.status.{agent}.*").parse().ok()?;
        let unless = Unless { subjects, newest: expired, known_through: as_of };
        let draft = Draft::lapse(agent.clone(), expired);
        match self.ingest.publish_unless(&Principal::Anonymous, &draft, &unless).await {
            Ok(Some(receipt)) => {
                if !receipt.duplicate {
                    metrics::counter!("agentbus_lapsed_statuses_total").increment(1);
                    tracing::debug!(%agent, expired, seq = receipt.seq, "a status has lapsed");
                }
                Some(receipt.seq)
            }
            Ok(None) => {
                tracing::debug!(%agent, expired, "a newer status came first");
                None
            }
            Err(error) => {
                tracing::debug!(%agent, expired, %error, "a lapse could not be told");
                None
            }
        }
    }
}

/// From `now` until a moment after `next`: with several servers each another one.
fn until_lapsed(next: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    let jitter = LAPSE_JITTER.mul_f64(fastrand::f64());
    (next - now).to_std().unwrap_or_default() + jitter
}

async fn until(due: Option<Duration>) {
    match due {
        Some(due) => tokio::time::sleep(due).await,
        None => std::future::pending().await,
    }
}
