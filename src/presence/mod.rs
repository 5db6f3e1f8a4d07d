//! Publishes `offline` for agents whose status has lapsed (contract, section 6).
//!
//! Invariant: every server scans for lapses. Each lapse is published once, since its id is the same on every
//! server ([`ids`]), and never over a newer status: the log accepts it only if it has no newer status of the
//! agent than the publisher knew. A lapse that cannot be published does not delay others, since each scan
//! goes through all of them, page by page.

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
use crate::message::{Draft, SubjectPattern, Token};
use crate::store::Store;
use crate::store::state::LapsedStatus;
pub use ids::LapseIds;

/// Scans for lapsed statuses.
pub struct Presence {
    /// Publishes, through the same gate as for all messages.
    pub ingest: Arc<Ingest>,
    /// The store, which lists lapsed statuses.
    pub store: Arc<dyn Store>,
    /// The watermark, which rises when there may be new statuses.
    pub committed: Arc<Committed>,
    /// The clock by which statuses lapse.
    pub clock: Clock,
    /// The ids under which lapses are published.
    pub ids: LapseIds,
}

/// The outcome of publishing one lapse.
#[derive(Default)]
struct Outcome {
    /// The sequence of the published message; `None` because of a newer status or an error.
    seq: Option<u64>,
    /// How many ids of the lapse belong to other messages.
    conflicts: u32,
    /// Whether the bus accepts no messages at all now.
    bus_unavailable: bool,
}

/// The outcome of one scan.
#[derive(Default)]
struct Scan {
    /// The highest sequence of a message that was published.
    through: u64,
    /// Whether some lapses remain to be published.
    incomplete: bool,
    /// How many ids belong to other messages; `example` is the first agent concerned.
    conflicts: u32,
    example: Option<Token>,
    bus_unavailable: bool,
}

impl Scan {
    fn add(&mut self, agent: &Token, outcome: &Outcome) {
        match outcome.seq {
            Some(seq) => self.through = self.through.max(seq),
            None => self.incomplete = true,
        }
        self.conflicts += outcome.conflicts;
        self.bus_unavailable |= outcome.bus_unavailable;
        if outcome.conflicts > 0 {
            self.example.get_or_insert_with(|| agent.clone());
        }
    }
}

impl Presence {
    /// Runs until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let scanning = async {
            loop {
                let scanned_at = self.committed.through();
                let due = self.scan().await;
                // Statuses are messages of the log, so a log without new messages needs no
                // scan.
                let moved = async {
                    tokio::time::sleep(LAPSE_SCAN_PAUSE).await;
                    self.committed.wait_beyond(scanned_at).await;
                };
                tokio::select! {
                    () = until(due) => {}
                    () = moved => {}
                }
            }
        };
        cancel.run_until_cancelled(scanning).await;
    }

    /// Publishes all lapses; returns the time until the next status lapses.
    async fn scan(&self) -> Option<Duration> {
        let now = self.clock.now();
        let (mut scan, mut last) = (Scan::default(), None);
        let next = loop {
            let found = match self.store.lapsed(now, last.as_ref(), LAPSE_SCAN_ROWS).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::debug!(%error, "lapsed statuses could not be listed; retrying");
                    scan.incomplete = true;
                    break None;
                }
            };
            let (as_of, statuses) = (found.as_of, found.value.statuses);
            scan.through = scan.through.max(as_of);
            self.end_all(&statuses, as_of, &mut scan).await;
            let full = statuses.len() == LAPSE_SCAN_ROWS;
            last = statuses.into_iter().last();
            if !full || scan.bus_unavailable {
                break found.value.next;
            }
        };
        if let Some(agent) = &scan.example {
            tracing::warn!(
                %agent,
                conflicts = scan.conflicts,
                "other messages have the ids of lapsed statuses; trying further ids"
            );
        }
        // Without this wait, the next scan would find the same statuses again.
        self.committed.wait_for(scan.through, COMMITTED_WAIT).await;
        if scan.incomplete {
            return Some(LAPSE_RETRY);
        }
        next.map(|next| until_lapsed(next, now))
    }

    async fn end_all(&self, statuses: &[LapsedStatus], as_of: u64, scan: &mut Scan) {
        for some in statuses.chunks(MAX_LAPSE_PUBLISHES) {
            let mut ends = Vec::with_capacity(some.len());
            for status in some {
                ends.push(self.end(&status.agent, status.seq, as_of));
            }
            for (status, outcome) in some.iter().zip(join_all(ends).await) {
                scan.add(&status.agent, &outcome);
            }
            if scan.bus_unavailable {
                return;
            }
        }
    }

    /// Publishes one lapse.
    async fn end(&self, agent: &Token, expired: u64, as_of: u64) -> Outcome {
        let mut outcome = Outcome::default();
        let Ok(subjects) = format!("agent.status.{agent}.*").parse::<SubjectPattern>() else {
            return outcome;
        };
        let condition = Precondition { subjects, newest: expired, known_through: as_of };
        for retry in 0..LAPSE_IDS {
            let draft = Draft::lapse(agent.clone(), expired, self.ids.id(agent, expired, retry));
            match self.ingest.publish_if(&draft, &condition).await {
                Ok(Some(receipt)) => {
                    if !receipt.duplicate {
                        metrics::counter!("agentbus_lapsed_statuses_total").increment(1);
                        tracing::debug!(%agent, expired, seq = receipt.seq, "a status has lapsed");
                    }
                    outcome.seq = Some(receipt.seq);
                    return outcome;
                }
                Ok(None) => {
                    tracing::debug!(%agent, expired, "the agent has a newer status");
                    return outcome;
                }
                Err(IngestError::Conflict { .. }) => outcome.conflicts += 1,
                Err(error) => {
                    tracing::debug!(%agent, expired, %error, "a lapse could not be published; retrying");
                    outcome.bus_unavailable = self.is_bus_unavailable(&error);
                    return outcome;
                }
            }
        }
        outcome
    }

    /// Whether an error concerns the whole bus and not just one lapse.
    fn is_bus_unavailable(&self, error: &IngestError) -> bool {
        matches!(error, IngestError::StoreBehind { .. })
            || self.ingest.gate.check().is_err()
            || self.ingest.bus.health().is_err()
    }
}

/// The time from `now` to a random moment after `next`, so that several servers do not publish at once.
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
