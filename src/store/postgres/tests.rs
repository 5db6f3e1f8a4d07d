//! No filter scans the table, in the plans that PostgreSQL's planner chooses.

use std::time::Duration;

use serde_json::Value as Json;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Executor, Row};

use super::PostgresStore;
use super::connection::Role;
use super::database::bind_all;
use super::page::{TABLE, statement};
use crate::limits::{MAX_PLAN_BRANCHES, PAGE_SCAN_ROWS, PARTITION_SEQS};
use crate::message::{Query, SubjectPattern};
use crate::store::contract_tests::opening::{NEWER, OLDER, STILL_OLDER};
use crate::store::contract_tests::{
    LONG, Server, everything, filters, lease, on_postgres, record, seqs, within, write_all,
};
use crate::store::plan::{self, Plan};
use crate::store::sql::Value;
use crate::store::{BusKind, HistoryStore as _, LogStore as _, MembershipState, Store, StoreError};

/// Rows of each of three partitions, which have a million together.
const EACH: u64 = 340_000;
/// One row in this many is odd (its subject is not the one derived from its columns): together far more than
/// a page by subject may read.
const ODD_EVERY: u64 = 40;

/// Fills three partitions with [`EACH`] rows. `old` wrote half of the messages of the first and nothing
/// later. One message in 4,000 has the type `rare`.
const ROWS: &str = "
INSERT INTO messages (seq, id, kind, type, subject, sender_id, sender_role, recipient_id, task_id,
    conversation_id, in_reply_to, created_at, logged_at, body, odd)
SELECT seq, md5(seq::text)::uuid, kind, type, 'agent.' || kind || '.x.' || type, sender, 'role',
    CASE WHEN n % 2 = 0 THEN CASE WHEN sender = 'old' THEN 'boss' ELSE 'r' || n % 5 END END,
    CASE WHEN kind = 'task' THEN 't' || n / 3000 END, CASE WHEN n % 3 = 0 THEN 'c' || n / 3000 END,
    CASE WHEN n % 1000 = 0 THEN md5('1')::uuid END,
    timestamptz '2026-01-01' + n * interval '1 s', now(), 'body of some length', n % ODD_EVERY = 1
FROM (SELECT seq, n, (ARRAY['message', 'status', 'task'])[1 + n % 3] AS kind,
          CASE WHEN n < EACH / 2 AND n % 2 = 0 THEN 'old' WHEN n % 7 = 0 THEN 'few' ELSE 'busy' END AS sender,
          CASE WHEN n % 4000 = 2 THEN 'rare' ELSE 'common' END AS type
      FROM (SELECT (n / EACH) * PARTITION + n % EACH AS seq, n
            FROM generate_series(1::bigint, 3 * EACH - 1) n) a) b;
UPDATE log_state SET committed_through = 3 * PARTITION";

/// One of the partitions.
const PART: &str = "messages_p1";

async fn filled(server: &Server) -> PostgresStore {
    let Server::Postgres(url) = server else { panic!("PostgreSQL alone") };
    let store = PostgresStore::connect(url).await.expect("PostgreSQL opens");
    let records: Vec<_> = (0..3).map(|n| record(n * PARTITION_SEQS)).collect();
    let write = crate::store::Write {
        old_through: 0,
        new_through: 0,
        records: &records,
        holes: &[],
        bare: false,
        lease_for: Duration::ZERO,
    };
    store.partitions.ensure(&store.controls, &write).await.expect("partitions");
    let rows = ROWS
        .replace("PARTITION", &PARTITION_SEQS.to_string())
        .replace("ODD_EVERY", &ODD_EVERY.to_string())
        .replace("EACH", &EACH.to_string());
    server.sql(&rows).await;
    store
}

fn planned(query: &Query, table: &str) -> Plan {
    let bounds = plan::bounds(query, crate::store::sql::to_db(3 * PARTITION_SEQS));
    statement(query, bounds, PAGE_SCAN_ROWS, table)
}

