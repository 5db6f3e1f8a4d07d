//! Reads what was written: single messages, pages of history, counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use sqlx::Error;
use uuid::Uuid;

use super::error::StoreError;
use super::log::{Hole, HoleReason};
use super::plan;
use super::sql::{Database, Pool, Row, Statement, from_db, limit_to_db, to_db, unreadable};
use super::trace;
use crate::limits::PAGE_SCAN_ROWS;
use crate::message::{
    HEADER_MSG_ID, HEADER_NATIVE, HEADER_NATIVE_V1, Headers, Kind, LogEntry, Query, Scope, Subject,
    Token, TraceContext,
};

/// A message as history returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its sequence.
    pub seq: u64,
    /// Its kind (the SSE event name).
    pub kind: Kind,
    /// The envelope without `seq`.
    pub body: Bytes,
}

/// A row with everything that is needed to publish it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// The message.
    pub stored: Stored,
    /// Its id.
    pub id: Uuid,
    /// The subject it was published on.
    pub subject: Subject,
    /// Payload and headers of a foreign message (one by another NATS client). `None` if the body is the
    /// payload and the headers are those that agentbus sets.
    pub foreign: Option<(Bytes, Headers)>,
    /// The trace that the message belongs to.
    pub trace: Option<Arc<TraceContext>>,
    /// When the log stored it.
    pub logged_at: DateTime<Utc>,
}

impl Original {
    /// Rebuilds the log entry that the row was made from.
    #[must_use]
    pub fn into_log_entry(self) -> LogEntry {
        let (payload, headers) = self.foreign.unwrap_or_else(|| {
            let id = self.id.to_string();
            let own = [(HEADER_NATIVE, HEADER_NATIVE_V1), (HEADER_MSG_ID, id.as_str())];
            let trace = self.trace.iter().flat_map(|trace| trace.headers());
            let headers = own.into_iter().chain(trace);
            let headers =
                headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            (self.stored.body, headers)
        });
        let (seq, subject, logged_at) = (self.stored.seq, self.subject, self.logged_at);
        LogEntry { seq, subject, headers, payload, logged_at }
    }
}

/// One page of history.
#[derive(Clone, Debug)]
pub struct Page {
    /// The messages, in the order that the query asks for.
    pub messages: Vec<Stored>,
    /// The sequence to continue after (before, if descending). Messages between the last one and this do not match.
    /// `None`: no more messages match up to `committed_through`.
    pub next: Option<u64>,
    /// The watermark as of which the page is exact.
    pub committed_through: u64,
}

/// The first message of an inbox that has not expired, and what was read to find it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboxFront {
    /// The first message that has not expired.
    pub first: Option<u64>,
    /// How many messages precede `first`. If there is none: how many were read.
    pub passed: u64,
    /// How many of those have expired. The others are outside of the query's scope.
    pub expired: u64,
    /// The last message that was read.
    pub last: Option<u64>,
    /// Whether there may be further messages that were not read. Always `false` if `first` is known.
    pub more: bool,
    /// The watermark as of which this is exact.
    pub committed_through: u64,
}

impl InboxFront {
    /// Adds the row of [`plan::first_unexpired`] for the next part of the inbox. All messages before that
    /// part are passed over. `limit` is how many messages may be read in all.
    ///
    /// [`plan::first_unexpired`]: super::plan::first_unexpired
    pub(super) fn add(
        &mut self,
        row: Row<'_>,
        limit: usize,
        tests_scope: bool,
    ) -> Result<(), Error> {
        self.first = row.get::<Option<i64>>(0)?.map(from_db);
        self.last = row.get::<Option<i64>>(1)?.map(from_db).or(self.last);
        let passed = row.seq(if self.first.is_some() { 3 } else { 2 })?;
        self.passed += passed;
        self.expired += if tests_scope { row.seq(4)? } else { passed };
        self.more = self.first.is_none() && self.passed > limit as u64;
        Ok(())
    }
}

/// Numbers of messages by each of three columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By kind.
    pub by_kind: BTreeMap<String, u64>,
    /// By type: the types with the most messages.
    pub by_type: BTreeMap<String, u64>,
    /// By sender: the senders with the most messages.
    pub by_sender: BTreeMap<String, u64>,
    /// How many types there are in all.
    pub types: u64,
    /// How many senders there are in all.
    pub senders: u64,
}

