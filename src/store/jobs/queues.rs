//! The configuration of queues, and what all queues share.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Error;
use uuid::Uuid;

use super::columns::{decode_steps, encode_steps};
use crate::limits::QUEUE_CACHE;
use crate::store::error::StoreError;
use crate::store::sql::{
    Database, Dialect, Pool, Row, Statement, from_micros, limit_to_db, to_db, to_micros,
};
use crate::store::work::RowLock;

/// A queue's configuration as the store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRow {
    /// Its name.
    pub name: String,
    /// How long a lease lasts.
    pub lease: Duration,
    /// Attempts before a job becomes a dead letter.
    pub max_deliver: u32,
    /// Delays between attempts.
    pub backoff: Vec<Duration>,
    /// The longest lease that a worker may still have: at least `lease`, and longer for a while after `lease`
    /// was shortened. The while is the former lease and twice [`crate::limits::QUEUE_CACHE`], since servers
    /// may have the former configuration in their caches.
    pub longest_lease: Duration,
    /// Another id each time that the queue is created. `None` if it was created before the store recorded
    /// this.
    pub incarnation: Option<Uuid>,
}

/// The result of deleting a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueDeletion {
    /// The queue is deleted, with its waiting and delayed jobs.
    Done,
    /// There is no such queue, or it has another incarnation.
    Missing,
    /// A job is leased, or waits to become a dead letter.
    Leased,
    /// The queue holds jobs, and the deletion was not forced.
    NotEmpty,
}

/// The part of a store that holds queues.
#[async_trait]
pub trait QueueStore: Database {
    /// The secret of all lease tokens. If there is none yet, `fresh` becomes the secret.
    async fn lease_secret(&self, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        let sql = "INSERT INTO lease_secret (one, secret) VALUES (true, $1) ON CONFLICT DO NOTHING";
        self.execute(Pool::Jobs, Statement::new(sql).bind(fresh.to_vec())).await?;
        let sql = Statement::new("SELECT secret FROM lease_secret");
        let stored = self.select(Pool::Jobs, sql).await?.first(|row| row.get::<Vec<u8>>(0))?;
        stored
            .and_then(|secret| secret.try_into().ok())
            .ok_or_else(|| StoreError::Unavailable("no lease secret of 32 bytes".to_owned()))
    }

    /// Adds to the number of jobs that were ever done. A repeat counts twice.
    async fn add_jobs_done(&self, more: u64) -> Result<(), StoreError> {
        let sql = "UPDATE job_totals SET done = done + $1";
        self.execute(Pool::Jobs, Statement::new(sql).bind(to_db(more))).await.map(drop)
    }

    /// How many jobs were ever done, in all queues.
    async fn jobs_done(&self) -> Result<u64, StoreError> {
        count(self, Statement::new("SELECT done FROM job_totals")).await
    }

    /// How many jobs the store holds, in all queues.
    async fn jobs_held(&self) -> Result<u64, StoreError> {
        count(self, Statement::new("SELECT count(*) FROM jobs")).await
    }

    /// A queue's configuration.
    async fn queue(&self, name: &str) -> Result<Option<QueueRow>, StoreError> {
        let sql = format!("{} WHERE name = $2", select_queues(self.dialect()));
        let statement = Statement::new(sql).bind(Duration::ZERO).bind(name);
        self.select(Pool::Jobs, statement).await?.first(read_queue)
    }

    /// Up to `limit` queues in order of name, beginning after the name `after`.
    async fn queues(&self, after: Option<&str>, limit: usize) -> Result<Vec<QueueRow>, StoreError> {
        let select = select_queues(self.dialect());
        let statement = Statement::new(format!("{select} WHERE name > $2 ORDER BY name LIMIT $3"))
            .bind(Duration::ZERO)
            .bind(after.unwrap_or_default())
            .bind(limit_to_db(limit));
        self.select(Pool::Jobs, statement).await?.decode(read_queue)
    }

