//! The databases of the suite, and plain statements on PostgreSQL.
//!
//! A table with the columns and indices of `messages`, an insert of arrays, and a read by key.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};
use uuid::Uuid;

use agentbus::limits::{PARTITION_SEQS, TIME_INDEX_SEQS, TIME_INDEX_WIDE_SEQS};
use agentbus::store::Store as _;
use agentbus::store::postgres::{PostgresStore, create_partition_sql};

use crate::error::SuiteError;

const INSERT: &str = "INSERT INTO bare (seq, id, kind, type, subject, sender_id, sender_role, \
    recipient_id, task_id, conversation_id, in_reply_to, expires_at, created_at, logged_at, body, \
    foreign_payload, foreign_headers, odd) SELECT * FROM unnest($1::bigint[], $2::uuid[], \
    $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], \
    $10::text[], $11::uuid[], $12::timestamptz[], $13::timestamptz[], $14::timestamptz[], \
    $15::bytea[], $16::bytea[], $17::bytea[], $18::boolean[])";
const READ: &str = "SELECT seq, body FROM messages WHERE seq > $1 ORDER BY seq LIMIT $2";

/// Inserts rows of `messages` from one sequence to another, and the time index, as the projector would: events of a
/// hundred tasks by fifty senders, ten milliseconds apart. With ten thousand messages each task has a full page of
/// history.
const GROW: &str = "
INSERT INTO messages (seq, id, kind, type, subject, sender_id, task_id, created_at, logged_at, body)
SELECT g, m.id, 'task', 'note', m.subject, m.sender, m.task, m.at, m.at,
    convert_to('{\"id\":\"' || m.id || '\",\"kind\":\"task\",\"type\":\"note\",\"subject\":\"' || m.subject
        || '\",\"sender_id\":\"' || m.sender || '\",\"task_id\":\"' || m.task || '\",\"content\":\"'
        || repeat('x', 128) || '\",\"metadata\":{},\"created_at\":\"'
        || to_char(m.at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') || '\"}', 'UTF8')
FROM generate_series(FROM_SEQ, TO_SEQ) g, LATERAL (SELECT
    (lpad(to_hex(g), 12, '0') || '70008000' || lpad(to_hex(g), 12, '0'))::uuid AS id,
    'agent.task.t' || g % 100 || '.note' AS subject, 'a' || g % 50 AS sender, 't' || g % 100 AS task,
    timestamptz '2026-01-01 00:00:00Z' + g * interval '10 ms' AS at) m;
INSERT INTO time_index (width, bucket, min_created, max_created)
SELECT w, seq / w, min(created_at), max(created_at)
FROM messages, (VALUES (NARROW::bigint), (WIDE::bigint)) widths(w)
WHERE seq BETWEEN FROM_SEQ AND TO_SEQ GROUP BY w, seq / w
ON CONFLICT (width, bucket) DO UPDATE SET max_created = excluded.max_created;
UPDATE log_state SET committed_through = TO_SEQ";

/// Inserts what the projector would have derived from all rows: counts, tasks and agents.
const GROW_FOLDS: &str = "
INSERT INTO counts (what, name, n)
SELECT 'kind', kind, count(*) FROM messages GROUP BY kind UNION ALL
SELECT 'type', type, count(*) FROM messages GROUP BY type UNION ALL
SELECT 'sender_id', sender_id, count(*) FROM messages GROUP BY sender_id;
INSERT INTO task_counts (task_id, kind, type, sender_id, n)
SELECT task_id, kind, type, sender_id, count(*) FROM messages GROUP BY 1, 2, 3, 4;
INSERT INTO tasks (task_id, last_event, messages, events, late_events, first_seq, last_seq)
SELECT task_id, 'note', count(*), count(*), 0, min(seq), max(seq) FROM messages GROUP BY task_id;
INSERT INTO agents (agent_id, last_seen)
SELECT sender_id, max(created_at) FROM messages GROUP BY sender_id;
ANALYZE";

/// A database with a unique name.
pub struct BareDatabase {
    server: PgConnectOptions,
    name: String,
    url: String,
}

/// A table with the columns and indices of `messages`.
pub struct BareTable {
    connection: PgConnection,
}

impl BareDatabase {
    /// Names a database, which [`Self::create`] creates, on the server of `url`.
    ///
    /// # Errors
    /// The URL is invalid.
    pub fn named(url: &str, name: &str) -> Result<Self, SuiteError> {
        let (server, url) = (options(url)?, with_database(url, name)?);
        Ok(Self { server, name: name.to_owned(), url })
    }

    /// Creates the database.
    ///
    /// # Errors
    /// The server cannot be reached, the user may not create databases, or the name is in use.
    pub async fn create(&self) -> Result<(), SuiteError> {
        run(&self.server, format!("CREATE DATABASE {}", self.name)).await
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Drops the database, and closes all connections to it.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn remove(&self) -> Result<(), SuiteError> {
        run(&self.server, format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)).await
    }

    async fn connect(&self) -> Result<PgConnection, SuiteError> {
        Ok(options(&self.url)?.connect().await?)
    }

    /// Creates the schema of agentbus and a bare table.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn table(&self) -> Result<BareTable, SuiteError> {
        PostgresStore::connect(&self.url).await?.close().await;
        let mut connection = self.connect().await?;
        let create = "CREATE TABLE IF NOT EXISTS bare (LIKE messages INCLUDING ALL)";
        connection.execute(create).await?;
        Ok(BareTable { connection })
    }

    /// Creates the schema of agentbus with this number of messages, which the database generates.
    ///
    /// # Errors
    /// A statement fails.
    pub async fn grow(&self, messages: u64) -> Result<(), SuiteError> {
        PostgresStore::connect(&self.url).await?.close().await;
        let mut connection = self.connect().await?;
        let mut from = 1;
        while from <= messages {
            let index = from / PARTITION_SEQS;
            let to = messages.min((index + 1) * PARTITION_SEQS - 1);
            let numbers = [
                ("FROM_SEQ", from),
                ("TO_SEQ", to),
                ("NARROW", TIME_INDEX_SEQS),
                ("WIDE", TIME_INDEX_WIDE_SEQS),
            ];
            let grow = numbers.iter().fold(GROW.to_owned(), |sql, (name, number)| {
                sql.replace(name, &number.to_string())
            });
            for sql in [create_partition_sql(index), grow] {
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
            }
            from = to + 1;
        }
        sqlx::raw_sql(GROW_FOLDS).execute(&mut connection).await?;
        Ok(())
    }

    /// Reads all rows of `messages` after `after` in order, and passes pages of `rows` to `take`; returns their number.
    ///
    /// # Errors
    /// The server or `take` fails.
    pub async fn read<F: Future<Output = std::io::Result<()>>>(
        &self,
        after: i64,
        rows: i64,
        mut take: impl FnMut(Vec<(i64, Vec<u8>)>) -> F,
    ) -> Result<u64, SuiteError> {
        let mut connection = self.connect().await?;
        let (mut after, mut count) = (after, 0);
        loop {
            let page = sqlx::query(READ).bind(after).bind(rows).fetch_all(&mut connection).await;
            let read: Result<Vec<(i64, Vec<u8>)>, sqlx::Error> =
                page?.into_iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect();
            let read = read?;
            let Some((last, _)) = read.last() else { return Ok(count) };
            after = *last;
            count += read.len() as u64;
            take(read).await?;
        }
    }

    /// The server's version.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn server_version(&self) -> Result<String, SuiteError> {
        let mut connection = self.connect().await?;
        Ok(sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await?)
    }
}

