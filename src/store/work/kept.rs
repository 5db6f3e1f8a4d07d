//! How attempts and errors are kept: shared by both stores.
//!
//! Invariant: what is kept is bounded and holds no U+0000, which PostgreSQL
//! refuses in text. Attempts are lines, so that a database adds one without
//! reading the others: `[number, microseconds since 1970, "error"]`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    Attempt, AttemptOutcome, DeadLetter, DeadLetterKind, DeadLetterQuery, LeaseOutcome, SetAside,
};
use crate::limits::{KEPT_ATTEMPTS_CHARS, MAX_ATTEMPT_ERROR, WORK_WRITE_BYTES};
use crate::store::StoreError;
use crate::store::sql::Dialect;

/// The error of an attempt whose lease ran out. Stands in SQL and JSON as it is.
pub(in crate::store) const LOST: &str = "its worker died or gave no sign of life";
/// Why a message is given up that has had its attempts when it is due again.
pub(in crate::store) const SPENT: &str = "it has had all the attempts that it may have";

/// An error or a reason as it is kept.
pub(in crate::store) fn text(told: &str) -> String {
    let mut kept = cut(told).replace('\0', "\u{fffd}");
    kept.truncate(cut(&kept).len());
    kept
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_ATTEMPT_ERROR)]
}

/// The line of one attempt.
pub(in crate::store) fn line(attempt: &Attempt) -> String {
    let error = serde_json::Value::String(text(&attempt.error));
    format!("[{},{},{error}]\n", attempt.attempt, attempt.at.timestamp_micros())
}

/// The lines of many.
pub(in crate::store) fn lines(attempts: &[Attempt]) -> String {
    attempts.iter().map(line).collect()
}

/// SQL for the line of a lease that ran out, in both dialects; `due_us` is when, in microseconds.
pub(in crate::store) fn lost_line_sql(due_us: &str, newline: &str) -> String {
    format!("'[' || s.attempt || ',' || {due_us} || ',\"{LOST}\"]' || {newline}")
}

/// SQL for the last of many lines, in both dialects.
pub(in crate::store) fn last_lines_sql(column: &str, dialect: Dialect) -> String {
    let (tail, position) = match dialect {
        Dialect::Postgres => (format!("right({column}, {KEPT_ATTEMPTS_CHARS})"), "strpos"),
        Dialect::Sqlite => (format!("substr({column}, -{KEPT_ATTEMPTS_CHARS})"), "instr"),
    };
    let newline = match dialect {
        Dialect::Postgres => "chr(10)",
        Dialect::Sqlite => "char(10)",
    };
    format!(
        "CASE WHEN length({column}) <= {KEPT_ATTEMPTS_CHARS} THEN {column} \
         ELSE substr({tail}, {position}({tail}, {newline}) + 1) END"
    )
}

/// Reads back what [`lines`] wrote.
pub(in crate::store) fn read_lines(lines: &str) -> Result<Vec<Attempt>, StoreError> {
    let read = |line: &str| {
        let (attempt, micros, error): (u32, i64, String) =
            serde_json::from_str(line).map_err(|error| unreadable(&error))?;
        let at = DateTime::<Utc>::from_timestamp_micros(micros)
            .ok_or_else(|| unreadable(&"a time beyond what a calendar has"))?;
        Ok(Attempt { attempt, at, error })
    };
    lines.lines().map(read).collect()
}

fn unreadable(why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("unreadable attempts in a row: {why}"))
}

/// Reads a kind of dead letter back.
pub(in crate::store) fn read_kind(text: &str) -> Result<DeadLetterKind, StoreError> {
    [DeadLetterKind::Message, DeadLetterKind::Job]
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| StoreError::Unavailable(format!("a row holds the unknown kind {text:?}")))
}

/// What has a body, and a place that orders the locks of those who write it.
pub(in crate::store) trait HasBody {
    /// Bytes of its body.
    fn bytes(&self) -> usize;
    /// Where it stands.
    fn place(&self) -> (&'static str, &str, u64);
}

impl HasBody for SetAside {
    fn bytes(&self) -> usize {
        self.body.len()
    }

