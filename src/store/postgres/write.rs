//! The write in one statement: rows, holes, counters, time index, fold and watermark.
//!
//! Invariant: every part depends on `moved`, the compare-and-set of the watermark under the lease. A writer
//! that was replaced moves nothing and writes nothing: its update waits for the row lock of the new writer
//! and then sees the new epoch. If the connection breaks, the statement has an unknown outcome, and may even
//! take effect later. The watermark shows whether it did, and a repeat no longer finds the old value.

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use sqlx::{Error, Postgres, Row as _};
use uuid::Uuid;

use super::database::interval;
use super::fold::bind_fold;
use crate::store::fold::Fold;
use crate::store::log::{Lease, Write};
use crate::store::rows::{Row, Tally};
use crate::store::sql::to_db;

const WRITE: &str = "
WITH moved AS (
    UPDATE log_state SET committed_through = $1, lease_until = clock_timestamp() + $2
    WHERE committed_through = $3 AND lease_owner = $4 AND lease_epoch = $5
    RETURNING 1
), new_rows AS (
    INSERT INTO messages (seq, id, kind, type, subject, sender_id, sender_role, recipient_id,
        task_id, conversation_id, in_reply_to, expires_at, created_at, logged_at, body,
        foreign_payload, foreign_headers, odd)
    SELECT unnest($6::bigint[]), unnest($7::uuid[]), unnest($8::text[]), unnest($9::text[]),
        unnest($10::text[]), unnest($11::text[]), unnest($12::text[]), unnest($13::text[]),
        unnest($14::text[]), unnest($15::text[]), unnest($16::uuid[]),
        unnest($17::timestamptz[]), unnest($18::timestamptz[]), unnest($19::timestamptz[]),
        unnest($20::bytea[]), unnest($21::bytea[]), unnest($22::bytea[]),
        unnest($23::boolean[])
    WHERE EXISTS (SELECT FROM moved)
), new_holes AS (
    INSERT INTO holes (from_seq, to_seq, reason)
    SELECT unnest($24::bigint[]), unnest($25::bigint[]), unnest($26::text[])
    WHERE EXISTS (SELECT FROM moved)
), counted AS (
    INSERT INTO counts AS old (what, name, n)
    SELECT unnest($27::text[]), unnest($28::text[]), unnest($29::bigint[])
    WHERE EXISTS (SELECT FROM moved)
    ON CONFLICT (what, name) DO UPDATE SET n = old.n + excluded.n
), counted_by_task AS (
    INSERT INTO task_counts AS old (task_id, kind, type, sender_id, n)
    SELECT unnest($30::text[]), unnest($31::text[]), unnest($32::text[]), unnest($33::text[]),
        unnest($34::bigint[])
    WHERE EXISTS (SELECT FROM moved)
    ON CONFLICT (task_id, kind, type, sender_id) DO UPDATE SET n = old.n + excluded.n
), timed AS (
    INSERT INTO time_index AS old (width, bucket, min_created, max_created)
    SELECT unnest($35::bigint[]), unnest($36::bigint[]), unnest($37::timestamptz[]),
        unnest($38::timestamptz[])
    WHERE EXISTS (SELECT FROM moved)
    ON CONFLICT (width, bucket) DO UPDATE SET
        min_created = least(old.min_created, excluded.min_created),
        max_created = greatest(old.max_created, excluded.max_created)
), folded_agents AS (
    INSERT INTO agents AS old (agent_id, role, status, status_seq, since, last_seen, expires_at)
    SELECT n.agent_id, n.role, n.status, n.status_seq,
        coalesce(CASE WHEN n.unbroken THEN (SELECT a.since FROM agents a
            WHERE a.agent_id = n.agent_id AND a.status = n.status) END, n.since),
        n.last_seen, n.expires_at
    FROM unnest($39::text[], $40::text[], $41::text[], $42::bigint[], $43::timestamptz[],
        $44::boolean[], $45::timestamptz[], $46::timestamptz[])
        AS n(agent_id, role, status, status_seq, since, unbroken, last_seen, expires_at)
    WHERE EXISTS (SELECT FROM moved)
    ON CONFLICT (agent_id) DO UPDATE SET
        role = coalesce(excluded.role, old.role),
        status = coalesce(excluded.status, old.status),
        status_seq = coalesce(excluded.status_seq, old.status_seq),
        since = CASE WHEN excluded.status IS NULL THEN old.since ELSE excluded.since END,
        last_seen = coalesce(excluded.last_seen, old.last_seen),
        expires_at = CASE WHEN excluded.status IS NULL THEN old.expires_at
            ELSE excluded.expires_at END
), folded_tasks AS (
    INSERT INTO tasks AS old (task_id, outcome, last_event, messages, events, late_events,
        first_seq, last_seq)
    SELECT unnest($47::text[]), unnest($48::text[]), unnest($49::text[]),
        unnest($50::bigint[]), unnest($51::bigint[]), unnest($52::bigint[]),
        unnest($53::bigint[]), unnest($54::bigint[])
    WHERE EXISTS (SELECT FROM moved)
    ON CONFLICT (task_id) DO UPDATE SET
        outcome = coalesce(old.outcome, excluded.outcome),
        last_event = coalesce(excluded.last_event, old.last_event),
        messages = old.messages + excluded.messages,
        events = old.events + excluded.events,
        late_events = CASE WHEN old.outcome IS NULL THEN excluded.late_events
            ELSE old.late_events + excluded.events END,
        last_seq = excluded.last_seq
), folded_inboxes AS (
    INSERT INTO inboxes AS old (agent_id, received, last_expiring)
    SELECT unnest($55::text[]), unnest($56::bigint[]), unnest($57::bigint[])
    WHERE EXISTS (SELECT FROM moved)
    ON CONFLICT (agent_id) DO UPDATE SET
        received = old.received + excluded.received,
        last_expiring = coalesce(excluded.last_expiring, old.last_expiring)
)
SELECT count(*) AS moved FROM moved";

