//! From a query to the SQL that finds its rows: pure, for both databases.
//!
//! Invariants: what the SQL finds is exactly what [`Filter::matches`] accepts on
//! what the rows hold, and no filter scans the table. One name of the filter
//! drives: each of its values is a *branch* that walks one index in order of
//! sequence and stops at the page's limit; the other names are tested on the
//! rows it meets. Branches are merged by sequence.
//!
//! The databases are kept from choosing otherwise: in PostgreSQL by the indices'
//! order (see `migrations/postgres`), in SQLite by `INDEXED BY`; and in both,
//! conditions that only test are written `(…) IS TRUE`, which no index answers.
//!
//! [`Filter::matches`]: crate::message::Filter::matches

mod driver;
mod subject;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::sql::{Dialect, Value, limit_to_db, to_db};
use crate::limits::{TIME_INDEX_SEQS, TIME_INDEX_WIDE_SEQS};
use crate::message::{Filter, Kind, Query, Token};
use driver::Branch;
use subject::Subjects;

/// Exclusive bounds of the sequences to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Below the lowest.
    pub after: i64,
    /// Above the highest.
    pub before: i64,
}

/// A statement that answers the rows of a page in its order: in SQLite their
/// sequences, in PostgreSQL what [`POSTGRES_COLUMNS`] names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The statement.
    pub sql: String,
    /// Its values.
    pub values: Vec<Value>,
    /// What it is ordered by.
    pub order: &'static str,
}

/// Of a row in PostgreSQL: whoever has found it has its body too, so that nobody needs to
/// look for it again by its sequence.
const POSTGRES_COLUMNS: &str = "seq, kind, body";

/// The bounds that a query sets by sequence, beneath a watermark.
#[must_use]
pub fn bounds(query: &Query, committed_through: i64) -> Bounds {
    let before = query.before.map_or(i64::MAX, to_db);
    Bounds {
        after: query.after.map_or(-1, to_db),
        before: before.min(committed_through.saturating_add(1)),
    }
}

/// Whether a query asks for messages of every kind in their order, so that the table itself
/// answers it and no index.
#[must_use]
pub fn asks_for_all(query: &Query) -> bool {
    query.filter.is_empty()
        && query.between.is_none()
        && query.since.is_none()
        && query.until.is_none()
        && !query.descending
}

impl Bounds {
    /// Narrows them to the rows of the time index between which the query's
    /// times lie; `None` when a time that was asked for is nowhere.
    #[must_use]
    pub fn narrowed(self, query: &Query, first: Option<i64>, last: Option<i64>) -> Option<Self> {
        let width = to_db(TIME_INDEX_SEQS);
        let mut bounds = self;
        if query.since.is_some() {
            bounds.after = bounds.after.max(first?.saturating_mul(width) - 1);
        }
        if query.until.is_some() {
            bounds.before = bounds.before.min((last? + 1).saturating_mul(width));
        }
        Some(bounds)
    }

    /// Whether no sequence lies between them.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.after.saturating_add(1) >= self.before
    }
}

/// The statement that answers the watermark, and the first and last row of the
/// time index that can hold the times `$1` and later, and `$2` and earlier.
#[must_use]
pub fn time_bounds_sql() -> String {
    let ratio = TIME_INDEX_WIDE_SEQS / TIME_INDEX_SEQS;
    let end = |pick: &str, test: &str| {
        let wide = format!(
            "(SELECT {pick}(bucket) FROM time_index WHERE width = {TIME_INDEX_WIDE_SEQS} AND {test})"
        );
        format!(
            "(SELECT {pick}(bucket) FROM time_index WHERE width = {TIME_INDEX_SEQS} AND {test} \
             AND bucket >= {wide} * {ratio} AND bucket < ({wide} + 1) * {ratio})"
        )
    };
    let (first, last) = (end("min", "max_created >= $1"), end("max", "min_created <= $2"));
    format!("SELECT committed_through, {first} AS first, {last} AS last FROM log_state")
}