const EXPLAIN: &str = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)";

/// Executes the statement of a page and returns its plan.
async fn explained(store: &PostgresStore, query: &Query, table: &str) -> Json {
    let Plan { sql, values, .. } = planned(query, table);
    let explain = sqlx::query(AssertSqlSafe(format!("{EXPLAIN} {sql}")));
    plan_of(&bind_all(explain, &values).fetch_one(&store.readers).await.expect("a plan"))
}

/// Like [`explained`], with the generic plan, which PostgreSQL uses for any values.
async fn explained_for_any(store: &PostgresStore, query: &Query, table: &str) -> Json {
    let Plan { sql, values, .. } = planned(query, table);
    let literal = |value: Value| match value {
        Value::Int(Some(value)) => value.to_string(),
        Value::Text(Some(value)) => format!("'{value}'"),
        Value::Uuid(Some(value)) => format!("'{value}'"),
        Value::Time(Some(value)) => format!("'{value}'"),
        other => panic!("no plan binds {other:?}"),
    };
    let values: Vec<String> = values.into_iter().map(literal).collect();
    let mut connection = store.readers.acquire().await.expect("a connection");
    let prepare = format!("SET plan_cache_mode = force_generic_plan; PREPARE one AS {sql}");
    connection.execute(AssertSqlSafe(prepare)).await.expect("prepared");
    let execute = format!("{EXPLAIN} EXECUTE one({})", values.join(", "));
    let row = connection.fetch_one(AssertSqlSafe(execute)).await.expect("a plan");
    connection.execute("DEALLOCATE one; RESET plan_cache_mode").await.expect("as it was");
    plan_of(&row)
}

/// The driver is built without a type for JSON, so the value is read as text.
fn plan_of(row: &PgRow) -> Json {
    let text: String = row.try_get_unchecked(0).expect("text");
    serde_json::from_str::<Json>(&text).expect("JSON")[0]["Plan"].take()
}

fn each_node(node: &Json, see: &mut impl FnMut(&Json)) {
    see(node);
    for child in node["Plans"].as_array().into_iter().flatten() {
        each_node(child, see);
    }
}

async fn assert_bounded(store: &PostgresStore, query: &Query, buffers: u64) {
    assert_plan_bounded(&explained(store, query, TABLE).await, query, buffers);
    assert_plan_bounded(&explained(store, query, PART).await, query, buffers);
    assert_plan_bounded(&explained_for_any(store, query, PART).await, query, buffers);
}

fn assert_plan_bounded(plan: &Json, query: &Query, buffers: u64) {
    let read = |key: &str| plan[key].as_u64().unwrap_or_default();
    let touched = read("Shared Hit Blocks") + read("Shared Read Blocks");
    assert!(touched <= buffers, "{touched} buffers for {query:?}\n{plan:#}");
    each_node(plan, &mut |node| {
        let kind = node["Node Type"].as_str().unwrap_or_default();
        assert_ne!(kind, "Seq Scan", "{query:?}\n{plan:#}");
    });
}

async fn no_filter_scans(server: Server) {
    let store = filled(&server).await;
    // First without statistics, then with them.
    for analyse in ["SELECT 1", "ANALYZE messages"] {
        server.sql(analyse).await;
        for (name, buffers) in EVERY_FILTER {
            for descending in [false, true] {
                let mut query = everything(100);
                query.descending = descending;
                query.filter = filters(name);
                assert_bounded(&store, &query, *buffers).await;
                query.after = Some(EACH - 1_000);
                query.before = Some(PARTITION_SEQS + EACH - 1_000);
                assert_bounded(&store, &query, *buffers).await;
            }
        }
        assert_scopes_bounded(&store).await;
        let mut query = everything(100);
        query.between = Some(("old".parse().expect("a token"), "boss".parse().expect("a token")));
        query.descending = true;
        assert_bounded(&store, &query, 300).await;
    }
    store.close().await;
}