/// The part of a store that reads messages. For what does not exist it returns `Ok(None)`, and the caller
/// decides.
#[async_trait]
pub trait HistoryStore: Database {
    /// The lowest sequence of each id that has a row. Reads no message, since there may be many ids, and a
    /// megabyte behind each.
    async fn find(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, u64>, StoreError>;

    /// The message at a sequence, as history returns it.
    async fn message(&self, seq: u64) -> Result<Option<Stored>, StoreError> {
        let sql = "SELECT seq, kind, body FROM messages WHERE seq = $1";
        let rows = self.select(Pool::Readers, Statement::new(sql).bind(to_db(seq))).await?;
        rows.first(read_stored)
    }

    /// The row at a sequence, with everything that is needed to publish it again.
    async fn original(&self, seq: u64) -> Result<Option<Original>, StoreError> {
        let found = self.originals(seq, 1).await?;
        Ok(found.into_iter().next().filter(|row| row.stored.seq == seq))
    }

    /// Rows from a sequence on, in order, with everything that is needed to publish them again. At most
    /// `limit` rows, and fewer if they are large. Only an empty result means the end.
    async fn originals(&self, from: u64, limit: usize) -> Result<Vec<Original>, StoreError>;

    /// The traces of those of these messages that belong to one.
    async fn traces(&self, seqs: &[u64]) -> Result<HashMap<u64, Arc<TraceContext>>, StoreError> {
        let sql = format!(
            "SELECT seq, foreign_headers FROM messages WHERE seq {} AND foreign_headers IS NOT NULL",
            self.dialect().is_any("$1")
        );
        let rows = self.select(Pool::Readers, Statement::new(sql).bind(seqs)).await?;
        let traces = rows.decode(|row| {
            Ok((row.seq("seq")?, trace::decode(row.get::<&[u8]>("foreign_headers")?)))
        })?;
        Ok(traces.into_iter().filter_map(|(seq, trace)| Some((seq, trace?))).collect())
    }

    /// The first message with this id that is in the scope. Reads at most [`PAGE_SCAN_ROWS`] messages with the id.
    async fn in_scope(&self, id: Uuid, scope: &Scope) -> Result<Option<Stored>, StoreError> {
        let statement = plan::with_id(id, scope, PAGE_SCAN_ROWS, self.dialect());
        self.select(Pool::Readers, statement).await?.first(read_stored)
    }

    /// A page of history. If its bodies reach the limit of the query, it is shorter than its limit but not empty,
    /// and `next` is set. If the scope of the filter is no index's to answer, the page reads at most
    /// [`PAGE_SCAN_ROWS`] messages that pass the rest of the filter. Then it may be shorter, also empty, and `next` says
    /// how far it read.
    async fn page(&self, query: &Query) -> Result<Page, StoreError> {
        self.page_within(query, PAGE_SCAN_ROWS).await
    }

    /// As [`Self::page`], but reads at most `scan` messages instead of [`PAGE_SCAN_ROWS`].
    async fn page_within(&self, query: &Query, scan: usize) -> Result<Page, StoreError>;

    /// Searches the messages that a query asks for, at most one more than its limit, for the first that
    /// has not expired by `now`. Reads no bodies. Messages outside of the query's scope are read too, and passed over.
    async fn inbox_front(
        &self,
        query: &Query,
        now: DateTime<Utc>,
    ) -> Result<InboxFront, StoreError>;

    /// Up to `limit` holes that touch the range, in order.
    async fn holes(&self, from: u64, to: u64, limit: usize) -> Result<Vec<Hole>, StoreError> {
        // Holes do not overlap. So of those that begin before the range only the last can reach into it.
        let sql = "SELECT from_seq, to_seq, reason FROM holes \
             WHERE from_seq >= coalesce((SELECT max(from_seq) FROM holes WHERE from_seq <= $1), $1) \
             AND from_seq <= $2 AND to_seq >= $1 ORDER BY from_seq LIMIT $3";
        let statement =
            Statement::new(sql).bind(to_db(from)).bind(to_db(to)).bind(limit_to_db(limit));
        self.select(Pool::Readers, statement).await?.decode(|row| {
            let reason = HoleReason::from_name(row.get("reason")?);
            Ok(Hole { from: row.seq("from_seq")?, to: row.seq("to_seq")?, reason })
        })
    }

    /// Counts all messages, or those of one task. Of types and senders it returns the `most` with the most
    /// messages; if several have as many, the first by name.
    async fn counts(&self, task: Option<&Token>, most: usize) -> Result<Counts, StoreError> {
        let mut statement = Statement::new(counts_sql(task.is_some())).bind(limit_to_db(most));
        if let Some(task) = task {
            statement = statement.bind(task.as_str());
        }
        let rows = self.select(Pool::Readers, statement).await?;
        let rows = rows.decode(|row| Ok((row.get(0)?, row.get(1)?, row.seq(2)?)))?;
        Ok(Counts::of(rows))
    }
}

/// The columns that [`read_original`] decodes.
pub(super) const ORIGINAL_COLUMNS: &str =
    "seq, id, kind, subject, logged_at, body, foreign_payload, foreign_headers";

/// Decodes sequence, kind and body.
pub(super) fn read_stored(row: Row<'_>) -> Result<Stored, Error> {
    let kind: &str = row.get("kind")?;
    let kind =
        kind.parse().map_err(|_| unreadable(format!("a row of the unknown kind {kind:?}")))?;
    let body: &[u8] = row.get("body")?;
    Ok(Stored { seq: row.seq("seq")?, kind, body: Bytes::copy_from_slice(body) })
}

/// Decodes [`ORIGINAL_COLUMNS`].
pub(super) fn read_original(row: Row<'_>) -> Result<Original, Error> {
    let headers = row.get::<Option<&[u8]>>("foreign_headers")?;
    let headers: Option<Headers> =
        headers.map(serde_json::from_slice).transpose().map_err(unreadable)?;
    let trace = headers.as_ref().and_then(TraceContext::of_headers);
    let payload = row.get::<Option<Vec<u8>>>("foreign_payload")?;
    let foreign = payload.map(|payload| (payload.into(), headers.unwrap_or_default()));
    Ok(Original {
        stored: read_stored(row)?,
        id: row.get("id")?,
        subject: Subject::from_log(row.get::<String>("subject")?),
        foreign,
        trace,
        logged_at: row.time_set("logged_at")?,
    })
}

/// The statement for [`Counts`]. `$1` is how many types and how many senders to return, `$2` the task, if
/// only its messages count.
fn counts_sql(of_task: bool) -> String {
    let of = |column: &str| {
        if of_task {
            format!(
                "SELECT {column} AS name, CAST(sum(n) AS bigint) AS n FROM task_counts \
                 WHERE task_id = $2 GROUP BY {column}"
            )
        } else {
            format!("SELECT name, n FROM counts WHERE what = '{column}'")
        }
    };
    let largest = |column: &str| {
        let all = of(column);
        format!(
            "SELECT '{column}' AS what, name, n FROM \
             (SELECT name, n FROM ({all}) a ORDER BY n DESC, name LIMIT $1) b"
        )
    };
    let number = |column: &str| {
        format!("SELECT '{column}s' AS what, '' AS name, count(*) AS n FROM ({}) a", of(column))
    };
    let kinds = format!("SELECT 'kind' AS what, name, n FROM ({}) a", of("kind"));
    [kinds, largest("type"), largest("sender_id"), number("type"), number("sender_id")]
        .join(" UNION ALL ")
}

impl Counts {
    /// Collects the rows of [`counts_sql`].
    fn of(rows: Vec<(String, String, u64)>) -> Self {
        let mut counts = Self::default();
        for (what, name, n) in rows {
            match what.as_str() {
                "kind" => drop(counts.by_kind.insert(name, n)),
                "type" => drop(counts.by_type.insert(name, n)),
                "sender_id" => drop(counts.by_sender.insert(name, n)),
                "types" => counts.types = n,
                _ => counts.senders = n,
            }
        }
        counts
    }
}
