//! No filter scans the table, in the plans that SQLite's planner chooses. Connections have their settings.
//! Setting a clock does not move the end of a lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection, Row};

use super::connection::{open, options};
use super::database::bind_all;
use super::time::{Clocks, StoreTime};
use super::{DATABASE_FILE, SqliteStore};
use crate::clock::Clock;
use crate::store::Store as _;
use crate::store::contract_tests::{Server, everything, filters, on_sqlite, within};
use crate::store::jobs::{JobRow, JobStore, QueueRow, QueueStore};
use crate::store::plan::{self, Bounds, Plan};
use crate::store::sql::Dialect;

async fn every_plan_uses_its_index(server: Server) {
    server.open().await.close().await;
    let Server::Sqlite(dir) = &server else { panic!("SQLite alone") };
    let mut connection = open(&options(&dir.join(DATABASE_FILE))).await.expect("opens");
    let time = StoreTime::open(&mut connection, Clocks::system()).await.expect("a time");
    for (filter, index) in [
        ("", "INTEGER PRIMARY KEY"),
        ("kind=task", "messages_direct"),
        ("type=a", "messages_type"),
        ("type=a&kind=task", "messages_type"),
        ("sender=a", "messages_sender"),
        ("sender=a&sender=b&type=c", "messages_sender"),
        ("recipient=a", "messages_recipient"),
        ("recipient=a&broadcast=true", "messages_broadcast"),
        ("recipient=a&sender=b", "messages_recipient"),
        ("task=a&sender=b", "messages_task"),
        ("conversation=a", "messages_conversation"),
        ("in_reply_to=00000000-0000-0000-0000-000000000000", "messages_reply"),
        ("subject=agent.message.a.>", "messages_role"),
        ("subject=agent.*.*.a", "messages_type"),
        ("subject=agent.task.>", "messages_odd_kind"),
        ("subject=agent.*.a.>", "messages_odd_key"),
        ("subject=agent.*.*.a", "messages_odd_type"),
        ("subject=agent.*.*.*.a", "messages_odd"),
    ] {
        for descending in [false, true] {
            let mut query = everything(100);
            query.descending = descending;
            query.filter = filters(filter);
            let bounds = Bounds { after: 0, before: 100 };
            let plan = plan::rows(&query, bounds, 9, Dialect::Sqlite, "messages");
            let steps = steps(&mut connection, &plan, &time).await;
            assert!(steps.iter().any(|step| step.contains(index)), "{filter}: {steps:#?}");
        }
    }
    connection.close().await.expect("closes");
}

/// The steps of a plan, of which each that reads messages searches an index.
async fn steps(connection: &mut SqliteConnection, plan: &Plan, time: &StoreTime) -> Vec<String> {
    let sql = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", plan.sql));
    let rows = bind_all(sqlx::query(sql), &plan.values, time);
    let rows = rows.fetch_all(connection).await.expect("a plan");
    let steps: Vec<String> = rows.iter().map(|row| row.try_get("detail").expect("text")).collect();
    for step in steps.iter().filter(|step| step.contains("messages")) {
        assert!(step.starts_with("SEARCH messages USING "), "{}: {steps:#?}", plan.sql);
    }
    steps
}

