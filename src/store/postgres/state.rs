//! Agents, tasks and inboxes: what is folded in a write, and how it is read.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::postgres::{PgArguments, PgPool, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Error, Postgres, Row};

use super::PostgresStore;
use super::connection::on_pool;
use super::read::unreadable;
use crate::limits::STORE_WRITE_TIMEOUT;
use crate::message::Token;
use crate::store::StoreError;
use crate::store::fold::{AgentFold, Fold, StatusFold, TaskFold};
use crate::store::plan::{Dialect, from_db, to_db};
use crate::store::state::{
    Agent, AsOf, Inbox, Lapsed, LapsedStatus, Listing, StateStore, Task, TaskState,
};
use crate::store::state_sql as sql;

/// Binds `$39` to `$57` of the write.
pub(super) fn bind_fold<'q>(
    statement: Query<'q, Postgres, PgArguments>,
    fold: &Fold<'_>,
) -> Query<'q, Postgres, PgArguments> {
    fn agents<T>(fold: &Fold<'_>, of: impl Fn(&AgentFold<'_>) -> T) -> Vec<T> {
        fold.agents.values().map(of).collect()
    }
    fn told<T>(fold: &Fold<'_>, of: impl Fn(&StatusFold<'_>) -> T) -> Vec<Option<T>> {
        agents(fold, |agent| agent.status.as_ref().map(&of))
    }
    fn tasks<T>(fold: &Fold<'_>, of: impl Fn(&TaskFold<'_>) -> T) -> Vec<T> {
        fold.tasks.values().map(of).collect()
    }
    let names = |names: &mut dyn Iterator<Item = &&str>| -> Vec<String> {
        names.map(|name| (*name).to_owned()).collect()
    };
    let text = |text: Option<&str>| text.map(str::to_owned);
    statement
        .bind(names(&mut fold.agents.keys()))
        .bind(agents(fold, |agent| text(agent.role)))
        .bind(told(fold, |status| status.type_.to_owned()))
        .bind(told(fold, |status| status.seq))
        .bind(told(fold, |status| status.since))
        .bind(told(fold, |status| status.unbroken))
        .bind(agents(fold, |agent| agent.last_seen))
        .bind(agents(fold, |agent| agent.status.as_ref().and_then(|status| status.expires_at)))
        .bind(names(&mut fold.tasks.keys()))
        .bind(tasks(fold, |task| text(task.outcome)))
        .bind(tasks(fold, |task| text(task.last_event)))
        .bind(tasks(fold, |task| task.messages))
        .bind(tasks(fold, |task| task.events))
        .bind(tasks(fold, |task| task.late_events))
        .bind(tasks(fold, |task| task.first_seq))
        .bind(tasks(fold, |task| task.last_seq))
        .bind(names(&mut fold.inboxes.keys()))
        .bind(fold.inboxes.values().map(|inbox| inbox.received).collect::<Vec<_>>())
        .bind(fold.inboxes.values().map(|inbox| inbox.last_expiring).collect::<Vec<_>>())
}

