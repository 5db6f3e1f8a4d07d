//! The scope of a reader as SQL: one more name of its filter.
//!
//! Invariant: the SQL accepts a row exactly if [`Scope::allows`] accepts its message.
//!
//! [`Scope::allows`]: crate::message::Scope::allows

use super::branch::Name;
use super::overlap::meeting;
use super::subject::Subjects;
use super::writer::Writer;
use crate::message::{Filter, Query, Scope, SubjectPattern, Token};

/// The columns that tell whether a row is in a scope.
const COLUMNS: [&str; 8] =
    ["kind", "type", "subject", "sender_id", "sender_role", "recipient_id", "task_id", "odd"];

/// A scope that may exclude rows which the rest of the filter accepts.
pub(super) struct Reading<'a> {
    pub(super) names: &'a [Token],
    pub(super) subjects: Subjects<'a>,
}

impl<'a> Reading<'a> {
    /// `None` if the scope has every row that the rest of the filter accepts.
    pub(super) fn of(filter: &'a Filter, query: &Query) -> Option<Self> {
        let scope = filter.scope.as_deref()?;
        (!has_all(scope, filter, query)).then(|| Self {
            names: &scope.names,
            subjects: Subjects::of(Name::Scope, meeting(scope, filter).collect(), &filter.kinds),
        })
    }

    /// The scope of the reader of one message.
    pub(super) fn whole(scope: &'a Scope) -> Self {
        let subjects = Subjects::of(Name::Scope, scope.subjects.iter().collect(), &[]);
        Self { names: &scope.names, subjects }
    }

    /// The test whether a row is in the scope.
    pub(super) fn condition(&self, w: &mut Writer<'_>) -> String {
        let tests = [
            self.subjects.condition(w),
            w.one_of("sender_id", self.names),
            w.one_of("recipient_id", self.names),
        ];
        let tests: Vec<String> = tests.into_iter().flatten().collect();
        // An empty scope has no row.
        let tests = if tests.is_empty() { "1 = 0".to_owned() } else { tests.join(" OR ") };
        format!("(({tests}) IS TRUE)")
    }
}

/// Adds the columns that [`Reading::condition`] tests.
pub(super) fn add_columns(columns: &mut String) {
    for column in COLUMNS {
        if !columns.split(", ").any(|known| known == column) {
            columns.push_str(", ");
            columns.push_str(column);
        }
    }
}

/// The page of PostgreSQL from `rows`, which pass the rest of the filter, in the order `order`. The value number `limit`
/// is the most rows to return. Reads no more of `rows` than it returns rows for.
pub(super) fn postgres_page(rows: &str, test: &str, order: &str, limit: usize) -> String {
    format!(
        "SELECT seq, kind, body, mine, looked, last FROM (\
         SELECT seq, kind, CASE WHEN mine THEN body END AS body, mine, \
         row_number() OVER w AS looked, lead(seq) OVER w IS NULL AS last \
         FROM (SELECT seq, kind, body, {test} AS mine FROM ({rows}) c) d \
         WINDOW w AS (ORDER BY {order})) e WHERE mine OR last ORDER BY {order} LIMIT ${limit}"
    )
}

/// The page of SQLite from `rows`, which pass the rest of the filter and are `$3` at most. They keep their order, and
/// are read as the caller fetches.
pub(super) fn sqlite_page(rows: &str, test: &str) -> String {
    format!(
        "SELECT seq, mine, looked FROM (SELECT seq, {test} AS mine, row_number() OVER () AS looked \
         FROM ({rows}) c) d WHERE mine OR looked = $3"
    )
}

fn has_all(scope: &Scope, filter: &Filter, query: &Query) -> bool {
    fn all(names: &[Token], scope: &Scope) -> bool {
        !names.is_empty() && names.iter().all(|name| scope.names.contains(name))
    }
    let covers = |wanted: &SubjectPattern| scope.subjects.iter().any(|p| p.covers(wanted));
    let all_subjects = match &filter.subjects[..] {
        [] => covers(&SubjectPattern::all()),
        wanted => wanted.iter().all(covers),
    };
    let between = query.between.as_ref();
    all_subjects
        || all(&filter.senders, scope)
        || (!filter.broadcast && all(&filter.recipients, scope))
        || between.is_some_and(|(a, b)| scope.names.contains(a) || scope.names.contains(b))
}
