//! The columns of a row, and what a batch adds to counters and time index. Both stores use it.
//!
//! Invariant: counters and time index depend only on the rows as they are written. A *bare* row (written
//! without its names because the store refused it) counts under the names it is stored with.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::sql::to_db;
use super::trace;
use crate::limits::{TIME_INDEX_SEQS, TIME_INDEX_WIDE_SEQS};
use crate::message::{Kind, Record, Token};

/// The type and the sender of a bare row.
const UNKNOWN: &str = "unknown";

/// A record as it is written.
pub(super) struct Row<'a> {
    pub record: &'a Record,
    pub subject: Cow<'a, str>,
    pub type_: &'a str,
    pub sender_id: &'a str,
    /// Whether the row is *odd*: its subject is not the one that is derived from its columns.
    pub odd: bool,
    bare: bool,
}

impl<'a> Row<'a> {
    /// If `bare`, leaves out all names, and replaces what a text column cannot hold in the subject.
    pub fn of(record: &'a Record, bare: bool) -> Self {
        let subject = record.subject.as_str();
        if bare {
            let subject = if subject.contains('\0') {
                Cow::Owned(subject.replace('\0', "\u{fffd}"))
            } else {
                Cow::Borrowed(subject)
            };
            return Self { record, subject, type_: UNKNOWN, sender_id: UNKNOWN, odd: true, bare };
        }
        Self {
            record,
            subject: Cow::Borrowed(subject),
            type_: record.type_.as_str(),
            sender_id: record.sender_id.as_str(),
            odd: is_odd(record),
            bare,
        }
    }

    /// Whether the row is written without its names.
    pub fn is_bare(&self) -> bool {
        self.bare
    }

    /// The value of an optional column; empty in a bare row.
    pub fn optional<T>(&self, value: Option<T>) -> Option<T> {
        if self.bare { None } else { value }
    }

    /// An optional name; empty in a bare row.
    pub fn name(&self, value: &'a Option<Token>) -> Option<&'a str> {
        self.optional(value.as_ref().map(Token::as_str))
    }

    /// The payload of a foreign message (one by another NATS client).
    pub fn foreign_payload(&self) -> Option<&'a [u8]> {
        self.record.foreign.as_ref().map(|(payload, _)| &payload[..])
    }

    /// As JSON: the headers of a foreign message (one by another NATS client), or else those of the trace that the
    /// message belongs to.
    pub fn foreign_headers(&self) -> Option<Vec<u8>> {
        // This cannot fail: headers are only strings.
        match (&self.record.foreign, &self.record.trace) {
            (Some((_, headers)), _) => serde_json::to_vec(headers).ok(),
            (None, Some(trace)) => Some(trace::encode(trace)),
            (None, None) => None,
        }
    }
}

fn is_odd(record: &Record) -> bool {
    let key = match record.kind {
        Kind::Message => record.sender_role.as_ref(),
        Kind::Status => Some(&record.sender_id),
        Kind::Task => record.task_id.as_ref(),
    };
    key.is_none_or(|key| !record.subject.is_derived(record.kind, key, &record.type_))
}

type Names<'a> = (&'a str, &'a str, &'a str);

/// What a write adds to counters and time index, ordered so that every writer locks rows in the same order.
#[derive(Default)]
pub(super) struct Tally<'a> {
    /// Numbers of messages by column (kind, type or sender) and value.
    pub all: BTreeMap<(&'static str, &'a str), i64>,
    /// Numbers of messages by task, kind, type and sender.
    pub tasks: BTreeMap<(&'a str, Names<'a>), i64>,
    /// Earliest and latest `created_at` by width and bucket of the time index.
    pub times: BTreeMap<(i64, i64), (DateTime<Utc>, DateTime<Utc>)>,
}

impl<'a> Tally<'a> {
    pub fn of(rows: &[Row<'a>]) -> Self {
        let mut tally = Self::default();
        for row in rows {
            let names = (row.record.kind.as_str(), row.type_, row.sender_id);
            for name in [("kind", names.0), ("type", names.1), ("sender_id", names.2)] {
                *tally.all.entry(name).or_default() += 1;
            }
            if let Some(task) = row.name(&row.record.task_id) {
                *tally.tasks.entry((task, names)).or_default() += 1;
            }
            let time = row.record.created_at;
            for width in [TIME_INDEX_SEQS, TIME_INDEX_WIDE_SEQS] {
                let bucket = (to_db(width), to_db(row.record.seq / width));
                let span = tally.times.entry(bucket).or_insert((time, time));
                *span = (span.0.min(time), span.1.max(time));
            }
        }
        tally
    }
}
