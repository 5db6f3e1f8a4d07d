//! Turns a query into the SQL that finds its rows, for both databases. Does no I/O.
//!
//! Invariants: the SQL finds exactly the rows that [`Filter::matches`] accepts, and no filter scans the
//! table. A filter restricts some *names* (sender, type, task …). One of them is the *driver*: each of its
//! values is a *branch*, which walks one index in order of sequence and stops at the page's limit. The other
//! names are tested on the rows that a branch finds. Branches are merged by sequence.
//!
//! The databases cannot choose another plan: in PostgreSQL because of the order of the indices (see
//! `migrations/postgres`), in SQLite because of `INDEXED BY`. In both, conditions that only test are written
//! `(…) IS TRUE`, which no index answers.
//!
//! [`Filter::matches`]: crate::message::Filter::matches

mod bounds;
mod branch;
mod driver;
mod select;
mod subject;
mod writer;

use chrono::{DateTime, Utc};

use super::sql::{Dialect, Value};
use crate::message::Query;
pub use bounds::{Bounds, bounds, time_bounds_sql};
use branch::{Branch, Name};
use select::Tests;
use subject::Subjects;
use writer::Writer;

/// A statement that returns the rows of a page in the page's order: in SQLite their sequences, in PostgreSQL
/// [`POSTGRES_COLUMNS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The SQL.
    pub sql: String,
    /// The values of its placeholders.
    pub values: Vec<Value>,
    /// The `ORDER BY` of the rows.
    pub order: &'static str,
}

/// The columns of a page in PostgreSQL. The body comes with the row, which saves a second search by sequence.
const POSTGRES_COLUMNS: &str = "seq, kind, body";

/// Whether a query asks for all messages in rising order, so that the primary key answers it.
#[must_use]
pub fn asks_for_all(query: &Query) -> bool {
    query.filter.is_empty()
        && query.between.is_none()
        && query.since.is_none()
        && query.until.is_none()
        && !query.descending
}

/// The statement for the rows of one page of `table` (`messages`, or a partition of it), and one more row,
/// which shows the caller that there is a next page.
#[must_use]
pub fn rows(query: &Query, bounds: Bounds, dialect: Dialect, table: &str) -> Plan {
    let columns = match dialect {
        Dialect::Postgres => POSTGRES_COLUMNS,
        Dialect::Sqlite => "seq",
    };
    plan(query, Writer::new(query, bounds, dialect, table, columns))
}

/// The statement that searches the rows of a page, and one more, for the first that has not expired by `now`.
/// It returns one row: the sequence of the first unexpired message, the last sequence that it read, how many
/// rows it read, and how many of them precede the first unexpired message.
#[must_use]
pub fn first_unexpired(
    query: &Query,
    bounds: Bounds,
    now: DateTime<Utc>,
    dialect: Dialect,
    table: &str,
) -> Plan {
    let writer = Writer::new(query, bounds, dialect, table, "seq, expires_at");
    let Plan { sql, mut values, order } = plan(query, writer);
    values.push(now.into());
    let first = format!(
        "SELECT min(seq) AS seq FROM looked WHERE expires_at IS NULL OR expires_at > ${}",
        values.len()
    );
    let sql = format!(
        "WITH looked AS MATERIALIZED ({sql}), living AS MATERIALIZED ({first}) \
         SELECT (SELECT seq FROM living), max(seq), count(*), \
         count(*) FILTER (WHERE seq < (SELECT seq FROM living)) FROM looked"
    );
    Plan { sql, values, order }
}

fn plan(query: &Query, mut writer: Writer<'_>) -> Plan {
    let filter = query.filter.clone().normalised();
    let subjects = Subjects::of(&filter);
    let branches = driver::branches(&filter, query.between.as_ref(), &subjects, &mut writer);
    let tests = Tests::of(&filter, query, &subjects, &branches, &mut writer);
    let overlapping = branches.iter().any(|b| b.answers.contains(Name::Subject));
    let selects: Vec<String> =
        branches.iter().map(|branch| writer.select(branch, &tests)).collect();
    let order = match &branches[..] {
        [Branch { index: None, .. }] => writer.key_order(),
        _ => writer.index_order(),
    };
    let sql = match &selects[..] {
        [only] => only.clone(),
        _ => {
            let columns = writer.columns;
            let union: Vec<String> =
                selects.iter().map(|s| format!("SELECT {columns} FROM ({s}) b")).collect();
            let distinct = if overlapping { writer.distinct() } else { "" };
            let union = union.join(" UNION ALL ");
            format!("SELECT {distinct}{columns} FROM ({union}) u ORDER BY {order} LIMIT $3")
        }
    };
    Plan { sql, values: writer.values, order }
}
