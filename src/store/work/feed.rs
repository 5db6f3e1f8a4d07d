//! *Feeds*: ranges of the log that one process at a time delivers to a consumer from the store.
//!
//! Invariant: only the process that claimed a feed last writes its progress, and only at the generation at
//! which it claimed. Within one generation a sequence that is done stays done.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Error;
use uuid::Uuid;

use super::chunks::chunks;
use super::dead_letters::DeadLetter;
use super::set_aside::SetAside;
use crate::store::error::StoreError;
use crate::store::sql::{Database, Dialect, Pool, Row, Statement, from_db, to_db};

/// A range of the log that is delivered to a consumer from the store: on NATS because the stream does not
/// hold it, on the memory bus always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    /// Everything up to this sequence is done.
    pub floor: u64,
    /// Nothing above this sequence was delivered. A sequence between `floor` and `top` that is not in `done`
    /// may have been run once by a process that died.
    pub top: u64,
    /// The last sequence of the range; `None` on the memory bus, where it has no end.
    pub to: Option<u64>,
    /// Sequences between `floor` and `top` that are done, rising.
    pub done: Vec<u64>,
}

impl Feed {
    /// Whether a sequence is known to be done.
    pub(crate) fn is_done(&self, seq: u64) -> bool {
        seq <= self.floor || self.done.binary_search(&seq).is_ok()
    }

    /// Marks these messages as done; returns those that were not done before, which are to be kept.
    pub(crate) fn take_in<'a>(
        &mut self,
        aside: &[&'a SetAside],
        dead: &[&'a DeadLetter],
    ) -> (Vec<&'a SetAside>, Vec<&'a DeadLetter>) {
        let aside: Vec<_> = aside.iter().copied().filter(|m| !self.is_done(m.seq)).collect();
        let dead: Vec<_> = dead.iter().copied().filter(|m| !self.is_done(m.seq)).collect();
        self.add_done(aside.iter().map(|m| m.seq).chain(dead.iter().map(|m| m.seq)));
        (aside, dead)
    }

    /// Adds sequences that are done.
    pub(crate) fn add_done(&mut self, seqs: impl Iterator<Item = u64>) {
        self.done.extend(seqs);
        self.done.sort_unstable();
        self.done.dedup();
    }
}

/// The right to feed a consumer. What its holder writes counts until another process claims the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedClaim {
    /// The consumer's generation.
    pub generation: i64,
    /// The process that feeds.
    pub owner: Uuid,
}

/// The part of a store that holds feeds.
#[async_trait]
pub trait FeedStore: Database {
    /// Claims the right to feed from the store, or prolongs it. One process at a time has it. Returns the
    /// feed, or `None` while another process has the claim, if there is nothing to feed, or at another
    /// generation.
    async fn claim_feed(
        &self,
        name: &str,
        generation: i64,
        owner: Uuid,
        lease_for: Duration,
    ) -> Result<Option<Feed>, StoreError> {
        let sql = format!(
            "UPDATE consumers SET feed_owner = $3, feed_until = {} \
             WHERE name = $1 AND generation = $2 AND feed_floor IS NOT NULL AND \
             (feed_owner IS NULL OR feed_owner = $3 OR feed_until < {}) \
             RETURNING feed_floor, feed_top, feed_to, feed_done",
            self.dialect().after("$4"),
            self.dialect().after("$5"),
        );
        let statement = Statement::new(sql)
            .bind(name)
            .bind(generation)
            .bind(owner)
            .bind(lease_for)
            .bind(Duration::ZERO);
        let rows = self.change(Pool::Workers, statement).await?;
        Ok(rows.first(read_feed)?.flatten())
    }

    /// Writes a feed's progress and prolongs the claim. What is done stays done, even if an earlier state is
    /// written late. Removes a feed whose floor has reached its `to`. Returns [`StoreError::Fenced`] if
    /// another process has the claim, or at another generation.
    async fn save_feed(
        &self,
        name: &str,
        generation: i64,
        owner: Uuid,
        lease_for: Duration,
        feed: &Feed,
    ) -> Result<(), StoreError> {
        let is_over = feed.to.is_some_and(|to| feed.floor >= to);
        let statement = Statement::new(match self.dialect() {
            Dialect::Postgres => SAVE_POSTGRES,
            Dialect::Sqlite => SAVE_SQLITE,
        });
        let statement = statement.bind(name).bind(generation).bind(owner);
        let statement = bind_feed(statement, (!is_over).then_some(feed)).bind(lease_for);
        StoreError::unless_fenced(self.execute(Pool::Workers, statement).await? == 1)
    }

