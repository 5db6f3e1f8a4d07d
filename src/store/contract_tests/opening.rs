//! Opening a store while other servers run on it, and taking over its lease.

use super::*;
use crate::store::BusKind;

on_both!(an_older_schema_waits_for_the_server_that_runs, a_lease_is_held_until_it_is_taken);

/// Undoes the last step of the schema.
pub(crate) const OLDER: &str =
    "DELETE FROM _sqlx_migrations WHERE version = 9; ALTER TABLE jobs DROP COLUMN trace";
/// Fails if the last step of the schema was applied again.
pub(crate) const STILL_OLDER: &str =
    "ALTER TABLE jobs ADD COLUMN trace integer; ALTER TABLE jobs DROP COLUMN trace";
/// Fails if the last step of the schema was not applied.
pub(crate) const NEWER: &str = "SELECT trace FROM jobs";

async fn an_older_schema_waits_for_the_server_that_runs(server: Server) {
    let store = server.open().await;
    let joined = store.join(BusKind::Memory).await.expect("the store answers");
    let membership = joined.expect("nobody else runs");
    server.sql(OLDER).await;
    match server.try_open().await.err() {
        Some(StoreError::Refused(reason)) => {
            assert!(reason.contains("another agentbus"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
    server.sql(STILL_OLDER).await;
    drop(membership);
    server.open().await.close().await;
    server.sql(NEWER).await;
    store.close().await;
}

async fn a_lease_is_held_until_it_is_taken(server: Server) {
    let store = server.open().await;
    let first = lease(&*store).await;
    assert!(store.holds_lease(&first).await.expect("answers"));
    store.renew(&first, LONG).await.expect("its own");
    assert!(store.holds_lease(&first).await.expect("answers"));
    let second = lease(&*store).await;
    assert!(!store.holds_lease(&first).await.expect("answers"));
    assert!(store.holds_lease(&second).await.expect("answers"));
    assert_eq!(store.weaknesses().await.expect("answers"), [""; 0]);
}
