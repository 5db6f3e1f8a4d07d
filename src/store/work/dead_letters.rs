//! Dead letters: messages and jobs that were given up.

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use sqlx::Error;
use uuid::Uuid;

use super::attempts::{self, Attempt};
use crate::store::error::StoreError;
use crate::store::sql::{Database, Dialect, Pool, Row, Statement, unreadable};

/// What a dead letter was: a message or a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeadLetterKind {
    /// A message of the log, from a consumer.
    Message,
    /// A job of a work queue.
    Job,
}

impl DeadLetterKind {
    const ALL: [Self; 2] = [Self::Message, Self::Job];

    /// The name on the wire and in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Job => "job",
        }
    }

    fn from_name(name: &str) -> Result<Self, Error> {
        let named = Self::ALL.into_iter().find(|kind| kind.as_str() == name);
        named.ok_or_else(|| unreadable(format!("a row holds the unknown kind {name:?}")))
    }
}

/// A message or job that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// UUIDv7: rises with time.
    pub id: Uuid,
    /// Message or job.
    pub kind: DeadLetterKind,
    /// The consumer's or the queue's name.
    pub source: String,
    /// The sequence of the message, or of the job in its queue; unique within kind and source.
    pub seq: u64,
    /// The subject of a message; `<queue>.<priority>` of a job.
    pub subject: String,
    /// The envelope without `seq`, or the job's JSON.
    pub body: Bytes,
    /// Its failed attempts, as far as they are known.
    pub attempts: Vec<Attempt>,
    /// Why it was given up.
    pub reason: String,
    /// When it was given up.
    pub died_at: DateTime<Utc>,
}

/// Which dead letters to return.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterQuery {
    /// Only of this kind.
    pub kind: Option<DeadLetterKind>,
    /// Only of this consumer or queue.
    pub source: Option<String>,
    /// Only those with a higher id.
    pub after: Option<Uuid>,
    /// At most this many.
    pub limit: usize,
}

/// One page of dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterPage {
    /// The dead letters, by rising id.
    pub letters: Vec<DeadLetter>,
    /// Whether there are more beyond the last one.
    pub more: bool,
}

/// The part of a store that holds dead letters.
#[async_trait]
pub trait DeadLetterStore: Database {
    /// Stores dead letters. Their messages are no longer set aside. A second dead letter of the same kind,
    /// source and sequence changes nothing.
    async fn add_dead_letters(&self, letters: &[DeadLetter]) -> Result<(), StoreError>;

    /// A page of dead letters. If its bodies reach [`crate::limits::MAX_PAGE_BYTES`], it is shorter than its
    /// limit but not empty, and `more` is set.
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<DeadLetterPage, StoreError>;

    /// One dead letter.
    async fn dead_letter(&self, id: Uuid) -> Result<Option<DeadLetter>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM dead_letters{} WHERE id = $1 LIMIT 1",
            by_id(self.dialect())
        );
        let rows = self.select(Pool::Readers, Statement::new(sql).bind(id)).await?;
        rows.first(read_dead_letter)
    }

    /// How many dead letters there are, by kind and source. Leaves out those without any.
    async fn dead_letter_counts(&self) -> Result<Vec<(DeadLetterKind, String, u64)>, StoreError> {
        let statement = Statement::new(
            "SELECT what, source, CAST(sum(n) AS bigint) AS n FROM work_counts \
             WHERE what <> 'set_aside' GROUP BY what, source HAVING sum(n) > 0 ORDER BY what, source",
        );
        self.select(Pool::Readers, statement).await?.decode(|row| {
            let kind = DeadLetterKind::from_name(row.get("what")?)?;
            Ok((kind, row.get("source")?, row.seq("n")?))
        })
    }

    /// Sets the message of a dead letter aside again, due now. No attempt counts yet, but its last errors
    /// stay. Returns `false` if the dead letter or its consumer does not exist, or if it is the dead letter
    /// of a job.
    async fn redrive_message(&self, id: Uuid) -> Result<bool, StoreError> {
        Ok(!self.redrive_messages(&[id]).await?.is_empty())
    }

    /// Does for each of these dead letters what [`Self::redrive_message`] does. Returns the ids of those that
    /// were redriven.
    async fn redrive_messages(&self, ids: &[Uuid]) -> Result<Vec<Uuid>, StoreError>;

    /// Deletes a dead letter. Returns whether it existed.
    async fn discard_dead_letter(&self, id: Uuid) -> Result<bool, StoreError> {
        let sql = format!("DELETE FROM dead_letters{} WHERE id = $1", by_id(self.dialect()));
        Ok(self.execute(Pool::Workers, Statement::new(sql).bind(id)).await? > 0)
    }
}

const COLUMNS: &str = "id, kind, source, seq, subject, body, attempts, reason, died_at";

fn by_id(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "",
        Dialect::Sqlite => " INDEXED BY dead_letters_id",
    }
}

/// The statement for a page and one more dead letter: `$1` is the id before the page, `$2` the limit, `$3`
/// the source, if the query names one. It walks along an index once for each kind.
pub(crate) fn page_sql(query: &DeadLetterQuery, dialect: Dialect) -> String {
    let kinds = query.kind.map_or(DeadLetterKind::ALL.to_vec(), |kind| vec![kind]);
    let (index, source) = match query.source {
        Some(_) => ("dead_letters_source", " AND source = $3"),
        None => ("dead_letters_kind", ""),
    };
    let (hint, order) = match (dialect, &query.source) {
        (Dialect::Sqlite, _) => (format!(" INDEXED BY {index}"), "id"),
        (Dialect::Postgres, Some(_)) => (String::new(), "id"),
        (Dialect::Postgres, None) => (String::new(), "id NULLS FIRST"),
    };
    let walk = |kind: DeadLetterKind| {
        format!(
            "SELECT * FROM (SELECT {COLUMNS} FROM dead_letters{hint} \
             WHERE kind = '{}'{source} AND id > $1 ORDER BY {order} LIMIT $2) b",
            kind.as_str()
        )
    };
    let walks: Vec<String> = kinds.into_iter().map(walk).collect();
    format!("SELECT * FROM ({}) u ORDER BY id LIMIT $2", walks.join(" UNION ALL "))
}

pub(crate) fn read_dead_letter(row: Row<'_>) -> Result<DeadLetter, Error> {
    Ok(DeadLetter {
        id: row.get("id")?,
        kind: DeadLetterKind::from_name(row.get("kind")?)?,
        source: row.get("source")?,
        seq: row.seq("seq")?,
        subject: read_subject(row)?,
        body: row.get::<Vec<u8>>("body")?.into(),
        attempts: attempts::decode(row.get("attempts")?).map_err(unreadable)?,
        reason: row.get("reason")?,
        died_at: row.time_set("died_at")?,
    })
}

/// Decodes a subject. It is stored as bytes, since one from another NATS client may hold U+0000.
pub(super) fn read_subject(row: Row<'_>) -> Result<String, Error> {
    String::from_utf8(row.get("subject")?).map_err(unreadable)
}
