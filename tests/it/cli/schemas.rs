//! `agentbus schemas`: put, check, show, versions, list, delete.

use serde_json::{Value, json};

use super::{run, succeed};
use crate::support::Agentbus;

const SCHEMA: &str = r#"{"properties": {"content": {"pattern": "^[a-z ]+$"}}}"#;

#[tokio::test]
async fn a_schema_is_put_tried_shown_and_deleted() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let (url, dir) = (server.url(), server.data_dir());
    std::fs::create_dir_all(&dir).expect("a folder");
    std::fs::write(dir.join("note.json"), SCHEMA).expect("a file");
    let send = |text: &'static str| ["send", "--sender", "ann", "--type", "note", text];
    succeed(&send("No"), url, &dir, "").await;
    let one = |text: String| serde_json::from_str::<Value>(&text).expect("one document");
    let checked = succeed(&["schemas", "check", "message/note", "note.json"], url, &dir, "").await;
    assert_eq!(one(checked), json!({"incompatible": 1}));
    assert_eq!(succeed(&["schemas", "list"], url, &dir, "").await, "");
    let put = one(succeed(&["schemas", "put", "message/note", "note.json"], url, &dir, "").await);
    assert_eq!(
        (&put["version"], &put["mode"], &put["content"]),
        (&json!(1), &json!("enforce"), &json!("text"))
    );
    let refused = run(&send("No"), url, &dir, "").await;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && told.contains("/content"), "{told}");
    succeed(&send("yes"), url, &dir, "").await;
    let stdin = ["schemas", "put", "message/note", "--mode", "warn", "-"];
    assert_eq!(one(succeed(&stdin, url, &dir, SCHEMA).await)["version"], 2);
    let shown = one(succeed(&["schemas", "show", "message/note"], url, &dir, "").await);
    assert_eq!(shown["schema"], serde_json::from_str::<Value>(SCHEMA).expect("JSON"));
    let versions = succeed(&["schemas", "versions", "message/note"], url, &dir, "").await;
    assert_eq!(versions.lines().count(), 2, "{versions}");
    let table = ["schemas", "list", "--format", "text"];
    let table = succeed(&table, url, &dir, "").await;
    assert!(table.contains("message/note  2        warn"), "{table}");
    succeed(&["schemas", "delete", "message/note"], url, &dir, "").await;
    for words in
        [&["schemas", "show", "message/note"][..], &["schemas", "put", "message/x", "none.json"]]
    {
        assert_eq!(run(words, url, &dir, "").await.status.code(), Some(1), "{words:?}");
    }
    let wrong =
        run(&["schemas", "put", "message/x", "-"], url, &dir, r#"{"$ref": "http://a.example/"}"#)
            .await;
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("/schema/$ref"), "{wrong:?}");
}
