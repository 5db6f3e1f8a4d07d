//! Readiness: whether this server can publish, and the state of its parts.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::calls::Call;
use super::{Drain, Error};
use crate::access::{Capability, Principal};
use crate::bus::Bus;
use crate::ingest::Ingest;
use crate::limits::{HEALTH_WAIT, STORE_BEHIND_SHARE};
use crate::membership::MembershipStatus;
use crate::store::Store;

/// The state of one part of the server.
#[derive(Clone, Debug, Serialize)]
struct Part {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl From<Result<(), String>> for Part {
    fn from(result: Result<(), String>) -> Self {
        Self { ok: result.is_ok(), detail: result.err() }
    }
}

#[derive(Clone, Debug, Serialize)]
struct Parts {
    bus: Part,
    continuity: Part,
    membership: Part,
    store: Part,
    stream: Part,
}

/// Whether this server can publish.
#[derive(Clone, Debug, Serialize)]
pub struct Readiness {
    /// Whether the server can publish.
    pub ready: bool,
    degraded: bool,
    draining: bool,
    parts: Parts,
    /// Whether the server must be the only one on its store, as on the memory bus.
    #[serde(skip)]
    is_alone: bool,
}

impl Readiness {
    /// The reasons why the server cannot publish, as one text.
    #[must_use]
    pub fn reasons(self) -> String {
        let Parts { bus, continuity, membership, stream, .. } = self.parts;
        let parts =
            [bus, continuity, stream].into_iter().chain(self.is_alone.then_some(membership));
        let draining = self.draining.then(|| "the server is stopping".to_owned());
        parts.filter_map(|part| part.detail).chain(draining).collect::<Vec<_>>().join("; ")
    }
}

/// Version, parts and readiness of this server.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    name: &'static str,
    version: &'static str,
    bus: &'static str,
    store: &'static str,
    uptime_s: u64,
    #[serde(flatten)]
    readiness: Readiness,
}

fn flag(is_set: bool) -> f64 {
    f64::from(u8::from(is_set))
}

/// Checks the parts of this server.
pub struct Health {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) store: Arc<dyn Store>,
    pub(super) ingest: Arc<Ingest>,
    pub(super) membership: Arc<MembershipStatus>,
    pub(super) drain: Drain,
    pub(super) started: Instant,
}

impl Health {
    /// Whether this server can publish. A caller that may observe sees the parts.
    ///
    /// # Errors
    /// The caller lacks a grant.
    pub async fn readiness(
        &self,
        principal: &Principal,
        verbose: bool,
    ) -> Result<Readiness, Error> {
        Call::CheckReadiness.check(principal)?;
        if verbose {
            principal.needs(Capability::Observe)?;
        }
        Ok(self.check().await)
    }

    /// Sets the metrics of the parts of this server.
    pub(super) async fn observe(&self) {
        let Readiness { ready, parts, .. } = self.check().await;
        let Parts { bus, continuity, membership, store, stream } = parts;
        let parts = [
            ("bus", bus),
            ("continuity", continuity),
            ("membership", membership),
            ("store", store),
            ("stream", stream),
        ];
        for (name, part) in parts {
            metrics::gauge!("agentbus_part_ok", "part" => name).set(flag(part.ok));
        }
        metrics::gauge!("agentbus_ready").set(flag(ready));
    }

    async fn check(&self) -> Readiness {
        let is_alone = self.bus.dedup_window().is_none();
        let ping = tokio::time::timeout(HEALTH_WAIT, self.store.ping()).await;
        let store = Part::from(match ping {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err("the store does not answer".to_owned()),
        });
        // On the memory bus a publish needs the store, which commits before the acknowledgement.
        let bus = match self.bus.health() {
            Ok(()) if is_alone && !store.ok => store.clone(),
            health => health.into(),
        };
        let continuity = Part::from(self.ingest.gate.check());
        let membership = Part::from(self.membership.check());
        let fill = self.bus.uncommitted_share(self.ingest.committed.through());
        let behind = || "the store is too far behind the stream".to_owned();
        let stream = Part::from(if fill >= STORE_BEHIND_SHARE { Err(behind()) } else { Ok(()) });
        let draining = self.drain.begun.is_cancelled();
        // On NATS several servers publish at once, so membership only decides whether a server may
        // start.
        let is_member = membership.ok || !is_alone;
        let ready = bus.ok && continuity.ok && stream.ok && is_member && !draining;
        let degraded = ready && !store.ok;
        let parts = Parts { bus, continuity, membership, store, stream };
        Readiness { ready, degraded, draining, parts, is_alone }
    }

    /// Version, parts and readiness of this server.
    ///
    /// # Errors
    /// The caller lacks a grant.
    pub async fn status(&self, principal: &Principal) -> Result<Status, Error> {
        Call::ReadStatus.check(principal)?;
        Ok(Status {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            bus: self.bus.name(),
            store: self.store.name(),
            uptime_s: self.started.elapsed().as_secs(),
            readiness: self.check().await,
        })
    }
}
