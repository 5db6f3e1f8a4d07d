//! Agents and tasks: the state that the server derives from the log (contract, section 6).

use serde::Deserialize;

use crate::client::Client;
use crate::document::Document;
use crate::error::Error;
use crate::filter::Query;
use crate::pages::Pages;

/// An agent: the sender of a status or a message.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Agent {
    /// The sequence up to which this is exact; only in the response of [`Client::agent`].
    pub as_of: Option<u64>,
    /// The agent's name.
    pub agent_id: String,
    /// The last role that it gave.
    pub role: Option<String>,
    /// The type of its latest status.
    pub status: Option<String>,
    /// When the latest run of equal statuses began (RFC 3339).
    pub since: Option<String>,
    /// When it sent its latest status or message (RFC 3339).
    pub last_seen: Option<String>,
    /// When its status lapses (RFC 3339).
    pub expires_at: Option<String>,
    /// How far it has consumed its messages.
    pub inbox: InboxPosition,
}

/// How far an agent has read its inbox.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct InboxPosition {
    /// The sequence through which it has consumed its messages.
    pub consumed_through: u64,
    /// How many messages wait for it.
    pub waiting: u64,
}

/// A task.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Task {
    /// The sequence up to which this is exact; only in the response of [`Client::task`].
    pub as_of: Option<u64>,
    /// The task's name.
    pub task_id: String,
    /// `open` or `done`.
    pub state: String,
    /// `completed`, `failed` or `cancelled`, once it is done.
    pub outcome: Option<String>,
    /// The type of its last event.
    pub last_event: Option<String>,
    /// Those who sent messages of the task, the first 64 by name.
    pub agents: Vec<String>,
    /// How many messages it has.
    pub messages: u64,
    /// Events after its end.
    pub late_events: u64,
    /// The sequence of its first message.
    pub first_seq: u64,
    /// The sequence of its last message.
    pub last_seq: u64,
}

/// The states of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Not ended.
    Open,
    /// Completed, failed or cancelled.
    Done,
}

impl Client {
    /// All agents, by name.
    #[must_use]
    pub fn agents(&self) -> Pages<Agent> {
        self.pages("/v1/agents", "agents", Vec::new(), None)
    }

    /// One agent.
    ///
    /// # Errors
    /// There is no agent with this name, or the server refuses or cannot be reached.
    pub async fn agent(&self, name: &str) -> Result<Document<Agent>, Error> {
        self.call(self.get(&format!("/v1/agents/{name}"), &[])).await.map(Document::new)
    }

    /// The tasks in this state, without one all, by name.
    #[must_use]
    pub fn tasks(&self, state: Option<TaskState>) -> Pages<Task> {
        let query = state.map(|state| match state {
            TaskState::Open => ("state", "open".to_owned()),
            TaskState::Done => ("state", "done".to_owned()),
        });
        self.pages("/v1/tasks", "tasks", Query::from_iter(query), None)
    }

    /// One task.
    ///
    /// # Errors
    /// There is no task with this name, or the key may not see it; the server refuses or cannot be reached.
    pub async fn task(&self, name: &str) -> Result<Document<Task>, Error> {
        self.call(self.get(&format!("/v1/tasks/{name}"), &[])).await.map(Document::new)
    }
}