    fn place(&self) -> (&'static str, &str, u64) {
        ("", "", self.seq)
    }
}

impl HasBody for DeadLetter {
    fn bytes(&self) -> usize {
        self.body.len()
    }

    fn place(&self) -> (&'static str, &str, u64) {
        (self.kind.as_str(), &self.source, self.seq)
    }
}

/// In the order of their places, cut where a statement would carry too much.
pub(in crate::store) fn chunks<T: HasBody>(all: &[T]) -> Vec<Vec<&T>> {
    let mut sorted: Vec<&T> = all.iter().collect();
    sorted.sort_by(|a, b| a.place().cmp(&b.place()));
    let (mut chunks, mut bytes) = (Vec::new(), WORK_WRITE_BYTES);
    for one in sorted {
        if bytes >= WORK_WRITE_BYTES {
            chunks.push(Vec::new());
            bytes = 0;
        }
        bytes += one.bytes();
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(one);
        }
    }
    chunks
}

/// The statement for a page of dead letters and one more; `$1` is the id before
/// it, `$2` its limit, `$3` the source, if one. One walk along an index a kind.
pub(in crate::store) fn letters_sql(query: &DeadLetterQuery, dialect: Dialect) -> String {
    let kinds = match query.kind {
        Some(kind) => vec![kind],
        None => vec![DeadLetterKind::Message, DeadLetterKind::Job],
    };
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
            "SELECT * FROM (SELECT id, kind, source, seq, subject, body, attempts, reason, died_at \
             FROM dead_letters{hint} WHERE kind = '{}'{source} AND id > $1 ORDER BY {order} LIMIT $2) b",
            kind.as_str()
        )
    };
    let walks: Vec<String> = kinds.into_iter().map(walk).collect();
    format!("SELECT * FROM ({}) u ORDER BY id LIMIT $2", walks.join(" UNION ALL "))
}

/// A verdict as the statements take it.
pub(in crate::store) struct SettledRow {
    /// `done`, `again`, `returned` or `dead`.
    pub verdict: &'static str,
    /// The line to add to its attempts, or nothing.
    pub line: String,
    /// From now until it is due, if it stays.
    pub delay: Duration,
    /// Why it dies, if it does.
    pub reason: String,
    /// The id of its dead letter, if it dies.
    pub letter: Option<Uuid>,
}

impl SettledRow {
    pub fn of(settled: &LeaseOutcome) -> Self {
        let told = |verdict| Self {
            verdict,
            line: String::new(),
            delay: Duration::ZERO,
            reason: String::new(),
            letter: None,
        };
        match &settled.outcome {
            AttemptOutcome::Done => told("done"),
            AttemptOutcome::Released => told("returned"),
            AttemptOutcome::Retry { attempt, delay } => {
                Self { line: line(attempt), delay: *delay, ..told("again") }
            }
            AttemptOutcome::Dead { attempt, reason } => Self {
                line: attempt.as_ref().map(line).unwrap_or_default(),
                reason: text(reason),
                letter: Some(Uuid::now_v7()),
                ..told("dead")
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_cut_between_characters_and_holds_no_null() {
        let long = format!("\0{}", "\u{e9}".repeat(MAX_ATTEMPT_ERROR));
        let kept = text(&long);
        assert_eq!(kept.len(), MAX_ATTEMPT_ERROR - 1);
        assert!(kept.starts_with("\u{fffd}\u{e9}") && kept.ends_with('\u{e9}'));
    }

    #[test]
    fn attempts_come_back_from_their_lines() {
        let at = DateTime::from_timestamp_micros(1_790_000_000_000_001).expect("a time");
        let attempt = |attempt, error: &str| Attempt { attempt, at, error: error.to_owned() };
        let attempts = [attempt(1, "a \"b\"\nc\r\u{2028}\u{85}"), attempt(2, "")];
        let kept = lines(&attempts);
        assert_eq!(kept.matches('\n').count(), 2);
        assert_eq!(read_lines(&kept).expect("readable"), attempts);
    }
}
