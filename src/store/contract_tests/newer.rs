//! A database of a newer version: its migrations, its columns.

use super::jobs::{add, job, lease as lease_jobs};
use super::keys::key;
use super::opening::{OLDER, STILL_OLDER};
use super::schemas::schema;
use super::work::webhooks::webhook;
use super::work::{NAME, make, message};
use super::*;
use crate::store::SchemaDifference;
use crate::store::jobs::JobSettlement;
use crate::store::work::{AttemptOutcome, DeadLetterQuery, LeaseOutcome};

on_both!(
    newer_migrations_are_accepted_unless_one_breaks,
    a_changed_migration_is_refused,
    a_difference_is_told_and_nothing_changed,
    columns_of_a_newer_version_do_no_harm,
);

/// Applies a migration that no version knows.
const UNKNOWN: &str = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
     VALUES (999, 'more', true, 'x', 0)";
const TABLES: [&str; 24] = [
    "log_state",
    "messages",
    "holes",
    "counts",
    "task_counts",
    "time_index",
    "agents",
    "tasks",
    "inboxes",
    "inbox_cursors",
    "consumers",
    "set_aside",
    "dead_letters",
    "work_counts",
    "webhooks",
    "lease_secret",
    "queues",
    "jobs",
    "job_ids",
    "job_attempts",
    "keys",
    "key_secrets",
    "audit",
    "schemas",
];

