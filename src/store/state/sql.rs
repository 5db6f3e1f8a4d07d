//! The statements for agents, tasks and inboxes.
//!
//! Invariant: each statement also reads the watermark, in the same snapshot. It returns at least one row: if
//! nothing is found, the columns of the names are null.

use super::task::TaskState;
use super::visible::Condition;
use crate::limits::TASK_AGENTS;
use crate::store::sql::Dialect;

/// SQL for the number of messages that wait for `agent`, from the joined tables `i` (received) and `c`
/// (consumed). Messages that have expired by `$2` do not count.
fn waiting(agent: &str) -> String {
    let consumed = "coalesce(c.consumed_through, 0)";
    format!(
        "coalesce(i.received, 0) - coalesce(c.consumed, 0) \
         - CASE WHEN i.last_expiring > {consumed} THEN (SELECT count(*) FROM messages m \
           WHERE m.recipient_id = {agent} AND m.seq > {consumed} AND m.expires_at <= $2) \
           ELSE 0 END AS waiting"
    )
}

fn agents(which: &str) -> String {
    format!(
        "SELECT s.committed_through, a.agent_id, a.role, a.status, a.since, a.last_seen, \
         a.expires_at, coalesce(c.consumed_through, 0) AS consumed_through, {} \
         FROM log_state s LEFT JOIN (SELECT * FROM agents WHERE {which}) a ON true \
         LEFT JOIN inboxes i ON i.agent_id = a.agent_id \
         LEFT JOIN inbox_cursors c ON c.agent_id = a.agent_id",
        waiting("a.agent_id")
    )
}

/// At most `$3` agents after `$1`, in any order.
pub(super) fn agents_after() -> String {
    agents("agent_id > $1 ORDER BY agent_id LIMIT $3")
}

/// The agent `$1`.
pub(super) fn agent() -> String {
    agents("agent_id = $1")
}

/// The inbox of `$1`.
pub(super) fn inbox() -> String {
    format!(
        "SELECT s.committed_through, coalesce(c.consumed_through, 0) AS consumed_through, {} \
         FROM log_state s LEFT JOIN inboxes i ON i.agent_id = $1 \
         LEFT JOIN inbox_cursors c ON c.agent_id = $1",
        waiting("$1")
    )
}

/// The sequence up to which the inbox of `$1` is consumed; no row if nothing was ever consumed.
pub(super) const CONSUMED_THROUGH: &str =
    "SELECT consumed_through FROM inbox_cursors WHERE agent_id = $1";

/// What would change if `$1` consumed through `$2`.
pub(super) const CONSUMPTION: &str = "SELECT s.committed_through, c.consumed_through, coalesce(c.consumed, 0) AS consumed, \
     (SELECT count(*) FROM (SELECT 1 AS one FROM messages m WHERE m.recipient_id = $1 \
      AND m.seq > coalesce(c.consumed_through, 0) AND m.seq <= $2 \
      ORDER BY m.seq NULLS FIRST) n) AS added \
     FROM log_state s LEFT JOIN inbox_cursors c ON c.agent_id = $1";

/// Moves the cursor of `$1` from `$4` to `$2`, with `$3` messages consumed.
pub(super) const CONSUME: &str = "INSERT INTO inbox_cursors (agent_id, consumed_through, consumed) VALUES ($1, $2, $3) \
     ON CONFLICT (agent_id) DO UPDATE SET consumed_through = excluded.consumed_through, \
     consumed = excluded.consumed WHERE inbox_cursors.consumed_through = $4";

/// The tasks that `which` selects, with a test for those that are visible.
fn tasks(which: impl Fn(&str) -> String, visible: Option<Condition>, dialect: Dialect) -> String {
    let (with, which) = match visible {
        Some(Condition { with, test }) => (with, which(&format!(" AND {test}"))),
        None => (String::new(), which("")),
    };
    let of_it = "FROM task_counts n WHERE n.task_id = t.task_id";
    let senders =
        format!("SELECT DISTINCT sender_id {of_it} ORDER BY sender_id LIMIT {TASK_AGENTS}");
    let agents = match dialect {
        Dialect::Postgres => format!("array_to_json(ARRAY({senders}))::text"),
        Dialect::Sqlite => format!("(SELECT json_group_array(sender_id) FROM ({senders}))"),
    };
    format!(
        "{with}SELECT s.committed_through, t.task_id, t.outcome, t.last_event, t.messages, \
         t.late_events, t.first_seq, t.last_seq, {agents} AS agents, \
         (SELECT count(DISTINCT sender_id) {of_it}) AS agent_count \
         FROM log_state s LEFT JOIN (SELECT * FROM tasks WHERE {which}) t ON true"
    )
}

/// At most `$2` visible tasks after `$1`, in any order.
pub(super) fn tasks_after(
    state: Option<TaskState>,
    visible: Option<Condition>,
    dialect: Dialect,
) -> String {
    let state = match state {
        None => "",
        Some(TaskState::Open) => "AND outcome IS NULL",
        Some(TaskState::Done) => "AND outcome IS NOT NULL",
    };
    let which = |visible: &str| format!("task_id > $1 {state}{visible} ORDER BY task_id LIMIT $2");
    tasks(which, visible, dialect)
}

/// The task `$1`, if it is visible.
pub(super) fn task(visible: Option<Condition>, dialect: Dialect) -> String {
    tasks(|visible| format!("task_id = $1{visible}"), visible, dialect)
}

/// At most `$2` statuses that had lapsed by `$1`, and when the next one lapses. With `after`, only those
/// after the status of the agent `$4` that lapsed at `$3`.
pub(super) fn lapsed(after: bool) -> String {
    let after = if after { "AND (expires_at, agent_id) > ($3, $4)" } else { "" };
    format!(
        "SELECT s.committed_through, \
         (SELECT min(expires_at) FROM agents WHERE expires_at > $1) AS next, \
         a.agent_id, a.status_seq, a.expires_at FROM log_state s LEFT JOIN (SELECT agent_id, \
         status_seq, expires_at FROM agents WHERE expires_at <= $1 {after} \
         ORDER BY expires_at, agent_id LIMIT $2) a ON true"
    )
}
