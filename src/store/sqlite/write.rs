//! The write: one transaction with one fsync.
//!
//! SQLite runs on its own thread, and a round trip to it costs as much as several rows. So `BEGIN` is sent
//! with the first statement, and `COMMIT` with the last ones.
//!
//! Invariant: the compare-and-set of the watermark comes first. If it moves nothing, the transaction is
//! rolled back. A connection on which anything failed is dropped with its transaction
//! ([`super::connection::Turn`]).

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{AssertSqlSafe, Error, Sqlite};

use super::fold::fold_statements;
use super::time::StoreTime;
use crate::store::fold::Fold;
use crate::store::log::{Lease, Write};
use crate::store::rows::{Row, Tally};
use crate::store::sql::{insert_parts, to_db};

const INSERT: &str = "INSERT INTO messages (seq, id, kind, type, subject, sender_id, sender_role, \
    recipient_id, task_id, conversation_id, in_reply_to, expires_at, created_at, logged_at, odd, \
    foreign_payload, foreign_headers, body) VALUES ";
const PLACEHOLDERS: &str = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

// Each aggregate is bound as one JSON array, since a statement costs more than its rows.
const HOLES: &str = "INSERT INTO holes (from_seq, to_seq, reason) \
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($1)";
const COUNTS: &str = "INSERT INTO counts (what, name, n) \
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($1) WHERE true \
    ON CONFLICT DO UPDATE SET n = n + excluded.n";
const TASK_COUNTS: &str = "INSERT INTO task_counts (task_id, kind, type, sender_id, n) \
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 \
    FROM json_each($1) WHERE true ON CONFLICT DO UPDATE SET n = n + excluded.n";
const TIMES: &str = "INSERT INTO time_index (width, bucket, min_created, max_created) \
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each($1) WHERE true \
    ON CONFLICT DO UPDATE SET min_created = min(min_created, excluded.min_created), \
    max_created = max(max_created, excluded.max_created)";

/// Writes. Returns `false` if another process has the lease or the watermark is not the old one.
pub(super) async fn write(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    lease: &Lease,
    write: &Write<'_>,
) -> Result<bool, Error> {
    if !begin(time, connection, lease, write).await? {
        sqlx::query("ROLLBACK").execute(connection).await?;
        return Ok(false);
    }
    let rows: Vec<Row<'_>> = write.records.iter().map(|r| Row::of(r, write.bare)).collect();
    insert_rows(connection, &rows).await?;
    let mut sql = String::new();
    let mut arrays = Vec::new();
    for (statement, json) in aggregates(write, &rows)? {
        arrays.push(json);
        sql += &statement.replace("$1", &format!("${}", arrays.len()));
        sql.push(';');
    }
    sql += "COMMIT";
    let end = arrays.into_iter().fold(sqlx::query(AssertSqlSafe(sql)), Query::bind);
    end.execute(connection).await?;
    Ok(true)
}

/// Begins the transaction and moves the watermark. Returns `false` if that moved nothing.
async fn begin(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    lease: &Lease,
    write: &Write<'_>,
) -> Result<bool, Error> {
    let moved = sqlx::query(
        "BEGIN IMMEDIATE; UPDATE log_state SET committed_through = $1, lease_until = $2 \
         WHERE committed_through = $3 AND lease_owner = $4 AND lease_epoch = $5 RETURNING 1",
    )
    .bind(to_db(write.new_through))
    .bind(time.until(write.lease_for))
    .bind(to_db(write.old_through))
    .bind(lease.owner)
    .bind(lease.epoch)
    .fetch_all(connection)
    .await?;
    Ok(moved.len() == 1)
}

/// Inserts rows, many with one statement, in few sizes so that few statements are prepared.
pub(super) async fn insert_rows(
    connection: &mut SqliteConnection,
    rows: &[Row<'_>],
) -> Result<(), Error> {
    for part in insert_parts(rows) {
        let sql = format!("{INSERT}{}", vec![PLACEHOLDERS; part.len()].join(", "));
        let statement = part.iter().fold(sqlx::query(AssertSqlSafe(sql)), bind_row);
        statement.execute(&mut *connection).await?;
    }
    Ok(())
}

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

fn bind_row<'q>(statement: Statement<'q>, row: &Row<'_>) -> Statement<'q> {
    let record = row.record;
    let odd = row.odd.then(|| {
        let tokens: Vec<&str> = row.subject.split('.').collect();
        serde_json::json!(tokens).to_string()
    });
    statement
        .bind(to_db(record.seq))
        .bind(record.id)
        .bind(record.kind.as_str())
        .bind(row.type_)
        .bind(&*row.subject)
        .bind(row.sender_id)
        .bind(row.name(&record.sender_role))
        .bind(row.name(&record.recipient_id))
        .bind(row.name(&record.task_id))
        .bind(row.name(&record.conversation_id))
        .bind(row.optional(record.in_reply_to))
        .bind(row.optional(record.expires_at).map(|time| time.timestamp_micros()))
        .bind(record.created_at.timestamp_micros())
        .bind(record.logged_at.timestamp_micros())
        .bind(odd)
        .bind(row.foreign_payload())
        .bind(row.foreign_headers())
        .bind(&record.body[..])
}

/// The other statements of the write, each with its rows as JSON.
fn aggregates(write: &Write<'_>, rows: &[Row<'_>]) -> Result<Vec<(&'static str, String)>, Error> {
    let tally = Tally::of(rows);
    let holes: Vec<_> =
        write.holes.iter().map(|h| (to_db(h.from), to_db(h.to), h.reason.as_str())).collect();
    let all: Vec<_> = tally.all.iter().map(|((what, name), n)| (what, name, n)).collect();
    let tasks: Vec<_> =
        tally.tasks.iter().map(|((task, (k, t, s)), n)| (task, k, t, s, n)).collect();
    let times: Vec<_> = tally
        .times
        .iter()
        .map(|((width, bucket), (min, max))| {
            (width, bucket, min.timestamp_micros(), max.timestamp_micros())
        })
        .collect();
    let state = fold_statements(&Fold::of(rows));
    let log = [
        (HOLES, holes.is_empty(), serde_json::to_string(&holes)),
        (COUNTS, all.is_empty(), serde_json::to_string(&all)),
        (TASK_COUNTS, tasks.is_empty(), serde_json::to_string(&tasks)),
        (TIMES, times.is_empty(), serde_json::to_string(&times)),
    ];
    log.into_iter()
        .chain(state)
        .filter(|(_, empty, _)| !empty)
        .map(|(statement, _, json)| Ok((statement, json.map_err(|e| Error::Encode(e.into()))?)))
        .collect()
}
