//! Placeholders, columns and orders of a statement, by dialect.

use uuid::Uuid;

use super::bounds::Bounds;
use crate::message::{Kind, Query, Token};
use crate::store::sql::{Dialect, Value, limit_to_db};

pub(super) fn kinds_condition(kinds: &[Kind]) -> String {
    let names: Vec<String> = kinds.iter().map(|k| format!("'{}'", k.as_str())).collect();
    format!("kind IN ({})", names.join(", "))
}

/// The rows of a page, and one more, which shows that there is a next page.
pub(super) fn one_more(limit: usize) -> Value {
    limit_to_db(limit).saturating_add(1).into()
}

/// Writes SQL and collects its values; equal values share a placeholder.
pub(super) struct Writer<'a> {
    pub(super) dialect: Dialect,
    pub(super) table: &'a str,
    pub(super) columns: String,
    pub(super) descending: bool,
    pub(super) values: Vec<Value>,
}

impl<'a> Writer<'a> {
    /// Begins a statement. Its first three values are the bounds and the limit.
    pub(super) fn new(
        query: &Query,
        bounds: Bounds,
        dialect: Dialect,
        table: &'a str,
        columns: &str,
    ) -> Self {
        let values = vec![bounds.after.into(), bounds.before.into(), one_more(query.limit)];
        let (columns, descending) = (columns.to_owned(), query.descending);
        Self { dialect, table, columns, descending, values }
    }

    pub(super) fn bind(&mut self, value: impl Into<Value>) -> String {
        let value = value.into();
        let known = self.values.iter().skip(3).position(|old| *old == value);
        let index = known.map_or(self.values.len(), |index| index + 3);
        if known.is_none() {
            self.values.push(value);
        }
        format!("${}", index + 1)
    }

    pub(super) fn text(&mut self, text: &str) -> String {
        self.bind(text)
    }

    pub(super) fn one_of(&mut self, column: &str, wanted: &[Token]) -> Option<String> {
        let values_sql: Vec<String> = wanted.iter().map(|t| self.text(t.as_str())).collect();
        (!values_sql.is_empty()).then(|| format!("{column} IN ({})", values_sql.join(", ")))
    }

    pub(super) fn one_of_ids(&mut self, column: &str, wanted: &[Uuid]) -> Option<String> {
        let values_sql: Vec<String> = wanted.iter().map(|id| self.bind(*id)).collect();
        (!values_sql.is_empty()).then(|| format!("{column} IN ({})", values_sql.join(", ")))
    }

    /// The keyword that removes duplicates, since branches may overlap.
    pub(super) fn distinct(&self) -> &'static str {
        match self.dialect {
            Dialect::Postgres => "DISTINCT ON (seq) ",
            Dialect::Sqlite => "DISTINCT ",
        }
    }

    /// The order of the primary key.
    pub(super) fn key_order(&self) -> &'static str {
        if self.descending { "seq DESC" } else { "seq" }
    }

    /// The order of the secondary indices. In PostgreSQL they sort nulls the other way from the primary key,
    /// so the planner cannot take the primary key instead.
    pub(super) fn index_order(&self) -> &'static str {
        match (self.dialect, self.descending) {
            (Dialect::Postgres, false) => "seq NULLS FIRST",
            (Dialect::Postgres, true) => "seq DESC NULLS LAST",
            (Dialect::Sqlite, false) => "seq",
            (Dialect::Sqlite, true) => "seq DESC",
        }
    }
}
