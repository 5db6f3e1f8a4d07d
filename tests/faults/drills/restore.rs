//! The store is lost, and made again from a backup.

use serde_json::json;

use super::{OVER, Operator, Runbook};
use crate::load::{Load, PATIENCE};
use crate::support::folder::Folder;
use crate::support::keys::Secured;
use crate::support::records::{assert_same, history};
use crate::support::{Agentbus, Mode, Nats, Postgres, eventually};
use crate::verdict;

#[tokio::test]
async fn the_disk_of_sqlite_is_lost() {
    let book = Runbook::read("restore");
    let secured = Secured::start(Mode::MemorySqlite).await;
    let grants = json!({"as": ["ann"], "publish": ["agent.>"], "read": ["agent.>"]});
    let ann = secured.key(grants).await;
    let server = secured.deployment.agentbus();
    let sent = json!({"kind": "message", "type": "note", "sender_id": "ann", "content": "kept"});
    ann.http.post_json("/v1/messages", &sent).await.expect(201);
    let folder = Folder::new("backups");
    let operator = Operator::at(server)
        .with("BACKUP", &folder.join("b").display().to_string())
        .with("KEY_ID", &ann.id)
        .with("AGENTBUS_KEY", crate::support::keys::ROOT);
    let told = operator.runs(&book, "Make a backup").await;
    assert!(told.contains(r#""committed_through":1"#), "{told}");
    let before = history(&secured.root, "").await;
    server.kill9();
    std::fs::remove_dir_all(server.data_dir()).expect("the disk is lost");
    operator
        .walks(&book, "Restore", async |unit| {
            assert_eq!(unit, "start agentbus");
            server.restart_listening().await;
        })
        .await;
    server.wait_ready().await;
    ann.http.get("/v1/messages").await.expect(401);
    operator.runs(&book, "Enable keys").await;
    eventually(PATIENCE, "the key works", async || {
        (ann.http.get("/v1/messages").await.status == 200).then_some(())
    })
    .await;
    operator.runs(&book, OVER).await;
    assert_same("the history", &history(&secured.root, "").await, &before);
}

#[tokio::test]
async fn the_database_is_lost_and_nats_is_not() {
    let book = Runbook::read("restore");
    let (nats, pg_url) = (Nats::start().await, Postgres::shared().await.database().await);
    let server = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let folder = Folder::new("backups");
    let backup = folder.join("b").display().to_string();
    let load = Load::start(&[server.url()], 4, 2);
    load.acknowledged(50).await;
    Operator::at(&server).with("BACKUP", &backup).runs(&book, "Make a backup").await;
    load.acknowledged(50).await;
    server.kill9();
    server.set_env("DATABASE_URL", &Postgres::shared().await.database().await);
    let operator = Operator::at(&server).with("BACKUP", &backup);
    operator
        .walks(&book, "Restore", async |unit| {
            assert_eq!(unit, "start agentbus");
            server.restart_listening().await;
        })
        .await;
    operator.runs(&book, OVER).await;
    load.acknowledged(50).await;
    // The stream was not lost: every acknowledged message is there.
    verdict::check("drill: restore", load, &[server.url()], Some(&nats)).await;
}
