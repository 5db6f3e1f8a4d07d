//! Agents, inboxes, tasks (contract, sections 6, 7).

use serde::Serialize;
use utoipa::ToSchema;

use super::base::{Name, Sequence, Time};

/// An agent: the sender of a status or a message.
#[derive(Serialize, ToSchema)]
pub struct Agent {
    agent_id: Name,
    #[schema(required = true)]
    role: Option<String>,
    /// The type of its last status.
    #[schema(required = true)]
    status: Option<String>,
    /// When it got this status.
    #[schema(required = true)]
    since: Option<Time>,
    /// When its last message was sent.
    #[schema(required = true)]
    last_seen: Option<Time>,
    /// When its status lapses.
    #[schema(required = true)]
    expires_at: Option<Time>,
    inbox: InboxState,
}

/// How far an inbox is consumed, and how much waits.
#[derive(Serialize, ToSchema)]
pub struct InboxState {
    /// Everything up to here is consumed.
    consumed_through: Sequence,
    /// How many messages wait.
    waiting: u64,
}

/// A page of agents, in order of their names.
#[derive(ToSchema)]
pub struct AgentPage {
    /// The page is exact at this sequence: a stream `from` the next sequence continues without a gap.
    as_of: Sequence,
    agents: Vec<Agent>,
    /// The `after` of the next page. Null on the last page.
    #[schema(required = true)]
    next: Option<Name>,
}

/// One agent.
#[derive(Serialize, ToSchema)]
pub struct OneAgent {
    /// The answer is exact at this sequence.
    as_of: Sequence,
    #[serde(flatten)]
    agent: Agent,
}

/// How far to acknowledge an inbox.
#[derive(ToSchema)]
pub struct InboxAck {
    /// Everything up to here is consumed. A lower position than before changes nothing.
    through: Sequence,
}

/// Whether a task has ended.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    Open,
    Done,
}

/// A task: what its events say.
#[derive(Serialize, ToSchema)]
pub struct Task {
    task_id: Name,
    state: TaskState,
    /// `completed`, `failed` or `cancelled`: the first such event. Null while it is open.
    #[schema(required = true)]
    outcome: Option<String>,
    #[schema(required = true)]
    last_event: Option<String>,
    /// The agents that sent its messages.
    agents: Vec<String>,
    /// How many agents there are, if not all are listed.
    #[schema(required = false)]
    agent_count: u64,
    messages: u64,
    /// Events after its end.
    late_events: u64,
    first_seq: Sequence,
    last_seq: Sequence,
}

/// A page of tasks, in order of their names.
#[derive(ToSchema)]
pub struct TaskPage {
    /// The page is exact at this sequence: a stream `from` the next sequence continues without a gap.
    as_of: Sequence,
    tasks: Vec<Task>,
    /// The `after` of the next page. Null on the last page.
    #[schema(required = true)]
    next: Option<Name>,
}

/// One task.
#[derive(Serialize, ToSchema)]
pub struct OneTask {
    /// The answer is exact at this sequence.
    as_of: Sequence,
    #[serde(flatten)]
    task: Task,
}