/// Filters, the scopes of their readers, whether the scope is tested on rows, and some indices of the plan.
const EVERY_SCOPE: &[(&str, &str, bool, &[&str])] = &[
    ("", "as=a", false, &["messages_sender", "messages_recipient"]),
    (
        "",
        "as=a&read=agent.task.a.>",
        false,
        &["messages_sender", "messages_task", "messages_odd_key"],
    ),
    ("", "read=agent.*.*.a", false, &["messages_type", "messages_odd_type"]),
    ("", "read=agent.task.>", false, &["messages_direct", "messages_broadcast"]),
    ("", "read=agent.*.*.*", true, &["INTEGER PRIMARY KEY"]),
    ("kind=task", "as=a", false, &["messages_sender", "messages_recipient"]),
    ("type=a", "as=a", false, &["messages_sender", "messages_recipient"]),
    ("type=a", "read=agent.task.>", true, &["messages_type"]),
    ("kind=task", "read=agent.task.>", true, &["messages_direct", "messages_broadcast"]),
    ("subject=agent.task.>", "as=a", false, &["messages_sender", "messages_recipient"]),
    ("task=a", "as=a", true, &["messages_task"]),
    ("recipient=a", "as=b", true, &["messages_recipient"]),
    ("recipient=a", "as=a", false, &["messages_recipient"]),
    ("recipient=a&broadcast=true", "as=a", true, &["messages_recipient", "messages_broadcast"]),
    ("sender=a&sender=b", "as=a", true, &["messages_sender"]),
    ("conversation=a", "read=agent.message.>", true, &["messages_conversation"]),
    ("in_reply_to=00000000-0000-0000-0000-000000000000", "as=a", true, &["messages_reply"]),
    ("subject=agent.task.a.>", "as=a", true, &["messages_task", "messages_odd_key"]),
    ("subject=agent.task.a.>", "read=agent.task.>", false, &["messages_task", "messages_odd_key"]),
];

async fn every_scoped_plan_uses_indices(server: Server) {
    server.open().await.close().await;
    let Server::Sqlite(dir) = &server else { panic!("SQLite alone") };
    let mut connection = open(&options(&dir.join(DATABASE_FILE))).await.expect("opens");
    let time = StoreTime::open(&mut connection, Clocks::system()).await.expect("a time");
    for (filter, scope, tests_scope, indices) in EVERY_SCOPE {
        for descending in [false, true] {
            let mut query = everything(100);
            query.descending = descending;
            query.filter = within(filter, scope);
            let bounds = Bounds { after: 0, before: 100 };
            let plan = plan::rows(&query, bounds, 9, Dialect::Sqlite, "messages");
            let steps = steps(&mut connection, &plan, &time).await;
            assert_eq!(plan.tests_scope, *tests_scope, "?{filter} within {scope}");
            for index in *indices {
                assert!(steps.iter().any(|step| step.contains(index)), "{index}: {steps:#?}");
            }
            // What is sorted is read to its end first.
            let sorts = steps.iter().any(|step| step.contains("TEMP B-TREE"));
            assert!(!sorts || !tests_scope, "?{filter} within {scope}: {steps:#?}");
        }
    }
    connection.close().await.expect("closes");
}

#[tokio::test]
async fn no_scope_scans_the_table() {
    on_sqlite(every_scoped_plan_uses_indices).await;
}

#[tokio::test]
async fn no_filter_scans_the_table() {
    on_sqlite(every_plan_uses_its_index).await;
}

async fn every_connection_is_set_up(server: Server) {
    let Server::Sqlite(dir) = &server else { panic!("SQLite alone") };
    let store = super::SqliteStore::open(dir).await.expect("opens");
    for (name, value) in
        [("synchronous", 2), ("secure_delete", 1), ("fullfsync", 1), ("checkpoint_fullfsync", 1)]
    {
        let sql = AssertSqlSafe(format!("PRAGMA {name}"));
        let mut turn = store.writer.turn(&store.options).await.expect("a connection");
        let found: i64 =
            sqlx::query_scalar(sql).fetch_one(turn.connection()).await.expect("a setting");
        turn.end(Ok(())).expect("given back");
        assert_eq!(found, value, "{name}");
    }
}

const DAY: i64 = 86_400;

/// A machine's clocks, in seconds.
#[derive(Clone, Default)]
struct Machine {
    wall: Arc<AtomicI64>,
    uptime: Arc<AtomicI64>,
}

impl Machine {
    fn clocks(&self) -> Clocks {
        let (wall, uptime) = (Arc::clone(&self.wall), Arc::clone(&self.uptime));
        Clocks {
            wall: Clock::from_fn(move || {
                DateTime::from_timestamp(wall.load(Ordering::Relaxed), 0).expect("a time")
            }),
            uptime: Box::new(move || {
                Duration::from_secs(uptime.load(Ordering::Relaxed).unsigned_abs())
            }),
        }
    }