/// The statement for one page of a table (`messages`, or a part of it) and one row more,
/// by which the caller sees whether there is a next page.
#[must_use]
pub fn rows(query: &Query, bounds: Bounds, dialect: Dialect, table: &str) -> Plan {
    let columns = match dialect {
        Dialect::Postgres => POSTGRES_COLUMNS,
        Dialect::Sqlite => "seq",
    };
    picked(query, Writer::new(query, bounds, dialect, table, columns))
}

/// The statement that looks at the rows of a page, and one row more, for the first that has not
/// expired by `now`. It answers one row: that one's sequence, the last sequence it looked at, how
/// many rows those are, and how many of them stand before the first.
#[must_use]
pub fn first_unexpired(
    query: &Query,
    bounds: Bounds,
    now: DateTime<Utc>,
    dialect: Dialect,
    table: &str,
) -> Plan {
    let writer = Writer::new(query, bounds, dialect, table, "seq, expires_at");
    let Plan { sql, mut values, order } = picked(query, writer);
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

fn picked(query: &Query, mut writer: Writer<'_>) -> Plan {
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

/// The names of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    InReplyTo,
    Conversation,
    Task,
    Between,
    Recipient,
    Sender,
    Type,
    Kind,
    Subject,
}

/// The names that a branch's index answers, so that they need no test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Names(u16);

impl Names {
    fn of(names: &[Name]) -> Self {
        Self(names.iter().fold(0, |set, name| set | 1 << *name as u16))
    }

    fn with(self, name: Name) -> Self {
        Self(self.0 | 1 << name as u16)
    }

    fn contains(self, name: Name) -> bool {
        self.0 & (1 << name as u16) != 0
    }
}

/// The conditions of a query, one a name, to test on rows met by an index.
struct Tests {
    named: Vec<(Name, String)>,
    times: String,
}

impl Tests {
    /// Only of names that some branch must test: a value that is bound and nowhere
    /// in the SQL would give one text statements with unequal numbers of values,
    /// and a prepared statement is found by its text.
    fn of(
        filter: &Filter,
        query: &Query,
        subjects: &Subjects<'_>,
        branches: &[Branch],
        w: &mut Writer<'_>,
    ) -> Self {
        let mut named = Vec::new();
        let mut add = |name, condition: &dyn Fn(&mut Writer<'_>) -> Option<String>| {
            if branches.iter().any(|branch| !branch.answers.contains(name)) {
                named.extend(condition(w).map(|c| (name, format!("(({c}) IS TRUE)"))));
            }
        };
        add(Name::InReplyTo, &|w| w.one_of_ids("in_reply_to", &filter.in_reply_to));
        add(Name::Conversation, &|w| w.one_of("conversation_id", &filter.conversations));
        add(Name::Task, &|w| w.one_of("task_id", &filter.tasks));
        add(Name::Recipient, &|w| {
            w.one_of("recipient_id", &filter.recipients)
                .map(|c| if filter.broadcast { format!("{c} OR recipient_id IS NULL") } else { c })
        });
        add(Name::Sender, &|w| w.one_of("sender_id", &filter.senders));
        add(Name::Type, &|w| w.one_of("type", &filter.types));
        add(Name::Kind, &|_| (!filter.kinds.is_empty()).then(|| kinds_condition(&filter.kinds)));
        add(Name::Between, &|w| {
            let (a, b) = query.between.as_ref()?;
            let (a, b) = (w.text(a.as_str()), w.text(b.as_str()));
            Some(format!(
                "(sender_id = {a} AND recipient_id = {b}) OR (sender_id = {b} AND recipient_id = {a})"
            ))
        });
        add(Name::Subject, &|w| subjects.condition(w));
        let mut times = String::new();
        for (operator, time) in [(">=", query.since), ("<=", query.until)] {
            if let Some(time) = time {
                let bound = w.bind(time);
                times.push_str(&format!(" AND created_at {operator} {bound}"));
            }
        }
        Self { named, times }
    }
}

fn kinds_condition(kinds: &[Kind]) -> String {
    let names: Vec<String> = kinds.iter().map(|k| format!("'{}'", k.as_str())).collect();
    format!("kind IN ({})", names.join(", "))
}

/// Writes SQL and gathers its values; equal texts share a placeholder.
struct Writer<'a> {
    dialect: Dialect,
    table: &'a str,
    columns: &'static str,
    descending: bool,
    values: Vec<Value>,
}