    /// Removes messages from a feed: sets them aside, or makes them dead letters. The transaction that stores
    /// a message also marks it as done in the feed, and a message that is already done changes nothing. So no
    /// message that a feed delivered is ever set aside twice, whatever dies in between. Returns
    /// [`StoreError::Fenced`] if another process has the claim: then that process has the messages, too.
    async fn leave_feed(
        &self,
        name: &str,
        claim: FeedClaim,
        aside: &[SetAside],
        dead: &[DeadLetter],
    ) -> Result<(), StoreError> {
        for chunk in chunks(aside) {
            StoreError::unless_fenced(self.leave(name, claim, &chunk, &[]).await?)?;
        }
        for chunk in chunks(dead) {
            StoreError::unless_fenced(self.leave(name, claim, &[], &chunk).await?)?;
        }
        Ok(())
    }

    /// Runs one transaction of [`Self::leave_feed`]. Returns `false` if another process has the claim.
    async fn leave(
        &self,
        name: &str,
        claim: FeedClaim,
        aside: &[&SetAside],
        dead: &[&DeadLetter],
    ) -> Result<bool, StoreError>;
}

/// `$4` and those after it are null for a feed that has ended. `greatest` ignores a null.
const SAVE_POSTGRES: &str = "
UPDATE consumers SET feed_to = $6,
    feed_floor = CASE WHEN $4 IS NULL THEN NULL ELSE greatest(feed_floor, $4) END,
    feed_top = CASE WHEN $5 IS NULL THEN NULL
        ELSE greatest($5, (SELECT max(seq) FROM unnest(feed_done) AS seq)) END,
    feed_done = CASE WHEN $4 IS NULL THEN '{}' ELSE ARRAY(
        SELECT DISTINCT seq FROM unnest(feed_done || $7::bigint[]) AS seq
        WHERE seq > greatest(feed_floor, $4) ORDER BY seq) END,
    feed_owner = CASE WHEN $4 IS NULL THEN NULL ELSE feed_owner END,
    feed_until = clock_timestamp() + $8
WHERE name = $1 AND generation = $2 AND feed_owner = $3 AND feed_floor IS NOT NULL";

/// Like [`SAVE_POSTGRES`]. For a feed that has ended, `max` of a null is null.
const SAVE_SQLITE: &str = "
UPDATE consumers SET feed_floor = max(feed_floor, $4), feed_to = $6,
    feed_top = max($5, coalesce((SELECT max(value) FROM json_each(feed_done)), 0)),
    feed_done = (SELECT json_group_array(seq) FROM (
        SELECT value AS seq FROM json_each(feed_done) UNION SELECT value FROM json_each($7)
        ORDER BY seq) WHERE seq > max(feed_floor, $4)),
    feed_owner = CASE WHEN $4 IS NULL THEN NULL ELSE feed_owner END, feed_until = $8
WHERE name = $1 AND generation = $2 AND feed_owner = $3 AND feed_floor IS NOT NULL";

/// Binds floor, top, end and done sequences of a feed. Without a feed, binds nulls and no sequences.
pub(super) fn bind_feed(statement: Statement, feed: Option<&Feed>) -> Statement {
    statement
        .bind(feed.map(|feed| to_db(feed.floor)))
        .bind(feed.map(|feed| to_db(feed.top)))
        .bind(feed.and_then(|feed| feed.to).map(to_db))
        .bind(feed.map_or(&[][..], |feed| &feed.done[..]))
}

/// Decodes the feed of a consumer's row.
pub(crate) fn read_feed(row: Row<'_>) -> Result<Option<Feed>, Error> {
    let (floor, top): (Option<i64>, Option<i64>) = (row.get("feed_floor")?, row.get("feed_top")?);
    let (Some(floor), Some(top)) = (floor, top) else { return Ok(None) };
    Ok(Some(Feed {
        floor: from_db(floor),
        top: from_db(top),
        to: row.get::<Option<i64>>("feed_to")?.map(from_db),
        done: row.seqs("feed_done")?,
    }))
}
