//! Whether the process is up, can publish, and what of it is degraded.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::messages::axum_json;
use super::problem::Problem;
use super::{Shared, params};
use crate::limits::{HEALTH_WAIT, STORE_BEHIND_SHARE};

/// The state of one part.
#[derive(Debug, Serialize)]
struct Part {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Part {
    fn of(result: Result<(), String>) -> Self {
        Self { ok: result.is_ok(), detail: result.err() }
    }
}

#[derive(Debug, Serialize)]
struct Parts {
    bus: Part,
    continuity: Part,
    membership: Part,
    store: Part,
    stream: Part,
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    degraded: bool,
    draining: bool,
    parts: Parts,
}

#[derive(Serialize)]
struct Status {
    name: &'static str,
    version: &'static str,
    bus: &'static str,
    store: &'static str,
    uptime_s: u64,
    #[serde(flatten)]
    readiness: Readiness,
}

/// The process is up. Asks nothing else: a restart mends no other fault.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Able to publish, or not.
pub(super) async fn readyz(
    State(api): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let verbose = params::verbose(query.as_deref())?;
    let readiness = readiness(&api).await;
    if verbose {
        let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        return Ok((status, axum_json(&readiness)).into_response());
    }
    if readiness.ready {
        return Ok("ok\n".into_response());
    }
    let reasons: Vec<String> =
        [readiness.parts.bus, readiness.parts.continuity, readiness.parts.stream]
            .into_iter()
            .chain(api.is_alone().then_some(readiness.parts.membership))
            .filter_map(|part| part.detail)
            .chain(readiness.draining.then(|| "the server is stopping".to_owned()))
            .collect();
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", reasons.join("; ")))
}

async fn readiness(api: &Shared) -> Readiness {
    let ping = tokio::time::timeout(HEALTH_WAIT, api.store.ping()).await;
    let store = Part::of(match ping {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the store does not answer".to_owned()),
    });
    // The memory bus commits to the store before it acknowledges.
    let bus = match (api.bus.health(), &store) {
        (Ok(()), Part { ok: false, detail }) if api.is_alone() => {
            Part { ok: false, detail: detail.clone() }
        }
        (health, _) => Part::of(health),
    };
    let continuity = Part::of(api.ingest.gate.check());
    let membership = Part::of(api.standing.check());
    let behind = api.bus.uncommitted_share(api.committed.through()) >= STORE_BEHIND_SHARE;
    let stream = Part::of(if behind {
        Err("the store is too far behind the stream".to_owned())
    } else {
        Ok(())
    });
    let draining = api.draining.is_cancelled();
    // On NATS the hold says who may start; there are other servers beside this one anyway.
    let holds = membership.ok || !api.is_alone();
    let ready = bus.ok && continuity.ok && stream.ok && holds && !draining;
    Readiness {
        ready,
        degraded: ready && !store.ok,
        draining,
        parts: Parts { bus, continuity, membership, store, stream },
    }
}

/// What runs here, and how it is.
pub(super) async fn status(
    State(api): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    params::none(query.as_deref())?;
    Ok(axum_json(&Status {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        bus: api.bus.name(),
        store: api.store.name(),
        uptime_s: api.started.elapsed().as_secs(),
        readiness: readiness(&api).await,
    }))
}