impl BareTable {
    /// Inserts a row for each body, with ascending sequences. The other columns have fixed values.
    ///
    /// # Errors
    /// The statement fails.
    #[expect(clippy::disallowed_methods, reason = "a bare part, measured without the server")]
    pub async fn insert(&mut self, first: u64, bodies: &[Bytes]) -> Result<(), SuiteError> {
        let count = bodies.len();
        let seqs: Vec<i64> = (first..).take(count).map(to_db).collect();
        let ids: Vec<Uuid> = (0..count).map(|_| Uuid::now_v7()).collect();
        let texts: Vec<Option<&str>> = vec![None; count];
        let bytes: Vec<Option<&[u8]>> = vec![None; count];
        let times: Vec<DateTime<Utc>> = vec![Utc::now(); count];
        let statement = sqlx::query(INSERT)
            .bind(seqs)
            .bind(ids)
            .bind(vec!["message"; count])
            .bind(vec!["bench"; count])
            .bind(vec!["agent.message.agent.bench"; count])
            .bind(vec!["bench"; count])
            .bind(vec!["agent"; count])
            .bind(texts.clone())
            .bind(texts.clone())
            .bind(texts)
            .bind(vec![None::<Uuid>; count])
            .bind(vec![None::<DateTime<Utc>>; count])
            .bind(times.clone())
            .bind(times)
            .bind(bodies.iter().map(|body| &body[..]).collect::<Vec<_>>())
            .bind(bytes.clone())
            .bind(bytes)
            .bind(vec![false; count]);
        statement.execute(&mut self.connection).await?;
        Ok(())
    }

    /// Inserts for a time, `rows` in each statement; returns rows a second.
    ///
    /// # Errors
    /// A statement fails.
    pub async fn fill(
        &mut self,
        body: &Bytes,
        rows: usize,
        duration: Duration,
    ) -> Result<f64, SuiteError> {
        self.connection.execute("TRUNCATE bare").await?;
        let bodies = vec![body.clone(); rows];
        let (started, mut next) = (Instant::now(), 1_u64);
        while started.elapsed() < duration {
            self.insert(next, &bodies).await?;
            next += rows as u64;
        }
        Ok((next - 1) as f64 / started.elapsed().as_secs_f64())
    }
}

async fn run(server: &PgConnectOptions, sql: String) -> Result<(), SuiteError> {
    let mut connection = server.connect().await?;
    connection.execute(AssertSqlSafe(sql)).await?;
    Ok(connection.close().await?)
}

fn options(url: &str) -> Result<PgConnectOptions, SuiteError> {
    let options: PgConnectOptions = url.parse()?;
    Ok(options.application_name("agentbus bench").disable_statement_logging())
}

fn to_db(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// The same URL with another database.
fn with_database(url: &str, name: &str) -> Result<String, SuiteError> {
    let mut url: url::Url = url
        .parse()
        .map_err(|error| SuiteError::Failed(format!("DATABASE_URL is invalid: {error}")))?;
    url.set_path(name);
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_of_a_url_changes() {
        let other = with_database("postgres://u:p@h:1/a?sslmode=disable", "b");
        assert_eq!(other.expect("an address"), "postgres://u:p@h:1/b?sslmode=disable");
        assert_eq!(with_database("postgres://u@h", "b").expect("one"), "postgres://u@h/b");
        assert!(with_database("h", "b").is_err());
    }
}