    /// Lets time pass: both clocks advance.
    fn pass(&self, seconds: i64) {
        self.wall.fetch_add(seconds, Ordering::Relaxed);
        self.uptime.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Sets the wall clock forward, or back if `seconds` is negative.
    fn set(&self, seconds: i64) {
        self.wall.fetch_add(seconds, Ordering::Relaxed);
    }
}

async fn opened(server: &Server, machine: &Machine) -> SqliteStore {
    let Server::Sqlite(dir) = server else { panic!("SQLite alone") };
    SqliteStore::open_by(dir, machine.clocks()).await.expect("opens")
}

/// A machine in 2026 whose store has one job, leased for ten seconds.
async fn leased(server: &Server) -> (Machine, SqliteStore) {
    let machine = Machine::default();
    machine.wall.store(1_790_000_000, Ordering::Relaxed);
    machine.pass(1_000);
    let store = opened(server, &machine).await;
    let row = QueueRow {
        name: "q".to_owned(),
        lease: Duration::from_secs(10),
        max_deliver: 9,
        backoff: Vec::new(),
        longest_lease: Duration::ZERO,
        incarnation: None,
    };
    store.put_queue(&row, true, 10).await.expect("kept");
    let (id, body) = (uuid::Uuid::nil(), Bytes::from_static(b"{}"));
    let job = JobRow { id, rank: 1, delay: Duration::ZERO, body, identity: None, trace: None };
    store.add_jobs("q", &[job]).await.expect("kept");
    assert!(is_free(&store).await);
    (machine, store)
}

/// Whether the job can be leased. If so, this leases it for ten seconds.
async fn is_free(store: &SqliteStore) -> bool {
    let found = store.lease_jobs("q", 1, 9, Duration::from_secs(10), None).await.expect("answers");
    !found.jobs.is_empty()
}

async fn a_set_clock_moves_no_end_of_a_lease(server: Server) {
    let (machine, store) = leased(&server).await;
    for jump in [DAY, -2 * DAY, 1, 365 * DAY, -400 * DAY] {
        machine.set(jump);
        machine.pass(9);
        assert!(!is_free(&store).await, "{jump}");
        let next = store.next_job("q", 9).await.expect("answers");
        assert_eq!(next, Some(Duration::from_secs(1)), "{jump}");
        machine.pass(2);
        assert!(is_free(&store).await, "{jump}");
    }
    let leased = store.lease_jobs("q", 1, 9, Duration::from_secs(10), None).await.expect("answers");
    let wall = machine.wall.load(Ordering::Relaxed);
    assert_eq!(leased.expires_at.timestamp(), wall + 10, "shown by the wall clock");
    store.close().await;
}

async fn a_restart_continues_the_store_time(server: Server) {
    let (machine, mut store) = leased(&server).await;
    for jump in [DAY, -2 * DAY, 300 * DAY] {
        // A clock that is set while the server runs does not count as time that passed.
        machine.set(jump);
        store.remove_exhausted_jobs(&[]).await.expect("the sweep that runs each second");
        store.close().await;
        machine.pass(4);
        store = opened(&server, &machine).await;
        assert!(!is_free(&store).await, "{jump}");
        machine.pass(7);
        assert!(is_free(&store).await, "the time while it was down counts: {jump}");
    }
    // A clock that is set back while no server runs does not shorten the lease.
    store.close().await;
    machine.set(-30 * DAY);
    store = opened(&server, &machine).await;
    machine.pass(9);
    assert!(!is_free(&store).await);
    machine.pass(2);
    assert!(is_free(&store).await);
    // A clock that is set forward while no server runs counts as time that passed.
    store.close().await;
    machine.set(DAY);
    store = opened(&server, &machine).await;
    assert!(is_free(&store).await);
    store.close().await;
}

#[tokio::test]
async fn every_connection_syncs_and_overwrites() {
    on_sqlite(every_connection_is_set_up).await;
}

#[tokio::test]
async fn no_clock_that_is_set_moves_the_end_of_a_lease() {
    on_sqlite(a_set_clock_moves_no_end_of_a_lease).await;
}

#[tokio::test]
async fn no_restart_under_another_clock_moves_the_end_of_a_lease() {
    on_sqlite(a_restart_continues_the_store_time).await;
}