async fn assert_scopes_bounded(store: &PostgresStore) {
    let many: Vec<String> = (0..=MAX_PLAN_BRANCHES).map(|n| format!("as=other{n}")).collect();
    let many = many.join("&");
    for (filter, scope, buffers) in EVERY_SCOPE.iter().copied().chain([("", &*many, 3_000)]) {
        for descending in [false, true] {
            let mut query = everything(100);
            query.descending = descending;
            query.filter = within(filter, scope);
            assert_bounded(store, &query, buffers).await;
            if planned(&query, TABLE).tests_scope {
                let plan = explained(store, &query, TABLE).await;
                let rows = rows_read(&plan);
                assert!(rows <= PAGE_SCAN_ROWS as f64, "{rows} rows for {query:?}\n{plan:#}");
            }
            query.after = Some(EACH - 1_000);
            query.before = Some(PARTITION_SEQS + EACH - 1_000);
            assert_bounded(store, &query, buffers).await;
        }
    }
}

/// How many rows the plan's indices return that pass the tests of their branches, beyond one for each index and
/// partition: the next one, which a merge has read.
fn rows_read(plan: &Json) -> f64 {
    let mut rows = 0.0;
    each_node(plan, &mut |node| {
        if node["Relation Name"].is_string() {
            rows += (node["Actual Rows"].as_f64().unwrap_or_default() - 1.0).max(0.0);
        }
    });
    rows
}