    /// Creates a queue, or changes its configuration unless `keep` is set. Ignores `longest_lease`, and never
    /// changes `incarnation`. Returns whether it created the queue, or `None` if there are `most` queues
    /// already.
    async fn put_queue(
        &self,
        row: &QueueRow,
        keep: bool,
        most: usize,
    ) -> Result<Option<bool>, StoreError> {
        let mut statements = vec![insert_queue(row, most, self.dialect()), {
            let unchanged = "SELECT 1 FROM queues WHERE name = $1";
            match keep {
                true => Statement::new(unchanged).bind(&*row.name),
                false => update_queue(row, self.dialect()),
            }
        }];
        if self.dialect() == Dialect::Postgres {
            // Lets one transaction insert at a time: two could both find room for one more row.
            let lock = "LOCK TABLE queues IN SHARE ROW EXCLUSIVE MODE";
            statements.insert(0, Statement::new(lock));
        }
        let done = self.transaction(Pool::Jobs, statements).await?;
        let mut changed = done.iter().rev().map(|rows| !rows.is_empty());
        let (exists, created) = (changed.next() == Some(true), changed.next() == Some(true));
        Ok(exists.then_some(created))
    }

    /// Locks a queue's consumers in JetStream until the lock is dropped, or
    /// [`crate::limits::CONSUMER_LOCK_TIMEOUT`] has passed. Without the lock, of two servers that create and
    /// delete consumers at once, one would remove the files of the other's.
    async fn lock_queue(&self, name: &str) -> Result<Box<dyn RowLock>, StoreError>;

    /// Deletes this incarnation of a queue with its known ids and recorded attempts, and if `force` is set
    /// with its waiting and delayed jobs. Dead letters stay.
    async fn delete_queue(
        &self,
        name: &str,
        incarnation: Option<Uuid>,
        force: bool,
    ) -> Result<QueueDeletion, StoreError>;
}

/// Returns the one number that a statement on jobs selects.
pub(super) async fn count<D: Database + ?Sized>(
    database: &D,
    statement: Statement,
) -> Result<u64, StoreError> {
    let rows = database.select(Pool::Jobs, statement).await?;
    Ok(rows.first(|row| row.seq(0))?.unwrap_or_default())
}

/// SQL for [`QueueRow::longest_lease`], in microseconds; `now` is SQL for the current time.
fn longest_sql(now: &str) -> String {
    format!(
        "CASE WHEN longest_until > {now} AND longest_us > lease_us THEN longest_us ELSE lease_us END"
    )
}

/// `$1` is a duration of zero: with it, `after` is SQL for the current time.
fn select_queues(dialect: Dialect) -> String {
    format!(
        "SELECT name, lease_us, max_deliver, backoff_us, made, {} AS longest FROM queues",
        longest_sql(&dialect.after("$1"))
    )
}

fn insert_queue(row: &QueueRow, most: usize, dialect: Dialect) -> Statement {
    let sql = format!(
        "INSERT INTO queues (name, lease_us, max_deliver, backoff_us, longest_us, longest_until, made) \
         SELECT $1, $2, $3, $4, 0, {}, $6 \
         WHERE (SELECT count(*) FROM queues) < $7 ON CONFLICT DO NOTHING RETURNING 1",
        dialect.after("$5")
    );
    bind_config(sql, row).bind(row.incarnation).bind(limit_to_db(most))
}

fn update_queue(row: &QueueRow, dialect: Dialect) -> Statement {
    let longest = longest_sql(&dialect.after("$6"));
    let sql = format!(
        "UPDATE queues SET lease_us = $2, max_deliver = $3, backoff_us = $4, longest_us = {longest}, \
         longest_until = {} WHERE name = $1 RETURNING 1",
        dialect.plus_micros(&dialect.after("$5"), &longest)
    );
    bind_config(sql, row).bind(Duration::ZERO)
}

/// Binds the placeholders `$1` to `$5` of a statement that stores a configuration.
fn bind_config(sql: String, row: &QueueRow) -> Statement {
    Statement::new(sql)
        .bind(&*row.name)
        .bind(to_micros(row.lease))
        .bind(i64::from(row.max_deliver))
        .bind(encode_steps(&row.backoff))
        .bind(2 * QUEUE_CACHE)
}

fn read_queue(row: Row<'_>) -> Result<QueueRow, Error> {
    Ok(QueueRow {
        name: row.get("name")?,
        lease: from_micros(row.get("lease_us")?),
        max_deliver: row.number("max_deliver")?,
        backoff: decode_steps(row.get("backoff_us")?),
        longest_lease: from_micros(row.get("longest")?),
        incarnation: row.get("made")?,
    })
}
