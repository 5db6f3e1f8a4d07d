//! Consumers: their positions and totals.

use async_trait::async_trait;
use sqlx::Error;

use super::attempts::error_text;
use super::feed::{Feed, bind_feed, read_feed};
use crate::limits::WORK_DELETE_ROWS;
use crate::store::error::StoreError;
use crate::store::sql::{Database, Dialect, Pool, Row, Statement, from_db, limit_to_db, to_db};

/// A durable consumer in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// `agent-processor`, or `webhook-<id>`.
    pub name: String,
    /// The subject pattern of its messages.
    pub filter: String,
    /// Rises whenever its position changes by anything but progress.
    pub generation: i64,
    /// Whether a handler was ever attached. Until then nothing is delivered. The first handler begins with
    /// everything that is kept.
    pub handled: bool,
    /// On NATS: everything up to this sequence that the stream delivers is done.
    pub floor: u64,
    /// The range of the log that is delivered to it from the store, if there is one.
    pub feed: Option<Feed>,
    /// Why it is paused; `None` while it runs.
    pub paused: Option<String>,
    /// Its totals since it was created.
    pub totals: Totals,
    /// Messages set aside now: waiting for another attempt, or leased for one.
    pub set_aside: u64,
    /// How many of the messages set aside are leased now.
    pub retrying: u64,
    /// The sequence of the oldest message set aside.
    pub oldest_set_aside: Option<u64>,
}

/// What a consumer has done, in all or since the last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages that succeeded.
    pub processed: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Messages set aside for another attempt.
    pub redelivered: u64,
    /// Messages skipped because they had expired.
    pub expired: u64,
    /// Time spent in handlers, in microseconds.
    pub busy_us: u64,
}

/// The position of a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// See [`Consumer::floor`].
    pub floor: u64,
    /// See [`Consumer::feed`].
    pub feed: Option<Feed>,
    /// See [`Consumer::handled`].
    pub handled: bool,
}

/// A lock on a consumer or on the consumers of a queue; dropping it releases it.
pub trait RowLock: Send {}

/// The part of a store that holds consumers.
#[async_trait]
pub trait ConsumerStore: Database {
    /// A consumer by name.
    async fn consumer(&self, name: &str) -> Result<Option<Consumer>, StoreError> {
        let sql = format!("{} WHERE c.name = $2", select_consumers(self.dialect()));
        let statement = Statement::new(sql).bind(std::time::Duration::ZERO).bind(name);
        self.select(Pool::Workers, statement).await?.first(read_consumer)
    }

    /// All consumers, by name.
    async fn consumers(&self) -> Result<Vec<Consumer>, StoreError> {
        let sql = format!("{} ORDER BY name", select_consumers(self.dialect()));
        let statement = Statement::new(sql).bind(std::time::Duration::ZERO);
        self.select(Pool::Workers, statement).await?.decode(read_consumer)
    }

    /// Creates a consumer unless there is one of that name, and returns the one that exists.
    async fn create_consumer(
        &self,
        name: &str,
        filter: &str,
        position: &Position,
    ) -> Result<Consumer, StoreError> {
        let statement = Statement::new(
            "INSERT INTO consumers (name, filter, handled, floor, feed_floor, feed_top, feed_to, \
             feed_done) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
        )
        .bind(name)
        .bind(filter)
        .bind(position.handled)
        .bind(to_db(position.floor));
        let statement = bind_feed(statement, position.feed.as_ref());
        self.execute(Pool::Workers, statement).await?;
        let created = self.consumer(name).await?;
        created.ok_or_else(|| StoreError::Unavailable(format!("consumer {name} was deleted")))
    }

    /// Moves a consumer to another position, if it is still at `generation`. This raises its generation and
    /// ends the claim on its feed. Returns `false` if it was moved meanwhile.
    async fn move_consumer(
        &self,
        name: &str,
        generation: i64,
        position: &Position,
    ) -> Result<bool, StoreError> {
        let statement = Statement::new(
            "UPDATE consumers SET generation = generation + 1, handled = $3, floor = $4, \
             feed_floor = $5, feed_top = $6, feed_to = $7, feed_done = $8, feed_owner = NULL \
             WHERE name = $1 AND generation = $2",
        )
        .bind(name)
        .bind(generation)
        .bind(position.handled)
        .bind(to_db(position.floor));
        let statement = bind_feed(statement, position.feed.as_ref());
        Ok(self.execute(Pool::Workers, statement).await? == 1)
    }

    /// Locks a consumer that is still at `generation`, for work that only one process at a time may do. While
    /// it is locked, no other process locks, moves or deletes it. Waits for another process's lock, which
    /// ends with that process, or after [`crate::limits::CONSUMER_LOCK_TIMEOUT`] at the latest. Returns
    /// `None` if the consumer was moved or deleted.
    async fn lock_consumer(
        &self,
        name: &str,
        generation: i64,
    ) -> Result<Option<Box<dyn RowLock>>, StoreError>;

