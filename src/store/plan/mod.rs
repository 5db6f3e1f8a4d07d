//! Turns a query into the SQL that finds its rows, for both databases. Does no I/O.
//!
//! Invariants: the SQL finds exactly the rows that [`Filter::matches`] accepts, and no filter scans the
//! table. A filter restricts some *names* (sender, type, task …). One of them is the *driver*: each of its
//! values is a *branch*, which walks one index in order of sequence and stops at the page's limit. The other
//! names are tested on the rows that a branch finds. Branches are merged by sequence.
//!
//! The scope of the reader is one more name. If it is not the driver, few of the rows that the rest of the filter
//! accepts may be in it. So it is tested last, on a bounded number of rows, and the statement says how far that was.
//!
//! The databases cannot choose another plan: in PostgreSQL because of the order of the indices (see
//! `migrations/postgres`), in SQLite because of `INDEXED BY`. In both, conditions that only test are written
//! `(…) IS TRUE`, which no index answers.
//!
//! [`Filter::matches`]: crate::message::Filter::matches

mod bounds;
mod branch;
mod driver;
mod overlap;
mod scope;
mod select;
mod subject;
mod writer;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::sql::{Dialect, Statement, Value, limit_to_db};
use crate::message::{Filter, Query, Scope};
pub use bounds::{Bounds, bounds, time_bounds_sql};
use branch::{Branch, Name};
use scope::Reading;
use select::Tests;
use subject::Subjects;
use writer::Writer;

/// A statement that returns the rows of a page in the page's order: in SQLite their sequences, in PostgreSQL
/// [`POSTGRES_COLUMNS`]. See [`rows`] for what follows if `tests_scope` is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The SQL.
    pub sql: String,
    /// The values of its placeholders.
    pub values: Vec<Value>,
    /// The `ORDER BY` of the rows.
    pub order: &'static str,
    /// Whether the scope is tested on the rows that an index finds. Such a statement reads a bounded number of rows.
    pub tests_scope: bool,
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
///
/// If it tests the scope, it reads at most `scan` rows that pass the rest of the filter, and no more than it needs
/// for the page. It returns the rows in the scope and the last one that it read, with the columns `mine` (whether
/// the row is in the scope), `looked` (how many rows it had read with this one) and, in PostgreSQL, `last`.
/// In SQLite it has no limit, may return a row twice, and returns the last row only if it is the number `scan`.
#[must_use]
pub fn rows(query: &Query, bounds: Bounds, scan: usize, dialect: Dialect, table: &str) -> Plan {
    let columns = match dialect {
        Dialect::Postgres => POSTGRES_COLUMNS,
        Dialect::Sqlite => "seq",
    };
    let writer = Writer::new(query, bounds, dialect, table, columns);
    let (mut plan, scope) = plan(query, limit_to_db(scan).into(), writer);
    if let Some(scope) = scope {
        plan.sql = match dialect {
            Dialect::Postgres => {
                plan.values.push(writer::one_more(query.limit));
                scope::postgres_page(&plan.sql, &scope, plan.order, plan.values.len())
            }
            Dialect::Sqlite => scope::sqlite_page(&plan.sql, &scope),
        };
    }
    plan
}

/// The statement that searches the rows of a page, and one more, for the first that has not expired by `now`.
/// It returns one row: the sequence of the first unexpired message, the last sequence that it read, how many
/// rows it read, and how many of them precede the first unexpired message. If it tests the scope, rows outside of it
/// are read and passed over like expired ones, and a fifth number counts those before the first unexpired message
/// that are in the scope.
#[must_use]
pub fn first_unexpired(
    query: &Query,
    bounds: Bounds,
    now: DateTime<Utc>,
    dialect: Dialect,
    table: &str,
) -> Plan {
    let writer = Writer::new(query, bounds, dialect, table, "seq, expires_at");
    let limit = writer::one_more(query.limit);
    let (mut plan, scope) = plan(query, limit, writer);
    plan.values.push(now.into());
    let now = plan.values.len();
    let (looked, mine, expired) = match scope {
        None => (plan.sql, "", ""),
        Some(scope) => (
            format!("SELECT seq, expires_at, {scope} AS mine FROM ({}) c", plan.sql),
            "mine AND ",
            ", count(*) FILTER (WHERE mine AND seq < coalesce((SELECT seq FROM living), seq + 1))",
        ),
    };
    let first = format!(
        "SELECT min(seq) AS seq FROM looked WHERE {mine}(expires_at IS NULL OR expires_at > ${now})"
    );
    plan.sql = format!(
        "WITH looked AS MATERIALIZED ({looked}), living AS MATERIALIZED ({first}) \
         SELECT (SELECT seq FROM living), max(seq), count(*), \
         count(*) FILTER (WHERE seq < (SELECT seq FROM living)){expired} FROM looked"
    );
    plan
}