type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// Writes. Returns `false` if another process has the lease or the watermark is not the old one.
pub(super) async fn write(
    connection: &mut PgConnection,
    lease: &Lease,
    write: &Write<'_>,
) -> Result<bool, Error> {
    let statement = statement(lease, write);
    let answer = statement.fetch_one(connection).await?;
    Ok(answer.try_get::<i64, _>("moved")? == 1)
}

fn statement<'q>(lease: &Lease, write: &Write<'_>) -> Statement<'q> {
    let rows: Vec<Row<'_>> = write.records.iter().map(|r| Row::of(r, write.bare)).collect();
    let statement = sqlx::query(WRITE)
        .bind(to_db(write.new_through))
        .bind(interval(write.lease_for))
        .bind(to_db(write.old_through))
        .bind(lease.owner)
        .bind(lease.epoch);
    let statement = bind_rows(statement, &rows);
    let holes = write.holes;
    let statement = statement
        .bind(holes.iter().map(|hole| to_db(hole.from)).collect::<Vec<i64>>())
        .bind(holes.iter().map(|hole| to_db(hole.to)).collect::<Vec<i64>>())
        .bind(holes.iter().map(|hole| hole.reason.as_str()).collect::<Vec<&str>>());
    bind_fold(bind_tally(statement, &Tally::of(&rows)), &Fold::of(&rows))
}

fn bind_rows<'q>(statement: Statement<'q>, rows: &[Row<'_>]) -> Statement<'q> {
    fn column<'r, T>(rows: &'r [Row<'r>], of: impl Fn(&'r Row<'r>) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
    statement
        .bind(column(rows, |r| to_db(r.record.seq)))
        .bind(column(rows, |r| r.record.id))
        .bind(column(rows, |r| r.record.kind.as_str()))
        .bind(column(rows, |r| r.type_))
        .bind(column(rows, |r| &*r.subject))
        .bind(column(rows, |r| r.sender_id))
        .bind(column(rows, |r| r.name(&r.record.sender_role)))
        .bind(column(rows, |r| r.name(&r.record.recipient_id)))
        .bind(column(rows, |r| r.name(&r.record.task_id)))
        .bind(column(rows, |r| r.name(&r.record.conversation_id)))
        .bind(column(rows, |r| r.optional(r.record.in_reply_to)) as Vec<Option<Uuid>>)
        .bind(column(rows, |r| r.optional(r.record.expires_at)) as Vec<Option<DateTime<Utc>>>)
        .bind(column(rows, |r| r.record.created_at))
        .bind(column(rows, |r| r.record.logged_at))
        .bind(column(rows, |r| &r.record.body[..]))
        .bind(column(rows, |r| r.foreign_payload()))
        .bind(column(rows, |r| r.foreign_headers()))
        .bind(column(rows, |r| r.odd))
}

fn bind_tally<'q>(statement: Statement<'q>, tally: &Tally<'_>) -> Statement<'q> {
    let all = || tally.all.keys();
    let tasks = || tally.tasks.keys();
    statement
        .bind(all().map(|(what, _)| *what).collect::<Vec<_>>())
        .bind(all().map(|(_, name)| *name).collect::<Vec<_>>())
        .bind(tally.all.values().copied().collect::<Vec<_>>())
        .bind(tasks().map(|(task, _)| *task).collect::<Vec<_>>())
        .bind(tasks().map(|(_, (kind, _, _))| *kind).collect::<Vec<_>>())
        .bind(tasks().map(|(_, (_, type_, _))| *type_).collect::<Vec<_>>())
        .bind(tasks().map(|(_, (_, _, sender))| *sender).collect::<Vec<_>>())
        .bind(tally.tasks.values().copied().collect::<Vec<_>>())
        .bind(tally.times.keys().map(|(width, _)| *width).collect::<Vec<_>>())
        .bind(tally.times.keys().map(|(_, bucket)| *bucket).collect::<Vec<_>>())
        .bind(tally.times.values().map(|(min, _)| *min).collect::<Vec<_>>())
        .bind(tally.times.values().map(|(_, max)| *max).collect::<Vec<_>>())
}
