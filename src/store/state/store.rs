//! Reads agents, tasks and inboxes, and moves the cursors of inboxes: one implementation for both databases.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Error;

use super::agent::{Agent, Inbox, Lapsed, LapsedStatus};
use super::listing::{AsOf, Listing};
use super::sql;
use super::task::{Task, TaskState};
use super::visible::Visible;
use crate::message::{Scope, Token};
use crate::store::error::StoreError;
use crate::store::sql::{
    Database, Pool, Row, Rows, Statement, from_db, limit_to_db, to_db, unreadable,
};

/// The part of a store that holds agents, tasks and inboxes.
#[async_trait]
pub trait StateStore: Database {
    /// Up to `limit` agents in order of name, beginning after the name `after`. Messages that have expired by
    /// `now` do not wait in their inboxes.
    async fn agents(
        &self,
        after: Option<&Token>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<AsOf<Listing<Agent>>, StoreError> {
        let statement = Statement::new(sql::agents_after())
            .bind(after.map_or("", Token::as_str))
            .bind(now)
            .bind(one_more(limit));
        let rows = self.select(Pool::Readers, statement).await?;
        let mut agents = found(&rows, read_agent)?;
        agents.value.sort_unstable_by(|a, b| a.agent_id.cmp(&b.agent_id));
        Ok(agents.map(|agents| Listing::cut(agents, limit)))
    }

    /// One agent.
    async fn agent(
        &self,
        id: &Token,
        now: DateTime<Utc>,
    ) -> Result<AsOf<Option<Agent>>, StoreError> {
        let statement = Statement::new(sql::agent()).bind(id.as_str()).bind(now);
        let rows = self.select(Pool::Readers, statement).await?;
        Ok(found(&rows, read_agent)?.map(|mut agents| agents.pop()))
    }

    /// Up to `limit` tasks in order of name, beginning after the name `after`: all tasks, or those in one
    /// state. With a scope, only tasks whose events it covers or in which its names have a part, as far as the latest
    /// [`TASK_PART_ROWS`] messages by and to them show.
    ///
    /// [`TASK_PART_ROWS`]: crate::limits::TASK_PART_ROWS
    async fn tasks(
        &self,
        state: Option<TaskState>,
        after: Option<&Token>,
        limit: usize,
        scope: Option<&Scope>,
    ) -> Result<AsOf<Listing<Task>>, StoreError> {
        let mut values = vec![after.map_or("", Token::as_str).into(), one_more(limit).into()];
        let visible = Visible::of(scope).of_list(self.dialect(), &mut values);
        let sql = sql::tasks_after(state, visible, self.dialect()).into();
        let statement = Statement { sql, values };
        let rows = self.select(Pool::Readers, statement).await?;
        let mut tasks = found(&rows, read_task)?;
        tasks.value.sort_unstable_by(|a, b| a.task_id.cmp(&b.task_id));
        Ok(tasks.map(|tasks| Listing::cut(tasks, limit)))
    }

    /// One task. With a scope, only if the scope covers its events or its names have a part in it.
    async fn task(
        &self,
        id: &Token,
        scope: Option<&Scope>,
    ) -> Result<AsOf<Option<Task>>, StoreError> {
        let mut values = vec![id.as_str().into()];
        let visible = Visible::of(scope).of_one(self.dialect(), &mut values);
        let statement = Statement { sql: sql::task(visible, self.dialect()).into(), values };
        let rows = self.select(Pool::Readers, statement).await?;
        Ok(found(&rows, read_task)?.map(|mut tasks| tasks.pop()))
    }

    /// The inbox of a recipient. Every name has one, even if it never sent a message.
    async fn inbox(&self, id: &Token, now: DateTime<Utc>) -> Result<AsOf<Inbox>, StoreError> {
        let statement = Statement::new(sql::inbox()).bind(id.as_str()).bind(now);
        let rows = self.select(Pool::Readers, statement).await?;
        let inbox = found(&rows, |row| read_inbox(row).map(Some))?;
        Ok(inbox.map(|mut inboxes| inboxes.pop().unwrap_or_default()))
    }

    /// The sequence up to which an inbox is consumed. Unlike [`StateStore::inbox`] this does not count what
    /// waits.
    async fn consumed_through(&self, id: &Token) -> Result<u64, StoreError> {
        let statement = Statement::new(sql::CONSUMED_THROUGH).bind(id.as_str());
        let rows = self.select(Pool::Readers, statement).await?;
        Ok(rows.first(|row| row.seq(0))?.unwrap_or_default())
    }

    /// Records that everything through a sequence is consumed. A sequence below the recorded one changes
    /// nothing. Returns `false` if the sequence lies above the watermark.
    async fn consume(&self, id: &Token, through: u64) -> Result<bool, StoreError> {
        loop {
            let statement = Statement::new(sql::CONSUMPTION).bind(id.as_str()).bind(to_db(through));
            let rows = self.select(Pool::Readers, statement).await?;
            let read = rows.first(|row| {
                let consumed: i64 = row.get("consumed")?;
                let added: i64 = row.get("added")?;
                let from: Option<i64> = row.get("consumed_through")?;
                Ok((row.seq("committed_through")?, from, consumed + added))
            })?;
            let (as_of, from, consumed) = read.unwrap_or_default();
            if through > as_of {
                return Ok(false);
            }
            if from_db(from.unwrap_or_default()) >= through {
                return Ok(true);
            }
            let statement = Statement::new(sql::CONSUME)
                .bind(id.as_str())
                .bind(to_db(through))
                .bind(consumed)
                .bind(from);
            // No row: since the cursor was read, another call raised it. Read it again.
            if self.execute(Pool::Cursors, statement).await? == 1 {
                return Ok(true);
            }
        }
    }

    /// Up to `limit` statuses that had lapsed by `now`, the longest lapsed first; with `after`, only those
    /// after it.
    async fn lapsed(
        &self,
        now: DateTime<Utc>,
        after: Option<&LapsedStatus>,
        limit: usize,
    ) -> Result<AsOf<Lapsed>, StoreError> {
        let mut statement =
            Statement::new(sql::lapsed(after.is_some())).bind(now).bind(limit_to_db(limit));
        if let Some(last) = after {
            statement = statement.bind(last.expires_at).bind(last.agent.as_str());
        }
        let rows = self.select(Pool::Readers, statement).await?;
        let next = rows.first(|row| row.time("next"))?.flatten();
        Ok(found(&rows, read_lapsed)?.map(|statuses| Lapsed { statuses, next }))
    }
}

impl<T: Database> StateStore for T {}

fn one_more(limit: usize) -> i64 {
    limit_to_db(limit).saturating_add(1)
}

/// Decodes the watermark and what was found beside it.
fn found<T>(
    rows: &Rows,
    read: impl Fn(Row<'_>) -> Result<Option<T>, Error>,
) -> Result<AsOf<Vec<T>>, StoreError> {
    let as_of = rows.first(|row| row.seq("committed_through"))?.unwrap_or_default();
    let value = rows.decode(read)?.into_iter().flatten().collect();
    Ok(AsOf { as_of, value })
}

fn read_agent(row: Row<'_>) -> Result<Option<Agent>, Error> {
    let Some(agent_id) = row.get("agent_id")? else { return Ok(None) };
    Ok(Some(Agent {
        agent_id,
        role: row.get("role")?,
        status: row.get("status")?,
        since: row.time("since")?,
        last_seen: row.time("last_seen")?,
        expires_at: row.time("expires_at")?,
        inbox: read_inbox(row)?,
    }))
}

fn read_inbox(row: Row<'_>) -> Result<Inbox, Error> {
    Ok(Inbox { consumed_through: row.seq("consumed_through")?, waiting: row.seq("waiting")? })
}

fn read_task(row: Row<'_>) -> Result<Option<Task>, Error> {
    let Some(task_id) = row.get("task_id")? else { return Ok(None) };
    Ok(Some(Task {
        task_id,
        outcome: row.get("outcome")?,
        last_event: row.get("last_event")?,
        agents: serde_json::from_str(row.get("agents")?).map_err(unreadable)?,
        agent_count: row.seq("agent_count")?,
        messages: row.seq("messages")?,
        late_events: row.seq("late_events")?,
        first_seq: row.seq("first_seq")?,
        last_seq: row.seq("last_seq")?,
    }))
}

fn read_lapsed(row: Row<'_>) -> Result<Option<LapsedStatus>, Error> {
    let Some(agent) = row.get::<Option<&str>>("agent_id")? else { return Ok(None) };
    let Some(expires_at) = row.time("expires_at")? else { return Ok(None) };
    let agent = agent.parse().map_err(unreadable)?;
    Ok(Some(LapsedStatus { agent, seq: row.seq("status_seq")?, expires_at }))
}
