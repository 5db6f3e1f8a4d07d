//! No filter scans the table: what SQLite's planner makes of the plans. And what its connections are set to.

use sqlx::{AssertSqlSafe, Connection, Row};

use super::connection::{open, options};
use super::{DATABASE_FILE, read};
use crate::store::Store as _;
use crate::store::contract_tests::{Server, everything, filters, on_sqlite};
use crate::store::plan::{self, Bounds, Dialect};

async fn every_plan_uses_its_index(server: Server) {
    server.open().await.close().await;
    let Server::Sqlite(dir) = &server else { panic!("SQLite alone") };
    let mut connection = open(&options(&dir.join(DATABASE_FILE))).await.expect("opens");
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
            let plan = plan::rows(&query, bounds, Dialect::Sqlite, "messages");
            let sql = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", plan.sql));
            let rows = read::bind_all(sqlx::query(sql), plan.values);
            let rows = rows.fetch_all(&mut connection).await.expect("a plan");
            let steps: Vec<String> =
                rows.iter().map(|row| row.try_get("detail").expect("text")).collect();
            assert!(steps.iter().any(|step| step.contains(index)), "{filter}: {steps:#?}");
            for step in steps.iter().filter(|step| step.contains("messages")) {
                assert!(step.starts_with("SEARCH messages USING "), "{filter}: {steps:#?}");
            }
        }
    }
    connection.close().await.expect("closes");
}

#[tokio::test]
async fn no_filter_scans_the_table() {
    on_sqlite(every_plan_uses_its_index).await;
}

async fn every_connection_is_careful(server: Server) {
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
    store.close().await;
}

#[tokio::test]
async fn every_connection_syncs_and_overwrites() {
    on_sqlite(every_connection_is_careful).await;
}