async fn newer_migrations_are_accepted_unless_one_breaks(server: Server) {
    server.open().await.close().await;
    server.sql(UNKNOWN).await;
    let store = server.open().await;
    use_everything(&*store, 1).await;
    store.close().await;
    let breaks = "UPDATE _sqlx_migrations SET description = 'breaking_more' WHERE version = 999";
    server.sql(breaks).await;
    match server.try_open().await.err() {
        Some(StoreError::Refused(reason)) => {
            assert!(reason.contains("0999_breaking_more"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
}

async fn a_changed_migration_is_refused(server: Server) {
    server.open().await.close().await;
    server.sql("UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = 1").await;
    assert!(matches!(server.try_open().await.err(), Some(StoreError::Refused(_))));
}

async fn a_difference_is_told_and_nothing_changed(server: Server) {
    server.open().await.close().await;
    assert_eq!(server.inspect().await, SchemaDifference::default());
    server.sql(OLDER).await;
    server.sql(UNKNOWN).await;
    let SchemaDifference { missing, unknown } = server.inspect().await;
    assert_eq!((missing.len(), unknown.len()), (1, 1));
    assert_eq!(unknown[0].to_string(), "0999_more");
    server.sql(STILL_OLDER).await;
    server.open().await.close().await;
    assert_eq!(server.inspect().await.missing, []);
}

/// The columns come while the store is in use, so its connections have prepared their statements.
async fn columns_of_a_newer_version_do_no_harm(server: Server) {
    let store = server.open().await;
    // More rounds than a pool has connections.
    for round in 1..=10 {
        use_everything(&*store, round).await;
    }
    let columns =
        TABLES.map(|table| format!("ALTER TABLE {table} ADD COLUMN newer integer DEFAULT 1"));
    server.sql(&columns.join(";")).await;
    for round in 11..=20 {
        use_everything(&*store, round).await;
    }
    store.close().await;
}

/// Writes and reads every table. `round` counts from 1.
async fn use_everything(store: &dyn Store, round: u64) {
    use_log(store, round).await;
    use_access(store, round).await;
    use_consumers(store, round).await;
    use_jobs(store).await;
}

async fn use_log(store: &dyn Store, round: u64) {
    let held = lease(store).await;
    let through = store.log_state().await.expect("answers").committed_through;
    let (mut direct, now) = (record(through + 3), time("2026-01-01T00:00:00Z"));
    direct.recipient_id = Some(token("bob"));
    let records = [record(through + 2), direct];
    write_all(store, &held, through, &records).await.expect("written");
    let page = store.page(&everything(1_000)).await.expect("a page");
    assert_eq!(page.messages.len() as u64, 2 * round);
    assert_eq!(store.originals(1, 1_000).await.expect("originals").len() as u64, 2 * round);
    assert_eq!(store.holes(1, u64::MAX >> 1, 100).await.expect("holes").len() as u64, round);
    assert_eq!(store.find(&[records[0].id]).await.expect("answers").len(), 1);
    store.agents(None, 10, now).await.expect("agents");
    assert_eq!(store.tasks(None, None, 10, None).await.expect("tasks").value.items.len(), 1);
    store.inbox(&token("bob"), now).await.expect("an inbox");
    store.consume(&token("bob"), through + 3).await.expect("answers");
}

async fn use_access(store: &dyn Store, round: u64) {
    let made = key(&format!("k{round}"));
    assert!(store.create_key(&made, &[round as u8; 32], 100).await.expect("answers"));
    let table = store.keys().await.expect("keys");
    assert_eq!((table.keys.len(), table.secrets.len()), (round as usize, round as usize));
    assert!(store.put_schema(&schema("a", "off"), 10, 100).await.expect("answers").is_some());
    assert_eq!(store.schemas().await.expect("schemas").schemas.len(), 1);
    let versions = store.schema_versions("message", "a", 100).await.expect("versions");
    assert_eq!(versions.len(), round as usize);
    let entry = crate::store::AuditRow {
        seq: 0,
        at: made.created_at,
        actor_id: None,
        actor_name: "ann".to_owned(),
        action: "key.create".to_owned(),
        target: made.id,
        detail: "{}".to_owned(),
        outcome: "done".to_owned(),
    };
    store.audit(&[entry]).await.expect("kept");
    assert_eq!(store.audit_entries(0, 100).await.expect("entries").len(), round as usize);
}

async fn use_consumers(store: &dyn Store, round: u64) {
    make(store, NAME).await;
    assert_eq!(store.consumers().await.expect("consumers").len(), 1);
    store.set_aside(NAME, &[message(round), message(1_000 + round)]).await.expect("set aside");
    let leased = store.lease_due(NAME, 10, 3, LONG).await.expect("leases");
    let outcome = |leased: &crate::store::work::LeasedMessage| LeaseOutcome {
        seq: leased.seq,
        lease: leased.lease,
        outcome: AttemptOutcome::Dead { attempt: None, reason: "poison".to_owned() },
    };
    let dead: Vec<_> = leased.iter().map(outcome).collect();
    store.settle(NAME, &dead).await.expect("settled");
    let query = DeadLetterQuery { limit: 100, ..DeadLetterQuery::default() };
    let letters = store.dead_letters(&query).await.expect("letters").letters;
    assert_eq!(letters.len() as u64, 2 * round);
    assert!(store.dead_letter(letters[0].id).await.expect("answers").is_some());
    let redriven = store.redrive_messages(&[letters[0].id]).await.expect("answers");
    assert_eq!(redriven, [letters[0].id]);
    let hook = webhook();
    assert!(store.create_webhook(&hook, 100).await.expect("answers"));
    assert_eq!(store.webhooks().await.expect("webhooks").len() as u64, round);
    assert!(store.webhook_delivered(hook.id, Some("gone")).await.expect("answers").is_some());
}

async fn use_jobs(store: &dyn Store) {
    add(store, "q", &[job(1, "a"), job(1, "b")]).await;
    assert_eq!(store.queues(None, 10).await.expect("queues").len(), 1);
    let rows = lease_jobs(store, 2, LONG).await;
    assert_eq!(rows.jobs.len(), 2);
    let [first, second] = [0, 1].map(|at| rows.jobs[at].seq);
    let later = JobSettlement::Retry { delay: LONG, error: "busy".to_owned() };
    let ends = [(first, rows.lease, JobSettlement::Done), (second, rows.lease, later)];
    store.settle_jobs(&ends).await.expect("answers");
    store.next_job("q", 3).await.expect("answers");
    store.lease_secret([7; 32]).await.expect("a secret");
}
