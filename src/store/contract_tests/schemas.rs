//! Payload schemas: versions, the newest ones, deletion.

use uuid::Uuid;

use super::*;
use crate::store::SchemaRow;

on_both!(
    each_put_is_the_next_version,
    only_the_newest_versions_are_kept,
    no_more_schemas_than_may_be,
    each_change_raises_the_number,
);

const MANY: usize = 100;

pub(super) fn schema(type_: &str, mode: &str) -> SchemaRow {
    SchemaRow {
        kind: "message".to_owned(),
        type_: type_.to_owned(),
        version: 0,
        schema: r#"{"type":"object"}"#.to_owned(),
        content: "text".to_owned(),
        mode: mode.to_owned(),
        created_at: time("2026-01-01T00:00:00Z"),
        created_by: Some("k1".to_owned()),
        change: Uuid::new_v4(),
    }
}

async fn put(store: &dyn Store, row: &SchemaRow) -> Option<u64> {
    store.put_schema(row, MANY, MANY).await.expect("the store answers")
}

async fn each_put_is_the_next_version(server: Server) {
    let store = server.open().await;
    let (first, second, other) = (schema("a", "off"), schema("a", "warn"), schema("b", "enforce"));
    assert_eq!(put(&*store, &first).await, Some(1));
    assert_eq!(put(&*store, &other).await, Some(1));
    for _ in 0..2 {
        // The second run is of a transaction whose answer was lost.
        assert_eq!(put(&*store, &second).await, Some(2));
    }
    let stored = |row: &SchemaRow, version| SchemaRow { version, ..row.clone() };
    let table = store.schemas().await.expect("schemas");
    assert_eq!(table.schemas, [stored(&second, 2), stored(&other, 1)]);
    let versions = store.schema_versions("message", "a", MANY).await.expect("versions");
    assert_eq!(versions, [stored(&second, 2), stored(&first, 1)]);
    let newest = store.schema_versions("message", "a", 1).await.expect("versions");
    assert_eq!(newest, [stored(&second, 2)]);
    assert_eq!(store.schema_versions("task", "a", MANY).await.expect("versions"), []);
    assert!(store.delete_schema("message", "a").await.expect("answers"));
    assert!(!store.delete_schema("message", "a").await.expect("answers"));
    assert_eq!(store.schemas().await.expect("schemas").schemas, [stored(&other, 1)]);
    assert_eq!(put(&*store, &schema("a", "off")).await, Some(1));
}

async fn only_the_newest_versions_are_kept(server: Server) {
    let store = server.open().await;
    for version in 1..=5 {
        let row = schema("a", "warn");
        assert_eq!(store.put_schema(&row, MANY, 3).await.expect("answers"), Some(version));
    }
    let kept = store.schema_versions("message", "a", MANY).await.expect("versions");
    assert_eq!(kept.iter().map(|row| row.version).collect::<Vec<_>>(), [5, 4, 3]);
}

async fn no_more_schemas_than_may_be(server: Server) {
    let store = server.open().await;
    for (type_, is_stored) in [("a", true), ("b", true), ("c", false), ("a", true)] {
        let stored = store.put_schema(&schema(type_, "warn"), 2, MANY).await.expect("answers");
        assert_eq!(stored.is_some(), is_stored, "{type_}");
    }
}

async fn each_change_raises_the_number(server: Server) {
    let store = server.open().await;
    let number = async || store.versions().await.expect("numbers").schemas;
    let (before, keys) = (number().await, store.versions().await.expect("numbers").keys);
    put(&*store, &schema("a", "warn")).await;
    let after_put = number().await;
    store.delete_schema("message", "a").await.expect("answers");
    assert!(before < after_put && after_put < number().await);
    assert_eq!(store.schemas().await.expect("schemas").version, number().await);
    assert_eq!(store.versions().await.expect("numbers").keys, keys);
}
