//! `/v1/tasks`: the state of tasks (contract, section 6).

use axum::extract::RawQuery;
use axum::response::Response;
use serde::Serialize;

use super::describe::{params as described, schemas};
use super::encode::json;
use super::params::{self, NoParams};
use super::path::{self, Segment};
use super::problem::Problem;
use super::request::Call;
use crate::services::Code;
use crate::services::tasks::{Task, Tasks};

#[derive(Serialize)]
struct TaskList {
    as_of: u64,
    tasks: Vec<TaskView>,
    next: Option<String>,
}

#[derive(Serialize)]
struct OneTask {
    as_of: u64,
    #[serde(flatten)]
    task: TaskView,
}

#[derive(Serialize)]
struct TaskView {
    task_id: String,
    state: &'static str,
    outcome: Option<String>,
    last_event: Option<String>,
    agents: Vec<String>,
    /// The number of the task's agents, if not all are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_count: Option<u64>,
    messages: u64,
    late_events: u64,
    first_seq: u64,
    last_seq: u64,
}

impl From<Task> for TaskView {
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

/// A page of the list of tasks, ordered by name.
#[utoipa::path(
    get,
    path = "/v1/tasks",
    tag = "Agents and tasks",
    params(described::TaskFilter, described::NamePage),
    responses((status = 200, description = "A page of tasks.", body = schemas::TaskPage)),
    extensions(("x-codes" = json!([Code::StoreUnavailable]))),
)]
pub(super) async fn page(
    Call { services, context }: Call,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (state, after, limit) = params::tasks(query.as_deref())?;
    let page = services.tasks.page(context.principal(), state, after.as_ref(), limit).await?;
    let tasks = page.value.items.into_iter().map(TaskView::from).collect();
    Ok(json(&TaskList { as_of: page.as_of, tasks, next: page.value.next }))
}

/// One task by its name.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}",
    tag = "Agents and tasks",
    params(described::TaskId),
    responses((status = 200, description = "The task.", body = schemas::OneTask)),
    extensions(("x-codes" = json!([Code::NotFound, Code::StoreUnavailable]))),
)]
pub(super) async fn one(
    Call { services, context }: Call,
    id: Segment,
    _: NoParams,
) -> Result<Response, Problem> {
    let name = path::token(id).ok_or_else(Tasks::missing)?;
    let found = services.tasks.one(context.principal(), &name).await?;
    Ok(json(&OneTask { as_of: found.as_of, task: found.value.into() }))
}
