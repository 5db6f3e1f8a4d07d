//! The audit log: who did what (contract, section 11).
//!
//! Invariant: what a call has changed is recorded before the call answers. Denials are recorded in the background, at most
//! [`AUDITED_DENIALS_PER_S`]; a metric counts all.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Error;
use super::calls::Call;
use crate::access::Principal;
use crate::clock::Clock;
use crate::limits::{AUDIT_QUEUE, AUDITED_DENIALS_PER_S};
use crate::message::format_micros;
use crate::store::{AuditRow, Store};

/// An entry, as the API shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    seq: u64,
    at: String,
    actor: Actor,
    action: String,
    target: String,
    detail: Value,
    outcome: String,
}

#[derive(Clone, Debug, Serialize)]
struct Actor {
    id: Option<String>,
    name: String,
}

/// A page of the audit log.
#[derive(Clone, Debug, Serialize)]
pub struct AuditPage {
    /// The entries, in order.
    pub entries: Vec<Entry>,
    /// The `after` of the next page; `None` on the last one.
    pub next: Option<u64>,
}

/// Reads and writes the audit log.
#[derive(Clone)]
pub struct Audit(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    clock: Clock,
    denials: mpsc::Sender<AuditRow>,
    pace: DefaultDirectRateLimiter,
}

/// Writes denials in the background.
pub struct AuditWriter {
    store: Arc<dyn Store>,
    denials: mpsc::Receiver<AuditRow>,
}

impl Audit {
    /// The audit log of this store. Denials are written while [`AuditWriter::run`] runs.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> (Self, AuditWriter) {
        let (denials, written) = mpsc::channel(AUDIT_QUEUE);
        let per_s = NonZeroU32::new(AUDITED_DENIALS_PER_S).unwrap_or(NonZeroU32::MIN);
        let pace = RateLimiter::direct(Quota::per_second(per_s));
        let writer = AuditWriter { store: Arc::clone(&store), denials: written };
        (Self(Arc::new(Inner { store, clock, denials, pace })), writer)
    }

    /// A page of the log: the entries after a number.
    ///
    /// # Errors
    /// The caller lacks a grant; the store is unavailable.
    pub async fn page(
        &self,
        principal: &Principal,
        after: u64,
        limit: usize,
    ) -> Result<AuditPage, Error> {
        Call::ReadAudit.check(principal)?;
        let mut rows = self.0.store.audit_entries(after, limit + 1).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|last| last.seq);
        Ok(AuditPage { entries: rows.into_iter().map(entry).collect(), next })
    }

    /// Records what a call has changed; `detail` is an object. A failure is logged: the change itself stands.
    pub(super) async fn done(
        &self,
        principal: &Principal,
        action: &str,
        target: &str,
        detail: Value,
    ) {
        let row = self.entry(principal, action, target, detail);
        if let Err(error) = self.0.store.audit(&[row]).await {
            tracing::error!(%error, action, target, actor = principal.name(), "a change was not recorded in the audit log");
        }
    }

    /// The entry for what a call changes, to be stored together with the change.
    pub(super) fn entry(
        &self,
        principal: &Principal,
        action: &str,
        target: &str,
        detail: Value,
    ) -> AuditRow {
        self.row(principal, action, target, detail, "done")
    }

    /// Records that a call was denied, unless there were many just now.
    pub fn denied(&self, principal: &Principal, action: &str, target: &str, why: &str) {
        metrics::counter!("agentbus_denied_total").increment(1);
        if self.0.pace.check().is_err() {
            return;
        }
        // A full queue means that the store is away: the metric has counted it.
        let _ = self.0.denials.try_send(self.row(
            principal,
            action,
            target,
            json!({ "why": why }),
            "denied",
        ));
    }

    fn row(
        &self,
        principal: &Principal,
        action: &str,
        target: &str,
        detail: Value,
        outcome: &str,
    ) -> AuditRow {
        AuditRow {
            seq: 0,
            at: self.0.clock.now(),
            actor_id: principal.key().map(|key| key.id.to_string()),
            actor_name: principal.name().to_owned(),
            action: action.to_owned(),
            target: target.to_owned(),
            detail: detail.to_string(),
            outcome: outcome.to_owned(),
        }
    }
}

impl AuditWriter {
    /// Writes denials until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut rows = Vec::new();
        while cancel
            .run_until_cancelled(self.denials.recv_many(&mut rows, AUDIT_QUEUE))
            .await
            .is_some_and(|received| received > 0)
        {
            if let Err(error) = self.store.audit(&rows).await {
                tracing::warn!(%error, denials = rows.len(), "denials were not recorded in the audit log");
            }
            rows.clear();
        }
    }
}

fn entry(row: AuditRow) -> Entry {
    Entry {
        seq: row.seq,
        at: format_micros(row.at),
        actor: Actor { id: row.actor_id, name: row.actor_name },
        action: row.action,
        target: row.target,
        detail: serde_json::from_str(&row.detail).unwrap_or_default(),
        outcome: row.outcome,
    }
}
