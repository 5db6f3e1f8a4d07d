//! The statements by which a write changes agents, tasks and inboxes.

use chrono::{DateTime, Utc};

use crate::store::fold::Fold;

// Each aggregate is bound as one JSON array, as in `write`.
const AGENTS: &str = "INSERT INTO agents \
    (agent_id, role, status, status_seq, since, last_seen, expires_at) \
    SELECT n.value ->> 0, n.value ->> 1, n.value ->> 2, n.value ->> 3, \
    coalesce(CASE WHEN n.value ->> 5 THEN (SELECT since FROM agents a \
        WHERE a.agent_id = n.value ->> 0 AND a.status = n.value ->> 2) END, n.value ->> 4), \
    n.value ->> 6, n.value ->> 7 FROM json_each($1) n WHERE true \
    ON CONFLICT DO UPDATE SET role = coalesce(excluded.role, role), \
    last_seen = coalesce(excluded.last_seen, last_seen), \
    since = CASE WHEN excluded.status IS NULL THEN since ELSE excluded.since END, \
    expires_at = CASE WHEN excluded.status IS NULL THEN expires_at ELSE excluded.expires_at END, \
    status_seq = coalesce(excluded.status_seq, status_seq), \
    status = coalesce(excluded.status, status)";
const TASKS: &str = "INSERT INTO tasks (task_id, outcome, last_event, messages, events, \
    late_events, first_seq, last_seq) \
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, \
    value ->> 6, value ->> 7 FROM json_each($1) WHERE true \
    ON CONFLICT DO UPDATE SET outcome = coalesce(outcome, excluded.outcome), \
    last_event = coalesce(excluded.last_event, last_event), \
    messages = messages + excluded.messages, events = events + excluded.events, \
    late_events = CASE WHEN outcome IS NULL THEN excluded.late_events \
        ELSE late_events + excluded.events END, \
    last_seq = excluded.last_seq";
const INBOXES: &str = "INSERT INTO inboxes (agent_id, received, last_expiring) \
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($1) WHERE true \
    ON CONFLICT DO UPDATE SET received = received + excluded.received, \
    last_expiring = coalesce(excluded.last_expiring, last_expiring)";

/// The three statements that write a fold: the SQL, whether there are no rows for it, and the rows as JSON.
pub(super) fn fold_statements(
    fold: &Fold<'_>,
) -> [(&'static str, bool, serde_json::Result<String>); 3] {
    let micros = |time: DateTime<Utc>| time.timestamp_micros();
    let agents: Vec<_> = fold
        .agents
        .iter()
        .map(|(id, agent)| {
            let status = agent.status.as_ref();
            (
                id,
                agent.role,
                status.map(|status| status.type_),
                status.map(|status| status.seq),
                status.map(|status| micros(status.since)),
                status.is_some_and(|status| status.unbroken),
                agent.last_seen.map(micros),
                status.and_then(|status| status.expires_at).map(micros),
            )
        })
        .collect();
    let tasks: Vec<_> = fold
        .tasks
        .iter()
        .map(|(id, t)| {
            let counts = (t.messages, t.events, t.late_events);
            (id, t.outcome, t.last_event, counts.0, counts.1, counts.2, t.first_seq, t.last_seq)
        })
        .collect();
    let inboxes: Vec<_> =
        fold.inboxes.iter().map(|(id, inbox)| (id, inbox.received, inbox.last_expiring)).collect();
    [
        (AGENTS, agents.is_empty(), serde_json::to_string(&agents)),
        (TASKS, tasks.is_empty(), serde_json::to_string(&tasks)),
        (INBOXES, inboxes.is_empty(), serde_json::to_string(&inboxes)),
    ]
}
