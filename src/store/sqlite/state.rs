//! Agents, tasks and inboxes: what is folded in a write, and how it is read.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Error, Row};

use super::SqliteStore;
use super::connection::bounded;
use super::read::unreadable;
use crate::message::Token;
use crate::store::StoreError;
use crate::store::fold::Fold;
use crate::store::plan::{Dialect, from_db, to_db};
use crate::store::state::{
    Agent, AsOf, Inbox, Lapsed, LapsedStatus, Listing, StateStore, Task, TaskState,
};
use crate::store::state_sql as sql;

// Aggregates travel as one JSON array each, as in `write`.
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

/// The statements of a fold, each with its rows, and whether there are none.
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

#[async_trait]
impl StateStore for SqliteStore {
    async fn agents(
        &self,
        after: Option<&Token>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<AsOf<Listing<Agent>>, StoreError> {
        bounded(agents(&self.readers, after, limit, now)).await
    }

    async fn agent(
        &self,
        id: &Token,
        now: DateTime<Utc>,
    ) -> Result<AsOf<Option<Agent>>, StoreError> {
        bounded(agent(&self.readers, id, now)).await
    }

    async fn tasks(
        &self,
        of: Option<TaskState>,
        after: Option<&Token>,
        limit: usize,
    ) -> Result<AsOf<Listing<Task>>, StoreError> {
        bounded(tasks(&self.readers, of, after, limit)).await
    }

    async fn task(&self, id: &Token) -> Result<AsOf<Option<Task>>, StoreError> {
        bounded(task(&self.readers, id)).await
    }

    async fn inbox(&self, id: &Token, now: DateTime<Utc>) -> Result<AsOf<Inbox>, StoreError> {
        bounded(inbox(&self.readers, id, now)).await
    }

    async fn consumed_through(&self, id: &Token) -> Result<u64, StoreError> {
        bounded(consumed_through(&self.readers, id)).await
    }

    async fn consume(&self, id: &Token, through: u64) -> Result<bool, StoreError> {
        loop {
            let (as_of, from, consumed) = bounded(consumption(&self.readers, id, through)).await?;
            if through > as_of {
                return Ok(false);
            }
            if from_db(from.unwrap_or_default()) >= through {
                return Ok(true);
            }
            let mut turn = self.writer.turn(&self.options).await?;
            let moved = consume(turn.connection(), id, through, consumed, from);
            let moved = bounded(moved).await;
            let moved = turn.end(moved)?;
            // Another moved it meanwhile, and upwards: look again.
            if moved {
                return Ok(true);
            }
        }
    }

    async fn lapsed(
        &self,
        now: DateTime<Utc>,
        after: Option<&LapsedStatus>,
        limit: usize,
    ) -> Result<AsOf<Lapsed>, StoreError> {
        bounded(lapsed(&self.readers, now, after, limit)).await
    }
}

async fn agents(
    pool: &SqlitePool,
    after: Option<&Token>,
    limit: usize,
    now: DateTime<Utc>,
) -> Result<AsOf<Listing<Agent>>, Error> {
    let rows = sqlx::query(AssertSqlSafe(sql::agents_after()))
        .bind(after.map_or("", Token::as_str))
        .bind(now.timestamp_micros())
        .bind(one_more(limit))
        .fetch_all(pool)
        .await?;
    let AsOf { as_of, mut value } = found(&rows, read_agent)?;
    value.sort_unstable_by(|a, b| a.agent_id.cmp(&b.agent_id));
    Ok(AsOf { as_of, value: Listing::cut(value, limit) })
}

async fn agent(
    pool: &SqlitePool,
    id: &Token,
    now: DateTime<Utc>,
) -> Result<AsOf<Option<Agent>>, Error> {
    let rows = sqlx::query(AssertSqlSafe(sql::agent()))
        .bind(id.as_str())
        .bind(now.timestamp_micros())
        .fetch_all(pool)
        .await?;
    Ok(found(&rows, read_agent)?.map(|mut agents| agents.pop()))
}

async fn tasks(
    pool: &SqlitePool,
    state: Option<TaskState>,
    after: Option<&Token>,
    limit: usize,
) -> Result<AsOf<Listing<Task>>, Error> {
    let rows = sqlx::query(AssertSqlSafe(sql::tasks_after(state, Dialect::Sqlite)))
        .bind(after.map_or("", Token::as_str))
        .bind(one_more(limit))
        .fetch_all(pool)
        .await?;
    let AsOf { as_of, mut value } = found(&rows, read_task)?;
    value.sort_unstable_by(|a, b| a.task_id.cmp(&b.task_id));
    Ok(AsOf { as_of, value: Listing::cut(value, limit) })
}

async fn task(pool: &SqlitePool, id: &Token) -> Result<AsOf<Option<Task>>, Error> {
    let rows = sqlx::query(AssertSqlSafe(sql::task(Dialect::Sqlite)))
        .bind(id.as_str())
        .fetch_all(pool)
        .await?;
    Ok(found(&rows, read_task)?.map(|mut tasks| tasks.pop()))
}

async fn inbox(pool: &SqlitePool, id: &Token, now: DateTime<Utc>) -> Result<AsOf<Inbox>, Error> {
    let row = sqlx::query(AssertSqlSafe(sql::inbox()))
        .bind(id.as_str())
        .bind(now.timestamp_micros())
        .fetch_one(pool)
        .await?;
    Ok(AsOf { as_of: as_of(&row)?, value: read_inbox(&row)? })
}

async fn consumed_through(pool: &SqlitePool, id: &Token) -> Result<u64, Error> {
    let statement = sqlx::query_scalar(sql::consumed_through()).bind(id.as_str());
    let through: Option<i64> = statement.fetch_optional(pool).await?;
    Ok(through.map_or(0, from_db))
}

/// The watermark, where the cursor stands (`None`: nowhere yet), and how many
/// messages will have been consumed at `through`.
async fn consumption(
    pool: &SqlitePool,
    id: &Token,
    through: u64,
) -> Result<(u64, Option<i64>, i64), Error> {
    let row = sqlx::query(sql::consumption())
        .bind(id.as_str())
        .bind(to_db(through))
        .fetch_one(pool)
        .await?;
    let consumed: i64 = row.try_get("consumed")?;
    let added: i64 = row.try_get("added")?;
    Ok((as_of(&row)?, row.try_get("consumed_through")?, consumed + added))
}

/// Moves the cursor; `false` when it stands elsewhere than at `from`.
async fn consume(
    connection: &mut SqliteConnection,
    id: &Token,
    through: u64,
    consumed: i64,
    from: Option<i64>,
) -> Result<bool, Error> {
    let done = sqlx::query(sql::consume())
        .bind(id.as_str())
        .bind(to_db(through))
        .bind(consumed)
        .bind(from)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

async fn lapsed(
    pool: &SqlitePool,
    now: DateTime<Utc>,
    after: Option<&LapsedStatus>,
    limit: usize,
) -> Result<AsOf<Lapsed>, Error> {
    let statement = sqlx::query(AssertSqlSafe(sql::lapsed(after.is_some())))
        .bind(now.timestamp_micros())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let statement = match after {
        Some(last) => statement.bind(last.expires_at.timestamp_micros()).bind(last.agent.as_str()),
        None => statement,
    };
    let rows = statement.fetch_all(pool).await?;
    let next = rows.first().map(|row| time(row, "next")).transpose()?.flatten();
    Ok(found(&rows, read_lapsed)?.map(|statuses| Lapsed { statuses, next }))
}

fn time(row: &SqliteRow, column: &str) -> Result<Option<DateTime<Utc>>, Error> {
    let micros: Option<i64> = row.try_get(column)?;
    Ok(micros.and_then(DateTime::from_timestamp_micros))
}

fn one_more(limit: usize) -> i64 {
    i64::try_from(limit).map_or(i64::MAX, |limit| limit.saturating_add(1))
}

fn as_of(row: &SqliteRow) -> Result<u64, Error> {
    Ok(from_db(row.try_get("committed_through")?))
}

/// The watermark, and what was found beside it.
fn found<T>(
    rows: &[SqliteRow],
    read: impl Fn(&SqliteRow) -> Result<Option<T>, Error>,
) -> Result<AsOf<Vec<T>>, Error> {
    let as_of = rows.first().map(as_of).transpose()?.unwrap_or_default();
    let value = rows.iter().filter_map(|row| read(row).transpose()).collect::<Result<_, _>>()?;
    Ok(AsOf { as_of, value })
}

fn read_agent(row: &SqliteRow) -> Result<Option<Agent>, Error> {
    let Some(agent_id) = row.try_get("agent_id")? else { return Ok(None) };
    Ok(Some(Agent {
        agent_id,
        role: row.try_get("role")?,
        status: row.try_get("status")?,
        since: time(row, "since")?,
        last_seen: time(row, "last_seen")?,
        expires_at: time(row, "expires_at")?,
        inbox: read_inbox(row)?,
    }))
}

fn read_inbox(row: &SqliteRow) -> Result<Inbox, Error> {
    Ok(Inbox {
        consumed_through: from_db(row.try_get("consumed_through")?),
        waiting: from_db(row.try_get("waiting")?),
    })
}

fn read_task(row: &SqliteRow) -> Result<Option<Task>, Error> {
    let Some(task_id) = row.try_get("task_id")? else { return Ok(None) };
    Ok(Some(Task {
        task_id,
        outcome: row.try_get("outcome")?,
        last_event: row.try_get("last_event")?,
        agents: serde_json::from_str(row.try_get("agents")?).map_err(unreadable)?,
        agent_count: from_db(row.try_get("agent_count")?),
        messages: from_db(row.try_get("messages")?),
        late_events: from_db(row.try_get("late_events")?),
        first_seq: from_db(row.try_get("first_seq")?),
        last_seq: from_db(row.try_get("last_seq")?),
    }))
}

fn read_lapsed(row: &SqliteRow) -> Result<Option<LapsedStatus>, Error> {
    let Some(agent) = row.try_get::<Option<String>, _>("agent_id")? else { return Ok(None) };
    let Some(expires_at) = time(row, "expires_at")? else { return Ok(None) };
    let seq = from_db(row.try_get::<i64, _>("status_seq")?);
    Ok(Some(LapsedStatus { agent: agent.parse().map_err(unreadable)?, seq, expires_at }))
}
