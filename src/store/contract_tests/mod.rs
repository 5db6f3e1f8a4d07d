//! The contract of a store, tested against SQLite and PostgreSQL.
//!
//! SQLite runs in a temporary directory. PostgreSQL runs in a fresh database
//! on the server that `AGENTBUS_TEST_PG_URL` names; without it those tests print
//! that they are skipped.

mod erasures;
mod inbox_front;
mod jobs;
mod keys;
mod newer;
pub(crate) mod opening;
mod paging;
mod schemas;
mod scopes;
mod searching;
mod server;
mod state;
mod visible_tasks;
mod work;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

pub(super) use server::on_sqlite;
pub(crate) use server::{Server, on_postgres};

use super::{Hole, Lease, Store, StoreError, Write};
use crate::message::{Kind, Query, Record, Scope, Subject, Token, parse_rfc3339};

/// Runs each test on both stores.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $name() {
                $crate::store::contract_tests::on_sqlite(super::$name).await;
            })*
        }
        mod postgres {
            $(#[tokio::test] async fn $name() {
                $crate::store::contract_tests::on_postgres(super::$name).await;
            })*
        }
    };
}
use on_both;

/// A lease that outlives every test.
pub(super) const LONG: Duration = Duration::from_secs(600);

pub(super) fn token(text: &str) -> Token {
    text.parse().expect("a token")
}

pub(super) fn time(text: &str) -> DateTime<Utc> {
    parse_rfc3339(text).expect("a time")
}

/// A task event whose subject is derived from its columns.
pub(super) fn record(seq: u64) -> Record {
    let (task, type_) = (token("t1"), token("progress"));
    let created_at =
        time("2026-01-01T00:00:00Z") + chrono::Duration::microseconds(seq as i64 % 1_000_000_007);
    Record {
        seq,
        subject: Subject::derive(Kind::Task, &task, &type_),
        id: Uuid::from_u128(u128::from(seq)),
        kind: Kind::Task,
        type_,
        sender_id: token("alice"),
        sender_role: Some(token("worker")),
        recipient_id: None,
        task_id: Some(task),
        conversation_id: None,
        in_reply_to: None,
        expires_at: None,
        created_at,
        logged_at: created_at,
        body: Bytes::from(format!("{{\"n\":{seq}}}")),
        foreign: None,
        trace: None,
    }
}

pub(super) fn everything(limit: usize) -> Query {
    Query {
        filter: crate::message::Filter::default(),
        after: None,
        before: None,
        since: None,
        until: None,
        between: None,
        limit,
        limit_bytes: crate::limits::MAX_PAGE_BYTES,
        descending: false,
    }
}

/// Parses a query string of plain values into a filter.
pub(super) fn filters(query: &str) -> crate::message::Filter {
    let mut filter = crate::message::Filter::default();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').expect("name=value");
        filter.parse_parameter(name, value).expect("a filter").expect("valid");
    }
    filter
}

/// A filter, parsed as [`filters`] does, of a reader with the grants `as=name` and `read=pattern` of `scope`.
pub(super) fn within(query: &str, scope: &str) -> crate::message::Filter {
    let mut parsed = Scope::default();
    for part in scope.split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some(("as", name)) => parsed.names.push(token(name)),
            Some(("read", pattern)) => parsed.subjects.push(pattern.parse().expect("valid")),
            _ => panic!("{part}"),
        }
    }
    parsed.names.sort_unstable();
    parsed.subjects.sort_unstable();
    filters(query).within(Some(Arc::new(parsed)))
}

pub(super) async fn lease(store: &dyn Store) -> Lease {
    let lease = store.claim(Uuid::now_v7(), LONG, true).await;
    lease.expect("the store answers").expect("forced")
}

/// Writes records above the watermark; the sequences between them become holes. Returns the new watermark.
pub(super) async fn write_all(
    store: &dyn Store,
    lease: &Lease,
    old_through: u64,
    records: &[Record],
) -> Result<u64, StoreError> {
    let mut holes = Vec::new();
    let mut through = old_through;
    for record in records {
        if record.seq > through + 1 {
            let reason = super::HoleReason::Expired;
            holes.push(Hole { from: through + 1, to: record.seq - 1, reason });
        }
        through = record.seq;
    }
    let write = Write {
        old_through,
        new_through: through,
        records,
        holes: &holes,
        bare: false,
        lease_for: LONG,
    };
    store.write(lease, write).await.map(|()| through)
}

pub(super) async fn seqs(store: &dyn Store, query: &Query) -> Vec<u64> {
    let page = store.page(query).await.expect("a page");
    page.messages.iter().map(|message| message.seq).collect()
}
