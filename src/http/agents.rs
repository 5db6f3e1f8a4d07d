//! `/v1/agents`: the directory of agents (contract, section 6).

use axum::extract::RawQuery;
use axum::response::Response;
use serde::Serialize;

use super::describe::{params as described, schemas};
use super::encode::json;
use super::params::{self, NoParams};
use super::path::{self, Segment};
use super::problem::Problem;
use super::request::Call;
use crate::message::format_micros;
use crate::services::Code;
use crate::services::agents::{Agent, Agents};
use crate::services::inbox::Inbox;

#[derive(Serialize)]
struct AgentList {
    as_of: u64,
    agents: Vec<AgentView>,
    next: Option<String>,
}

#[derive(Serialize)]
struct OneAgent {
    as_of: u64,
    #[serde(flatten)]
    agent: AgentView,
}

#[derive(Serialize)]
struct AgentView {
    agent_id: String,
    role: Option<String>,
    status: Option<String>,
    since: Option<String>,
    last_seen: Option<String>,
    expires_at: Option<String>,
    inbox: Inbox,
}

impl From<Agent> for AgentView {
    fn from(agent: Agent) -> Self {
        Self {
            agent_id: agent.agent_id,
            role: agent.role,
            status: agent.status,
            since: agent.since.map(format_micros),
            last_seen: agent.last_seen.map(format_micros),
            expires_at: agent.expires_at.map(format_micros),
            inbox: agent.inbox,
        }
    }
}

/// A page of the list of agents, ordered by name.
#[utoipa::path(
    get,
    path = "/v1/agents",
    tag = "Agents and tasks",
    params(described::NamePage),
    responses((status = 200, description = "A page of agents.", body = schemas::AgentPage)),
    extensions(("x-codes" = json!([Code::StoreUnavailable]))),
)]
pub(super) async fn page(
    Call { services, context }: Call,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (after, limit) = params::names(query.as_deref())?;
    let page = services.agents.page(context.principal(), after.as_ref(), limit).await?;
    let agents = page.value.items.into_iter().map(AgentView::from).collect();
    Ok(json(&AgentList { as_of: page.as_of, agents, next: page.value.next }))
}

/// One agent by its name.
#[utoipa::path(
    get,
    path = "/v1/agents/{id}",
    tag = "Agents and tasks",
    params(described::AgentId),
    responses((status = 200, description = "The agent.", body = schemas::OneAgent)),
    extensions(("x-codes" = json!([Code::NotFound, Code::StoreUnavailable]))),
)]
pub(super) async fn one(
    Call { services, context }: Call,
    id: Segment,
    _: NoParams,
) -> Result<Response, Problem> {
    let name = path::token(id).ok_or_else(Agents::missing)?;
    let found = services.agents.one(context.principal(), &name).await?;
    Ok(json(&OneAgent { as_of: found.as_of, agent: found.value.into() }))
}