#[async_trait]
impl StateStore for PostgresStore {
    async fn agents(
        &self,
        after: Option<&Token>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<AsOf<Listing<Agent>>, StoreError> {
        self.read(|| agents(&self.readers, after, limit, now)).await
    }

    async fn agent(
        &self,
        id: &Token,
        now: DateTime<Utc>,
    ) -> Result<AsOf<Option<Agent>>, StoreError> {
        self.read(|| agent(&self.readers, id, now)).await
    }

    async fn tasks(
        &self,
        of: Option<TaskState>,
        after: Option<&Token>,
        limit: usize,
    ) -> Result<AsOf<Listing<Task>>, StoreError> {
        self.read(|| tasks(&self.readers, of, after, limit)).await
    }

    async fn task(&self, id: &Token) -> Result<AsOf<Option<Task>>, StoreError> {
        self.read(|| task(&self.readers, id)).await
    }

    async fn inbox(&self, id: &Token, now: DateTime<Utc>) -> Result<AsOf<Inbox>, StoreError> {
        self.read(|| inbox(&self.readers, id, now)).await
    }

    async fn consumed_through(&self, id: &Token) -> Result<u64, StoreError> {
        self.read(|| consumed_through(&self.readers, id)).await
    }

    async fn consume(&self, id: &Token, through: u64) -> Result<bool, StoreError> {
        loop {
            let (as_of, from, consumed) =
                self.read(|| consumption(&self.readers, id, through)).await?;
            if through > as_of {
                return Ok(false);
            }
            if from_db(from.unwrap_or_default()) >= through {
                return Ok(true);
            }
            let moved = on_pool(&self.cursors, STORE_WRITE_TIMEOUT, || {
                consume(&self.cursors, id, through, consumed, from)
            })
            .await?;
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
        self.read(|| lapsed(&self.readers, now, after, limit)).await
    }
}

async fn agents(
    pool: &PgPool,
    after: Option<&Token>,
    limit: usize,
    now: DateTime<Utc>,
) -> Result<AsOf<Listing<Agent>>, Error> {
    let rows = sqlx::query(AssertSqlSafe(sql::agents_after()))
        .bind(after.map_or("", Token::as_str))
        .bind(now)
        .bind(one_more(limit))
        .fetch_all(pool)
        .await?;
    let AsOf { as_of, mut value } = found(&rows, read_agent)?;
    value.sort_unstable_by(|a, b| a.agent_id.cmp(&b.agent_id));
    Ok(AsOf { as_of, value: Listing::cut(value, limit) })
}

async fn agent(
    pool: &PgPool,
    id: &Token,
    now: DateTime<Utc>,
) -> Result<AsOf<Option<Agent>>, Error> {
    let rows = sqlx::query(AssertSqlSafe(sql::agent()))
        .bind(id.as_str())
        .bind(now)
        .fetch_all(pool)
        .await?;
    Ok(found(&rows, read_agent)?.map(|mut agents| agents.pop()))
}

async fn tasks(
    pool: &PgPool,
    state: Option<TaskState>,
    after: Option<&Token>,
    limit: usize,
) -> Result<AsOf<Listing<Task>>, Error> {
    let rows = sqlx::query(AssertSqlSafe(sql::tasks_after(state, Dialect::Postgres)))
        .bind(after.map_or("", Token::as_str))
        .bind(one_more(limit))
        .fetch_all(pool)
        .await?;
    let AsOf { as_of, mut value } = found(&rows, read_task)?;
    value.sort_unstable_by(|a, b| a.task_id.cmp(&b.task_id));
    Ok(AsOf { as_of, value: Listing::cut(value, limit) })
}

async fn task(pool: &PgPool, id: &Token) -> Result<AsOf<Option<Task>>, Error> {
    let rows = sqlx::query(AssertSqlSafe(sql::task(Dialect::Postgres)))
        .bind(id.as_str())
        .fetch_all(pool)
        .await?;
    Ok(found(&rows, read_task)?.map(|mut tasks| tasks.pop()))
}

async fn inbox(pool: &PgPool, id: &Token, now: DateTime<Utc>) -> Result<AsOf<Inbox>, Error> {
    let row = sqlx::query(AssertSqlSafe(sql::inbox()))
        .bind(id.as_str())
        .bind(now)
        .fetch_one(pool)
        .await?;
    Ok(AsOf { as_of: as_of(&row)?, value: read_inbox(&row)? })
}

async fn consumed_through(pool: &PgPool, id: &Token) -> Result<u64, Error> {
    let statement = sqlx::query_scalar(sql::consumed_through()).bind(id.as_str());
    let through: Option<i64> = statement.fetch_optional(pool).await?;
    Ok(through.map_or(0, from_db))
}

/// The watermark, where the cursor stands (`None`: nowhere yet), and how many
/// messages will have been consumed at `through`.
async fn consumption(
    pool: &PgPool,
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
    pool: &PgPool,
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
        .execute(pool)
        .await?;
    Ok(done.rows_affected() == 1)
}

async fn lapsed(
    pool: &PgPool,
    now: DateTime<Utc>,
    after: Option<&LapsedStatus>,
    limit: usize,
) -> Result<AsOf<Lapsed>, Error> {
    let statement = sqlx::query(AssertSqlSafe(sql::lapsed(after.is_some())))
        .bind(now)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let statement = match after {
        Some(last) => statement.bind(last.expires_at).bind(last.agent.as_str()),
        None => statement,
    };
    let rows = statement.fetch_all(pool).await?;
    let next = rows.first().map(|row| row.try_get("next")).transpose()?.flatten();
    Ok(found(&rows, read_lapsed)?.map(|statuses| Lapsed { statuses, next }))
}

fn one_more(limit: usize) -> i64 {
    i64::try_from(limit).map_or(i64::MAX, |limit| limit.saturating_add(1))
}

fn as_of(row: &PgRow) -> Result<u64, Error> {
    Ok(from_db(row.try_get("committed_through")?))
}

/// The watermark, and what was found beside it.
fn found<T>(
    rows: &[PgRow],
    read: impl Fn(&PgRow) -> Result<Option<T>, Error>,
) -> Result<AsOf<Vec<T>>, Error> {
    let as_of = rows.first().map(as_of).transpose()?.unwrap_or_default();
    let value = rows.iter().filter_map(|row| read(row).transpose()).collect::<Result<_, _>>()?;
    Ok(AsOf { as_of, value })
}

fn read_agent(row: &PgRow) -> Result<Option<Agent>, Error> {
    let Some(agent_id) = row.try_get("agent_id")? else { return Ok(None) };
    Ok(Some(Agent {
        agent_id,
        role: row.try_get("role")?,
        status: row.try_get("status")?,
        since: row.try_get("since")?,
        last_seen: row.try_get("last_seen")?,
        expires_at: row.try_get("expires_at")?,
        inbox: read_inbox(row)?,
    }))
}

fn read_inbox(row: &PgRow) -> Result<Inbox, Error> {
    Ok(Inbox {
        consumed_through: from_db(row.try_get("consumed_through")?),
        waiting: from_db(row.try_get("waiting")?),
    })
}

fn read_task(row: &PgRow) -> Result<Option<Task>, Error> {
    let Some(task_id) = row.try_get("task_id")? else { return Ok(None) };
    Ok(Some(Task {
        task_id,
        outcome: row.try_get("outcome")?,
        last_event: row.try_get("last_event")?,
        agents: row.try_get("agents")?,
        agent_count: from_db(row.try_get("agent_count")?),
        messages: from_db(row.try_get("messages")?),
        late_events: from_db(row.try_get("late_events")?),
        first_seq: from_db(row.try_get("first_seq")?),
        last_seq: from_db(row.try_get("last_seq")?),
    }))
}

fn read_lapsed(row: &PgRow) -> Result<Option<LapsedStatus>, Error> {
    let Some(agent) = row.try_get::<Option<String>, _>("agent_id")? else { return Ok(None) };
    let (seq, expires_at) = (from_db(row.try_get("status_seq")?), row.try_get("expires_at")?);
    Ok(Some(LapsedStatus { agent: agent.parse().map_err(unreadable)?, seq, expires_at }))
}
