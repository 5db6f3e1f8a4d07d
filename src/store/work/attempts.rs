//! How attempts and errors of messages and jobs are stored in both databases.
//!
//! Invariant: what is stored is bounded and holds no U+0000, which PostgreSQL refuses in text. An attempt is
//! a JSON array `[number, microseconds since 1970, "error"]`. The attempts of a message are lines, so that a
//! statement appends one without reading the others. The attempts of a job are one JSON array, since its
//! leases append to that.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::limits::{KEPT_ATTEMPTS_CHARS, MAX_ATTEMPT_ERROR};
use crate::store::error::StoreError;
use crate::store::sql::Dialect;

/// One attempt that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number, from 1 on; starts anew after a redrive.
    pub attempt: u32,
    /// When it ended.
    pub at: DateTime<Utc>,
    /// Why it failed, cut to [`crate::limits::MAX_ATTEMPT_ERROR`] bytes.
    pub error: String,
}

/// The error of an attempt whose lease ran out. It is inserted into SQL and JSON without escapes.
pub(crate) const LOST: &str = "its worker died or gave no sign of life";
/// The reason of a dead letter whose message was due again although its attempts were used up.
pub(crate) const EXHAUSTED: &str = "it has had all the attempts that it may have";

/// An error or a reason as it is stored: cut, and without U+0000.
pub(crate) fn error_text(error: &str) -> String {
    let mut stored = cut(error).replace('\0', "\u{fffd}");
    stored.truncate(cut(&stored).len());
    stored
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_ATTEMPT_ERROR)]
}

/// Encodes one attempt as a line.
pub(crate) fn line(attempt: &Attempt) -> String {
    let error = serde_json::Value::String(error_text(&attempt.error));
    format!("[{},{},{error}]\n", attempt.attempt, attempt.at.timestamp_micros())
}

/// Encodes attempts as lines.
pub(crate) fn lines(attempts: &[Attempt]) -> String {
    attempts.iter().map(line).collect()
}

/// SQL for the line of an attempt whose lease ran out at `due_us`, in microseconds since 1970.
pub(crate) fn lost_line_sql(due_us: &str, newline: &str) -> String {
    format!("'[' || s.attempt || ',' || {due_us} || ',\"{LOST}\"]' || {newline}")
}

/// SQL for the last lines of a column, at most [`KEPT_ATTEMPTS_CHARS`] characters.
pub(crate) fn last_lines_sql(column: &str, dialect: Dialect) -> String {
    let (tail, position, newline) = match dialect {
        Dialect::Postgres => {
            (format!("right({column}, {KEPT_ATTEMPTS_CHARS})"), "strpos", "chr(10)")
        }
        Dialect::Sqlite => {
            (format!("substr({column}, -{KEPT_ATTEMPTS_CHARS})"), "instr", "char(10)")
        }
    };
    format!(
        "CASE WHEN length({column}) <= {KEPT_ATTEMPTS_CHARS} THEN {column} \
         ELSE substr({tail}, {position}({tail}, {newline}) + 1) END"
    )
}

/// SQL that appends an attempt to those of a job. The placeholder `error` is its error, `at_us` when it
/// ended, in microseconds since 1970.
pub(crate) fn append_sql(at_us: &str, error: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::Postgres => format!(
            "(attempts::jsonb || jsonb_build_array(jsonb_build_array(attempt, {at_us}, {error}::text)))::text"
        ),
        Dialect::Sqlite => {
            format!("json_insert(attempts, '$[#]', json_array(attempt, {at_us}, {error}))")
        }
    }
}

/// Decodes the attempts of a message or of a job.
pub(crate) fn decode(stored: &str) -> Result<Vec<Attempt>, StoreError> {
    let array = stored.starts_with("[[") || stored == "[]";
    let decoded: Result<Vec<(u32, i64, String)>, _> = match array {
        true => serde_json::from_str(stored),
        false => stored.lines().map(serde_json::from_str).collect(),
    };
    let unreadable = |why: &dyn std::fmt::Display| {
        StoreError::Unavailable(format!("unreadable attempts in a row: {why}"))
    };
    let attempt = |(attempt, micros, error)| {
        let at = DateTime::from_timestamp_micros(micros)
            .ok_or_else(|| unreadable(&"a time that no calendar has"))?;
        Ok(Attempt { attempt, at, error })
    };
    decoded.map_err(|error| unreadable(&error))?.into_iter().map(attempt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_cut_between_characters_and_holds_no_null() {
        let long = format!("\0{}", "\u{e9}".repeat(MAX_ATTEMPT_ERROR));
        let stored = error_text(&long);
        assert_eq!(stored.len(), MAX_ATTEMPT_ERROR - 1);
        assert!(stored.starts_with("\u{fffd}\u{e9}") && stored.ends_with('\u{e9}'));
    }

    #[test]
    fn attempts_are_decoded_from_lines_and_from_an_array() {
        let at = DateTime::from_timestamp_micros(1_790_000_000_000_001).expect("a time");
        let attempt = |attempt, error: &str| Attempt { attempt, at, error: error.to_owned() };
        let attempts = [attempt(1, "a \"b\"\nc\r\u{2028}\u{85}"), attempt(2, "")];
        let stored = lines(&attempts);
        assert_eq!(stored.matches('\n').count(), 2);
        assert_eq!(decode(&stored).expect("readable"), attempts);
        let array = "[[1, 1790000000000001, \"a \\\"b\\\"\\nc\\r\u{2028}\u{85}\"],[2,1790000000000001,\"\"]]";
        assert_eq!(decode(array).expect("readable"), attempts);
        assert_eq!((decode("").expect("none"), decode("[]").expect("none")), (vec![], vec![]));
    }
}