/// The statement for the first message with an id that is in a scope, of the first `scan` messages with that id.
/// It returns sequence, kind and body.
#[must_use]
pub fn with_id(id: Uuid, scope: &Scope, scan: usize, dialect: Dialect) -> Statement {
    let mut columns = POSTGRES_COLUMNS.to_owned();
    scope::add_columns(&mut columns);
    let bounds = Bounds { after: -1, before: i64::MAX };
    let query = Query::new(Filter::default(), 0, 0);
    let mut writer = Writer::new(&query, bounds, dialect, "messages", &columns);
    writer.values[2] = limit_to_db(scan).into();
    let id = writer.bind(id);
    let branch = Branch::new("messages_id", format!("id = {id}"), &[]);
    let rows = writer.select(&branch, &Tests::none());
    let test = Reading::whole(scope).condition(&mut writer);
    let sql = format!("SELECT {POSTGRES_COLUMNS} FROM ({rows}) c WHERE {test} LIMIT 1");
    Statement { sql: sql.into(), values: writer.values }
}

/// The plan of a query, and the test of the scope if it is to be tested on the plan's rows. Without that test the rows
/// are those of a page, and one more. With it they are the first rows, up to the limit `scan`, that pass the rest of
/// the filter, with the columns that it tests.
fn plan(query: &Query, scan: Value, mut writer: Writer<'_>) -> (Plan, Option<String>) {
    let filter = query.filter.clone().normalised();
    let subjects = Subjects::of(Name::Subject, filter.subjects.iter().collect(), &filter.kinds);
    let scope = Reading::of(&filter, query);
    let between = query.between.as_ref();
    let branches = driver::branches(&filter, between, &subjects, scope.as_ref(), &mut writer);
    let tests = Tests::of(&filter, query, &subjects, &branches, &mut writer);
    let answers = |name| branches.iter().any(|branch| branch.answers.contains(name));
    let scope = scope.filter(|_| !answers(Name::Scope));
    if scope.is_some() {
        writer.values[2] = scan;
        scope::add_columns(&mut writer.columns);
    }
    let order = match &branches[..] {
        [Branch { index: None, .. }] => writer.key_order(),
        _ => writer.index_order(),
    };
    let sql = match &branches[..] {
        [only] => writer.select(only, &tests),
        _ if scope.is_some() && writer.dialect == Dialect::Sqlite => {
            // SQLite merges these walks row by row, but would sort the results of subqueries first.
            let walks: Vec<String> = branches.iter().map(|b| writer.walk(b, &tests)).collect();
            format!("{} ORDER BY {order} LIMIT $3", walks.join(" UNION ALL "))
        }
        _ => {
            let columns = &writer.columns;
            let select =
                |branch| format!("SELECT {columns} FROM ({}) b", writer.select(branch, &tests));
            let union: Vec<String> = branches.iter().map(select).collect();
            let overlapping = answers(Name::Subject) || answers(Name::Scope);
            let distinct = if overlapping { writer.distinct() } else { "" };
            let union = union.join(" UNION ALL ");
            format!("SELECT {distinct}{columns} FROM ({union}) u ORDER BY {order} LIMIT $3")
        }
    };
    let scope = scope.map(|scope| scope.condition(&mut writer));
    (Plan { sql, values: writer.values, order, tests_scope: scope.is_some() }, scope)
}
