//! Says of agents that they are gone when their status has lapsed (contract,
//! section 6).
//!
//! Invariant: every server looks, and each lapse is told once and never over a newer
//! status: it has one id whoever tells it ([`ids`]), and the log takes it only if nothing
//! stands there for the agent that the one who tells did not know. One that cannot be
//! told holds up no other: each look goes through all of them, page by page.

mod ids;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::bus::Precondition;
use crate::clock::Clock;
use crate::committed::Committed;
use crate::ingest::{Ingest, IngestError};
use crate::limits::{
    COMMITTED_WAIT, LAPSE_IDS, LAPSE_JITTER, LAPSE_RETRY, LAPSE_SCAN_PAUSE, LAPSE_SCAN_ROWS,
    MAX_LAPSE_PUBLISHES,
};
use crate::message::{Draft, Principal, SubjectPattern, Token};
use crate::store::Store;
use crate::store::state::LapsedStatus;
pub use ids::LapseIds;

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
    /// Under which they are told.
    pub ids: LapseIds,
}

/// What became of one lapse.
#[derive(Default)]
struct Told {
    /// Where it stands; `None` when it was not to be told, or not now.
    seq: Option<u64>,
    /// How many of its ids stand for something else.
    conflicts: u32,
    /// Whether no other can be told now either.
    away: bool,
}

/// What a look has come to.
#[derive(Default)]
struct Look {
    /// The last sequence at which one of them stands.
    through: u64,
    /// Whether some are to be told still.
    open: bool,
    /// Ids that stood for something else, and for whom the first of them was.
    conflicts: u32,
    example: Option<Token>,
    away: bool,
}

impl Look {
    fn add(&mut self, agent: &Token, told: &Told) {
        match told.seq {
            Some(seq) => self.through = self.through.max(seq),
            None => self.open = true,
        }
        self.conflicts += told.conflicts;
        self.away |= told.away;
        if told.conflicts > 0 {
            self.example.get_or_insert_with(|| agent.clone());
        }
    }
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
                    tokio::time::sleep(LAPSE_SCAN_PAUSE).await;
                    self.committed.wait_beyond(looked_at).await;
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
        let (mut look, mut last) = (Look::default(), None);
        let next = loop {
            let found = match self.store.lapsed(now, last.as_ref(), LAPSE_SCAN_ROWS).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::debug!(%error, "lapsed statuses are not looked for");
                    look.open = true;
                    break None;
                }
            };
            let (as_of, statuses) = (found.as_of, found.value.statuses);
            look.through = look.through.max(as_of);
            self.end_all(&statuses, as_of, &mut look).await;
            let full = statuses.len() == LAPSE_SCAN_ROWS;
            last = statuses.into_iter().last();
            if !full || look.away {
                break found.value.next;
            }
        };
        if let Some(agent) = &look.example {
            tracing::warn!(
                %agent,
                conflicts = look.conflicts,
                "ids of lapsed statuses were used for other messages; others are tried"
            );
        }
        // Else the next look would find them all again.
        self.committed.wait_for(look.through, COMMITTED_WAIT).await;
        if look.open {
            return Some(LAPSE_RETRY);
        }
        next.map(|next| until_lapsed(next, now))
    }

    async fn end_all(&self, statuses: &[LapsedStatus], as_of: u64, look: &mut Look) {
        for some in statuses.chunks(MAX_LAPSE_PUBLISHES) {
            let mut ends = Vec::with_capacity(some.len());
            for status in some {
                ends.push(self.end(&status.agent, status.seq, as_of));
            }
            for (status, told) in some.iter().zip(join_all(ends).await) {
                look.add(&status.agent, &told);
            }
            if look.away {
                return;
            }
        }
    }

    /// Tells one lapse.
    async fn end(&self, agent: &Token, expired: u64, as_of: u64) -> Told {
        let mut told = Told::default();
        let Ok(subjects) = format!("agent.status.{agent}.*").parse::<SubjectPattern>() else {
            return told;
        };
        let condition = Precondition { subjects, newest: expired, known_through: as_of };
        for turn in 0..LAPSE_IDS {
            let draft = Draft::lapse(agent.clone(), expired, self.ids.id(agent, expired, turn));
            match self.ingest.publish_if(&Principal::Anonymous, &draft, &condition).await {
                Ok(Some(receipt)) => {
                    if !receipt.duplicate {
                        metrics::counter!("agentbus_lapsed_statuses_total").increment(1);
                        tracing::debug!(%agent, expired, seq = receipt.seq, "a status has lapsed");
                    }
                    told.seq = Some(receipt.seq);
                    return told;
                }
                Ok(None) => {
                    tracing::debug!(%agent, expired, "a newer status came first");
                    return told;
                }
                Err(IngestError::Conflict { .. }) => told.conflicts += 1,
                Err(error) => {
                    tracing::debug!(%agent, expired, %error, "a lapse could not be told");
                    told.away = self.is_away(&error);
                    return told;
                }
            }
        }
        told
    }

    /// Whether an error is about the bus, and not about one lapse.
    fn is_away(&self, error: &IngestError) -> bool {
        matches!(error, IngestError::StoreBehind { .. })
            || self.ingest.gate.check().is_err()
            || self.ingest.bus.health().is_err()
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