async fn survives_the_end_of_its_connections(server: Server) {
    let Server::Postgres(url) = &server else { panic!("PostgreSQL alone") };
    let store = PostgresStore::connect(url).await.expect("PostgreSQL opens");
    let member = store.join(BusKind::Memory).await.expect("answers").expect("alone");
    let lease = lease(&store).await;
    write_all(&store, &lease, 0, &[record(1)]).await.expect("written");
    let all = everything(10);
    // Opens several connections of the pool.
    let pages = futures_util::future::join_all((0..6).map(|_| store.page(&all))).await;
    assert!(pages.iter().all(Result::is_ok));
    server
        .sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
              WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
    for _ in 0..6 {
        assert_eq!(seqs(&store, &all).await, [1]);
        store.renew(&lease, LONG).await.expect("still its own");
    }
    // The write's outcome is unknown: the caller gets an error and writes again.
    let broken = write_all(&store, &lease, 1, &[record(2)]).await;
    assert!(matches!(broken, Err(StoreError::Unavailable(_))), "{broken:?}");
    write_all(&store, &lease, 1, &[record(2)]).await.expect("on a new connection");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let mut lost = false;
    while !(lost && member.state() == MembershipState::Good) {
        lost |= member.state() != MembershipState::Good;
        assert!(tokio::time::Instant::now() < deadline, "the hold is taken again");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let other = PostgresStore::connect(url).await.expect("PostgreSQL opens");
    assert!(other.join(BusKind::Nats).await.expect("answers").is_err());
}

#[tokio::test]
async fn reads_and_writes_go_on_after_a_restart_of_the_database() {
    on_postgres(survives_the_end_of_its_connections).await;
}

async fn no_index_looks_for_equal_keys(server: Server) {
    let Server::Postgres(url) = &server else { panic!("PostgreSQL alone") };
    let store = PostgresStore::connect(url).await.expect("PostgreSQL opens");
    let lease = lease(&store).await;
    write_all(&store, &lease, 0, &[record(1)]).await.expect("written");
    let settings: Vec<Option<Vec<String>>> = sqlx::query_scalar(
        "SELECT c.reloptions FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         WHERE i.indrelid IN ('messages_p0'::regclass, 'messages_p1'::regclass)",
    )
    .fetch_all(&store.readers)
    .await
    .expect("indices");
    assert_eq!(settings.len(), 2 * 18);
    let off = Some(vec!["deduplicate_items=off".to_owned()]);
    assert!(settings.iter().all(|setting| *setting == off), "{settings:?}");
}

#[tokio::test]
async fn a_new_partition_has_all_indices_and_none_looks_for_equal_keys() {
    on_postgres(no_index_looks_for_equal_keys).await;
}

async fn pages_cross_many_partitions(server: Server) {
    let Server::Postgres(url) = &server else { panic!("PostgreSQL alone") };
    let store = PostgresStore::connect(url).await.expect("PostgreSQL opens");
    let lease = lease(&store).await;
    let places: Vec<u64> = (0..23).map(|n| n * PARTITION_SEQS + 7 + (n / 20) * (1 << 32)).collect();
    let records: Vec<_> = places.iter().map(|seq| record(*seq)).collect();
    let last = write_all(&store, &lease, 0, &records).await.expect("written");
    let mut query = everything(30);
    query.filter = filters("sender=alice");
    assert_eq!(seqs(&store, &query).await, places);
    query.limit = 1;
    let page = store.page(&query).await.expect("a page");
    assert_eq!((page.messages[0].seq, page.next), (7, Some(7)));
    (query.limit, query.after, query.before) = (5, Some(places[2]), Some(places[20]));
    assert_eq!(seqs(&store, &query).await, places[3..8]);
    (query.descending, query.before, query.limit) = (true, Some(last), 6);
    let down: Vec<u64> = places[16..22].iter().rev().copied().collect();
    assert_eq!(seqs(&store, &query).await, down);
    query.filter = filters("sender=nobody");
    assert_eq!(seqs(&store, &query).await, [0; 0]);
}

#[tokio::test]
async fn a_page_crosses_as_many_partitions_as_it_needs() {
    on_postgres(pages_cross_many_partitions).await;
}

/// Filters, and how many buffers a page of 100 rows may touch. A row costs at most one buffer, a probe of a
/// partition's index four. The whole table has 2,400.
const EVERY_FILTER: &[(&str, u64)] = &[
    ("", 50),
    ("kind=task", 300),
    ("kind=task&kind=status&kind=message", 300),
    ("type=common", 300),
    ("type=rare", 300),
    ("type=nobody", 60),
    ("type=common&kind=task", 300),
    ("sender=old", 300),
    ("sender=few", 300),
    ("sender=old&kind=message", 300),
    ("sender=busy&type=rare", 300),
    ("sender=old&type=common&type=rare", 300),
    ("sender=nobody&sender=noone", 120),
    ("recipient=boss", 300),
    ("recipient=boss&sender=busy", 60),
    ("recipient=boss&sender=old", 300),
    ("recipient=nobody&broadcast=true", 400),
    ("recipient=boss&broadcast=true&sender=few", 700),
    ("task=t1", 300),
    ("task=t1&type=common", 300),
    ("task=nobody&task=t3", 300),
    ("conversation=c4", 300),
    ("conversation=nobody&kind=task", 60),
    ("in_reply_to=00000000-0000-0000-0000-000000000000", 60),
    ("in_reply_to=c4ca4238-a0b9-2382-0dcc-509a6f75849b", 300),
    ("subject=agent.task.t2.*", 500),
    ("subject=agent.task.nobody.*", 120),
    ("subject=agent.status.old.>", 500),
    ("subject=agent.message.role.common", 500),
    ("subject=agent.message.nobody.>", 120),
    ("subject=agent.*.*.rare", 500),
    ("subject=agent.task.>&subject=agent.status.>", 900),
    ("subject=agent.*.*.nobody&kind=task", 120),
    ("subject=agent.x.y.z.*.*", 200),
];

/// Filters, the scopes of their readers, and how many buffers a page of 100 rows may touch. A page that tests the scope
/// may read [`PAGE_SCAN_ROWS`] rows.
const EVERY_SCOPE: &[(&str, &str, u64)] = &[
    ("", "as=old", 900),
    ("", "as=nobody", 200),
    ("", "as=few&read=agent.task.t2.>", 1_200),
    ("", "read=agent.*.*.rare", 500),
    ("", "read=agent.task.>", 600),
    ("", "read=agent.*.*.*", 300),
    ("kind=task", "as=few", 600),
    ("kind=task", "read=agent.status.nobody.>&as=nobody", 200),
    ("type=common", "as=few", 600),
    ("type=rare", "as=busy", 600),
    ("type=rare", "read=agent.task.>", 400),
    ("type=common", "read=agent.*.*.nobody", 3_000),
    ("task=t1", "as=few", 500),
    ("task=t1", "as=nobody", 500),
    ("recipient=boss", "as=few", 3_000),
    ("recipient=nobody&broadcast=true", "as=nobody", 3_000),
    ("sender=busy", "read=agent.task.t1.>", 3_000),
    ("sender=busy&type=common", "as=nobody", 3_000),
    ("conversation=c4", "as=few", 500),
    ("in_reply_to=c4ca4238-a0b9-2382-0dcc-509a6f75849b", "as=nobody", 1_500),
    ("subject=agent.task.t2.*", "as=few", 500),
    ("subject=agent.*.*.common&kind=message", "as=old", 900),
    ("subject=agent.message.>", "read=agent.message.nobody.>", 200),
    ("subject=agent.status.>", "read=agent.task.>", 100),
];

#[test]
fn every_pattern_of_the_list_is_valid() {
    for (filter, _) in EVERY_FILTER {
        for pattern in filter.split('&').filter_map(|part| part.strip_prefix("subject=")) {
            assert!(pattern.parse::<SubjectPattern>().is_ok(), "{pattern}");
        }
    }
}

#[tokio::test]
async fn no_filter_scans_the_table() {
    on_postgres(no_filter_scans).await;
}

async fn all_commit_to_disk(server: Server) {
    let Server::Postgres(url) = &server else { panic!("PostgreSQL alone") };
    for (asked, wanted) in
        [("off", "on"), ("on", "on"), ("local", "local"), ("remote_apply", "remote_apply")]
    {
        let url = format!("{url}?options=-c%20synchronous_commit%3D{asked}");
        let store = PostgresStore::connect(&url).await.expect("PostgreSQL opens");
        let show = || sqlx::query_scalar::<_, String>("SHOW synchronous_commit");
        let pools = [&store.readers, &store.controls, &store.workers, &store.cursors, &store.jobs];
        for pool in pools {
            assert_eq!(show().fetch_one(pool).await.expect("a setting"), wanted);
        }
        for role in [Role::Write, Role::Member, Role::Schema] {
            let mut one = super::connection::open(&store.options, role).await.expect("opens");
            assert_eq!(show().fetch_one(&mut one).await.expect("a setting"), wanted, "{role:?}");
        }
        assert_eq!(store.weaknesses().await.expect("answers"), [""; 0]);
        store.close().await;
    }
}

#[tokio::test]
async fn every_connection_commits_to_disk() {
    on_postgres(all_commit_to_disk).await;
}

async fn a_memory_server_leaves_an_older_schema_to_those_that_run(server: Server) {
    let Server::Postgres(url) = &server else { panic!("PostgreSQL alone") };
    let store = PostgresStore::connect(url).await.expect("PostgreSQL opens");
    let joined = store.join(BusKind::Nats).await.expect("answers").expect("nobody else runs");
    server.sql(OLDER).await;
    let alone = PostgresStore::connect_for(url, BusKind::Memory).await;
    assert!(matches!(alone.err(), Some(StoreError::Refused(_))));
    server.sql(STILL_OLDER).await;
    // Servers on NATS are updated one after the other.
    PostgresStore::connect(url).await.expect("beside it").close().await;
    server.sql(NEWER).await;
    drop(joined);
    store.close().await;
}

#[tokio::test]
async fn an_older_schema_is_left_to_servers_on_nats() {
    on_postgres(a_memory_server_leaves_an_older_schema_to_those_that_run).await;
}
