//! `/v1/agents`: who there is (contract, section 6).

use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde::Serialize;

use super::Shared;
use super::messages::axum_json;
use super::params::{self, Name};
use super::problem::Problem;
use crate::message::format_micros;
use crate::store::state::{Agent, Inbox};

#[derive(Serialize)]
struct List {
    as_of: u64,
    agents: Vec<Shown>,
    next: Option<String>,
}

#[derive(Serialize)]
struct One {
    as_of: u64,
    #[serde(flatten)]
    agent: Shown,
}

/// An agent on the wire.
#[derive(Serialize)]
struct Shown {
    agent_id: String,
    role: Option<String>,
    status: Option<String>,
    since: Option<String>,
    last_seen: Option<String>,
    expires_at: Option<String>,
    inbox: ShownInbox,
}

/// How far a recipient has come, on the wire.
#[derive(Serialize)]
pub(super) struct ShownInbox {
    consumed_through: u64,
    waiting: u64,
}

impl From<Inbox> for ShownInbox {
    fn from(inbox: Inbox) -> Self {
        Self { consumed_through: inbox.consumed_through, waiting: inbox.waiting }
    }
}

impl From<Agent> for Shown {
    fn from(agent: Agent) -> Self {
        Self {
            agent_id: agent.agent_id,
            role: agent.role,
            status: agent.status,
            since: agent.since.map(format_micros),
            last_seen: agent.last_seen.map(format_micros),
            expires_at: agent.expires_at.map(format_micros),
            inbox: agent.inbox.into(),
        }
    }
}

/// A page of agents, by name.
pub(super) async fn page(
    State(api): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (after, limit) = params::tokens(query.as_deref())?;
    let found = api.store.agents(after.as_ref(), limit, api.ingest.clock.now()).await?;
    api.committed.raise(found.as_of);
    let last = found.value.items.last().filter(|_| found.value.more);
    let next = last.map(|agent| agent.agent_id.clone());
    let agents = found.value.items.into_iter().map(Shown::from).collect();
    Ok(axum_json(&List { as_of: found.as_of, agents, next }))
}

/// One agent.
pub(super) async fn one(
    State(api): State<Shared>,
    id: Name,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    params::none(query.as_deref())?;
    let missing = || Problem::not_found("no agent of this name has sent a message or a status");
    let id = params::name(id).ok_or_else(missing)?;
    let found = api.store.agent(&id, api.ingest.clock.now()).await?;
    api.committed.raise(found.as_of);
    let agent = found.value.ok_or_else(missing)?.into();
    Ok(axum_json(&One { as_of: found.as_of, agent }))
}
