//! `/v1/tasks`: what became of them (contract, section 6).

use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde::Serialize;

use super::Shared;
use super::messages::axum_json;
use super::params::{self, Name};
use super::problem::Problem;
use crate::store::state::Task;

#[derive(Serialize)]
struct List {
    as_of: u64,
    tasks: Vec<Shown>,
    next: Option<String>,
}

#[derive(Serialize)]
struct One {
    as_of: u64,
    #[serde(flatten)]
    task: Shown,
}

/// A task on the wire.
#[derive(Serialize)]
struct Shown {
    task_id: String,
    state: &'static str,
    outcome: Option<String>,
    last_event: Option<String>,
    agents: Vec<String>,
    /// How many they are in all, where not all are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_count: Option<u64>,
    messages: u64,
    late_events: u64,
    first_seq: u64,
    last_seq: u64,
}

impl From<Task> for Shown {
    fn from(task: Task) -> Self {
        Self {
            state: task.state().as_str(),
            task_id: task.task_id,
            outcome: task.outcome,
            last_event: task.last_event,
            agent_count: (task.agent_count > task.agents.len() as u64).then_some(task.agent_count),
            agents: task.agents,
            messages: task.messages,
            late_events: task.late_events,
            first_seq: task.first_seq,
            last_seq: task.last_seq,
        }
    }
}

/// A page of tasks, by name.
pub(super) async fn page(
    State(api): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (state, after, limit) = params::tasks(query.as_deref())?;
    let found = api.store.tasks(state, after.as_ref(), limit).await?;
    api.committed.raise(found.as_of);
    let last = found.value.items.last().filter(|_| found.value.more);
    let next = last.map(|task| task.task_id.clone());
    let tasks = found.value.items.into_iter().map(Shown::from).collect();
    Ok(axum_json(&List { as_of: found.as_of, tasks, next }))
}

/// One task.
pub(super) async fn one(
    State(api): State<Shared>,
    id: Name,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    params::none(query.as_deref())?;
    let missing = || Problem::not_found("no message belongs to a task of this name");
    let id = params::name(id).ok_or_else(missing)?;
    let found = api.store.task(&id).await?;
    api.committed.raise(found.as_of);
    let task = found.value.ok_or_else(missing)?.into();
    Ok(axum_json(&One { as_of: found.as_of, task }))
}
