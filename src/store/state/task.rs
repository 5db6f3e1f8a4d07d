//! Tasks.

/// A task, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its name.
    pub task_id: String,
    /// The type of the event that ended it; `None` while it is open.
    pub outcome: Option<String>,
    /// The type of its last event.
    pub last_event: Option<String>,
    /// The senders of its messages: the first [`crate::limits::TASK_AGENTS`] by name.
    pub agents: Vec<String>,
    /// The number of senders.
    pub agent_count: u64,
    /// The number of messages of any kind about it.
    pub messages: u64,
    /// The number of events after the one that ended it.
    pub late_events: u64,
    /// The sequence of the first message about it.
    pub first_seq: u64,
    /// The sequence of the last message about it.
    pub last_seq: u64,
}

/// Whether a task has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// No event has ended the task.
    Open,
    /// An event has ended the task.
    Done,
}

impl TaskState {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Done => "done",
        }
    }
}

impl Task {
    /// Whether the task has ended.
    #[must_use]
    pub fn state(&self) -> TaskState {
        if self.outcome.is_some() { TaskState::Done } else { TaskState::Open }
    }
}