    /// Pauses a consumer with a reason, or resumes it with `None`. Returns `false` if there is no such
    /// consumer.
    async fn pause_consumer(&self, name: &str, reason: Option<&str>) -> Result<bool, StoreError> {
        let statement = Statement::new("UPDATE consumers SET paused = $2 WHERE name = $1")
            .bind(name)
            .bind(reason.map(error_text));
        Ok(self.execute(Pool::Workers, statement).await? == 1)
    }

    /// Deletes a consumer and the messages that it set aside; its dead letters stay. After that nothing can
    /// be set aside for it.
    async fn delete_consumer(&self, name: &str) -> Result<bool, StoreError> {
        // Deletes in parts, so that other writers get their turns.
        let (hint, lock) = match self.dialect() {
            Dialect::Postgres => ("", " FOR UPDATE"),
            Dialect::Sqlite => (" INDEXED BY set_aside_seq", ""),
        };
        let sql = format!(
            "DELETE FROM set_aside{hint} WHERE consumer = $1 AND seq IN \
             (SELECT seq FROM set_aside WHERE consumer = $1 ORDER BY seq LIMIT $2{lock})"
        );
        let some = Statement::new(sql).bind(name).bind(limit_to_db(WORK_DELETE_ROWS));
        while self.execute(Pool::Workers, some.clone()).await? >= WORK_DELETE_ROWS as u64 {}
        // Deletes the consumer first, which waits for those who are setting messages aside.
        let statements = [
            "DELETE FROM consumers WHERE name = $1 RETURNING 1",
            "DELETE FROM set_aside WHERE consumer = $1",
            "DELETE FROM work_counts WHERE what = 'set_aside' AND source = $1",
        ];
        let statements = statements.map(|sql| Statement::new(sql).bind(name));
        let deleted = self.transaction(Pool::Workers, statements.into()).await?;
        Ok(deleted.first().is_some_and(|consumer| !consumer.is_empty()))
    }

    /// Raises [`Consumer::floor`] if the consumer is still at this generation. A lower floor changes nothing.
    async fn raise_floor(&self, name: &str, generation: i64, floor: u64) -> Result<(), StoreError> {
        let statement = Statement::new(
            "UPDATE consumers SET floor = $3 WHERE name = $1 AND generation = $2 AND floor < $3",
        );
        let statement = statement.bind(name).bind(generation).bind(to_db(floor));
        self.execute(Pool::Workers, statement).await.map(drop)
    }

    /// Adds to a consumer's totals.
    async fn add_totals(&self, name: &str, more: &Totals) -> Result<(), StoreError> {
        let statement = Statement::new(
            "UPDATE consumers SET processed = processed + $2, failed = failed + $3, \
             redelivered = redelivered + $4, expired = expired + $5, busy_us = busy_us + $6 \
             WHERE name = $1",
        )
        .bind(name)
        .bind(to_db(more.processed))
        .bind(to_db(more.failed))
        .bind(to_db(more.redelivered))
        .bind(to_db(more.expired))
        .bind(to_db(more.busy_us));
        self.execute(Pool::Workers, statement).await.map(drop)
    }
}

/// Triggers count the messages set aside; those that are leased have an index of their own. `$1` is a
/// duration of zero: with it, `after` is SQL for the current time.
fn select_consumers(dialect: Dialect) -> String {
    let (leased, by_seq) = match dialect {
        Dialect::Postgres => ("", ""),
        Dialect::Sqlite => (" INDEXED BY set_aside_leased", " INDEXED BY set_aside_seq"),
    };
    format!(
        "SELECT c.name, c.filter, c.generation, c.handled, c.floor, c.paused, c.feed_floor, \
         c.feed_top, c.feed_to, c.feed_done, c.processed, c.failed, c.redelivered, c.expired, c.busy_us, \
         (SELECT CAST(coalesce(sum(n), 0) AS bigint) FROM work_counts \
         WHERE what = 'set_aside' AND source = c.name) AS set_aside, \
         (SELECT count(*) FROM set_aside s{leased} WHERE s.consumer = c.name \
         AND s.lease IS NOT NULL AND s.due > {}) AS retrying, \
         (SELECT s.seq FROM set_aside s{by_seq} WHERE s.consumer = c.name ORDER BY s.seq LIMIT 1) \
         AS oldest FROM consumers c",
        dialect.after("$1")
    )
}

fn read_consumer(row: Row<'_>) -> Result<Consumer, Error> {
    Ok(Consumer {
        name: row.get("name")?,
        filter: row.get("filter")?,
        generation: row.get("generation")?,
        handled: row.get("handled")?,
        floor: row.seq("floor")?,
        feed: read_feed(row)?,
        paused: row.get("paused")?,
        totals: Totals {
            processed: row.seq("processed")?,
            failed: row.seq("failed")?,
            redelivered: row.seq("redelivered")?,
            expired: row.seq("expired")?,
            busy_us: row.seq("busy_us")?,
        },
        set_aside: row.seq("set_aside")?,
        retrying: row.seq("retrying")?,
        oldest_set_aside: row.get::<Option<i64>>("oldest")?.map(from_db),
    })
}