impl<'a> Writer<'a> {
    /// The first three values are in every statement: the bounds and the limit.
    fn new(
        query: &Query,
        bounds: Bounds,
        dialect: Dialect,
        table: &'a str,
        columns: &'static str,
    ) -> Self {
        let limit = limit_to_db(query.limit);
        let values =
            vec![bounds.after.into(), bounds.before.into(), limit.saturating_add(1).into()];
        Self { dialect, table, columns, descending: query.descending, values }
    }

    fn bind(&mut self, value: impl Into<Value>) -> String {
        let value = value.into();
        let known = self.values.iter().skip(3).position(|old| *old == value);
        let index = known.map_or(self.values.len(), |index| index + 3);
        if known.is_none() {
            self.values.push(value);
        }
        format!("${}", index + 1)
    }

    fn text(&mut self, text: &str) -> String {
        self.bind(text)
    }

    fn one_of(&mut self, column: &str, wanted: &[Token]) -> Option<String> {
        let places: Vec<String> = wanted.iter().map(|t| self.text(t.as_str())).collect();
        (!places.is_empty()).then(|| format!("{column} IN ({})", places.join(", ")))
    }

    fn one_of_ids(&mut self, column: &str, wanted: &[Uuid]) -> Option<String> {
        let places: Vec<String> = wanted.iter().map(|id| self.bind(*id)).collect();
        (!places.is_empty()).then(|| format!("{column} IN ({})", places.join(", ")))
    }

    /// Each sequence once.
    fn distinct(&self) -> &'static str {
        match self.dialect {
            Dialect::Postgres => "DISTINCT ON (seq) ",
            Dialect::Sqlite => "DISTINCT ",
        }
    }

    /// The order of the table itself.
    fn key_order(&self) -> &'static str {
        if self.descending { "seq DESC" } else { "seq" }
    }

    /// The order that the indices deliver, and in PostgreSQL the primary key does not.
    fn index_order(&self) -> &'static str {
        match (self.dialect, self.descending) {
            (Dialect::Postgres, false) => "seq NULLS FIRST",
            (Dialect::Postgres, true) => "seq DESC NULLS LAST",
            (Dialect::Sqlite, false) => "seq",
            (Dialect::Sqlite, true) => "seq DESC",
        }
    }

    fn select(&self, branch: &Branch, tests: &Tests) -> String {
        let mut sql = format!("SELECT {} FROM {}", self.columns, self.table);
        let order = match branch.index {
            Some(_) => self.index_order(),
            None => self.key_order(),
        };
        match (self.dialect, branch.index) {
            (Dialect::Sqlite, Some(index)) => sql.push_str(&format!(" INDEXED BY {index}")),
            (Dialect::Sqlite, None) => sql.push_str(" NOT INDEXED"),
            (Dialect::Postgres, _) => {}
        }
        sql.push_str(" WHERE seq > $1 AND seq < $2");
        for condition in &branch.conditions {
            sql.push_str(" AND ");
            sql.push_str(condition);
        }
        for (name, test) in &tests.named {
            if !branch.answers.contains(*name) {
                sql.push_str(" AND ");
                sql.push_str(test);
            }
        }
        sql.push_str(&tests.times);
        sql.push_str(&format!(" ORDER BY {order} LIMIT $3"));
        sql
    }
}
