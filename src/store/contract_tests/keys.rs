//! Keys: created, changed, rotated and deleted, each based on a known state.

use chrono::TimeDelta;
use uuid::Uuid;

use super::*;
use crate::store::{AuditRow, DISABLED, KeyRow};

on_both!(
    keys_are_kept_with_their_secrets,
    a_change_of_another_state_is_refused,
    a_rotation_keeps_the_latest_old_secret,
    a_disabled_key_is_enabled_with_its_secret,
    no_more_keys_than_may_be,
    a_revoked_session_is_known_until_it_would_have_ended,
    audit_entries_are_read_in_order,
);

pub(super) fn key(id: &str) -> KeyRow {
    KeyRow {
        id: id.to_owned(),
        name: format!("key {id}"),
        kind: "agent".to_owned(),
        grants: r#"{"as":["ann"]}"#.to_owned(),
        limits: "{}".to_owned(),
        created_at: time("2026-01-01T00:00:00Z"),
        created_by: None,
        expires_at: None,
        last_used_at: None,
        change: Uuid::new_v4(),
    }
}

/// The secrets of a key: hash and end.
async fn secrets(store: &dyn Store, id: &str) -> Vec<(Vec<u8>, Option<DateTime<Utc>>)> {
    let all = store.keys().await.expect("keys").secrets;
    let mut of_key: Vec<_> =
        all.into_iter().filter(|s| s.key_id == id).map(|s| (s.hash, s.valid_until)).collect();
    of_key.sort();
    of_key
}

async fn keys_are_kept_with_their_secrets(server: Server) {
    let store = server.open().await;
    let empty = store.keys().await.expect("keys");
    assert_eq!((empty.version, empty.keys.len(), empty.secrets.len()), (0, 0, 0));
    let (mut a, b) = (key("a"), key("b"));
    for _ in 0..2 {
        // The second run is of a transaction whose answer was lost.
        assert!(store.create_key(&b, &[2; 32], 10).await.expect("answers"));
        assert!(store.create_key(&a, &[1; 32], 10).await.expect("answers"));
    }
    let table = store.keys().await.expect("keys");
    assert_eq!(table.keys, [a.clone(), b.clone()]);
    assert_eq!(table.version, store.versions().await.expect("numbers").keys);
    assert!(table.version >= 2);
    assert_eq!(secrets(&*store, "a").await, [(vec![1; 32], None)]);
    let used = time("2026-02-01T00:00:00Z");
    let notes = [("a".to_owned(), used), ("a".to_owned(), used - TimeDelta::hours(1))];
    store.keys_used(&notes).await.expect("noted");
    a.last_used_at = Some(used);
    let after = store.keys().await.expect("keys");
    assert_eq!((after.version, &after.keys[0]), (table.version, &a), "a use is no change");
    assert!(!store.delete_key("a", b.change).await.expect("answers"), "another state");
    assert!(store.delete_key("a", a.change).await.expect("answers"));
    assert!(!store.delete_key("a", a.change).await.expect("answers"));
    let left = store.keys().await.expect("keys");
    assert!(left.version > table.version);
    assert_eq!((left.keys, left.secrets.len()), (vec![b], 1));
}

async fn a_disabled_key_is_enabled_with_its_secret(server: Server) {
    let store = server.open().await;
    let (made, other) = (key("a"), key("b"));
    assert!(store.create_key(&made, &[1; 32], 10).await.expect("answers"));
    assert!(store.create_key(&other, &[2; 32], 10).await.expect("answers"));
    let rotated = Uuid::new_v4();
    // As a restore leaves it: the one secret has the end of disabled keys.
    let disabled = store.rotate_key("a", made.change, rotated, &[3; 32], Some(DISABLED));
    assert!(disabled.await.expect("answers"));
    let enabled = Uuid::new_v4();
    assert!(!store.enable_key("a", made.change, enabled).await.expect("answers"), "another state");
    for _ in 0..2 {
        assert!(store.enable_key("a", rotated, enabled).await.expect("answers"));
    }
    assert_eq!(secrets(&*store, "a").await, [(vec![1; 32], None), (vec![3; 32], None)]);
    assert_eq!(secrets(&*store, "b").await, [(vec![2; 32], None)]);
}

async fn a_change_of_another_state_is_refused(server: Server) {
    let store = server.open().await;
    let made = key("a");
    assert!(store.create_key(&made, &[1; 32], 10).await.expect("answers"));
    let expires_at = Some(time("2027-01-01T00:00:00Z"));
    let next = KeyRow { name: "b".to_owned(), expires_at, change: Uuid::new_v4(), ..made.clone() };
    let late = KeyRow { name: "c".to_owned(), change: Uuid::new_v4(), ..made.clone() };
    for _ in 0..2 {
        assert!(store.update_key(&next, made.change).await.expect("answers"));
    }
    assert!(!store.update_key(&late, made.change).await.expect("answers"));
    let rotated = store.rotate_key("a", made.change, Uuid::new_v4(), &[2; 32], None).await;
    assert!(!rotated.expect("answers"));
    assert_eq!(store.keys().await.expect("keys").keys, [next]);
    assert_eq!(secrets(&*store, "a").await, [(vec![1; 32], None)]);
    let missing = KeyRow { id: "z".to_owned(), ..late };
    assert!(!store.update_key(&missing, made.change).await.expect("answers"));
}

async fn a_rotation_keeps_the_latest_old_secret(server: Server) {
    let store = server.open().await;
    let made = key("a");
    assert!(store.create_key(&made, &[1; 32], 10).await.expect("answers"));
    let until = time("2026-03-01T00:00:00Z");
    let mut state = made.change;
    for (new, expected) in [(2_u8, vec![1_u8]), (3, vec![2])] {
        let change = Uuid::new_v4();
        for _ in 0..2 {
            let done = store.rotate_key("a", state, change, &[new; 32], Some(until)).await;
            assert!(done.expect("answers"));
            let mut wanted: Vec<_> =
                expected.iter().map(|&old| (vec![old; 32], Some(until))).collect();
            wanted.push((vec![new; 32], None));
            assert_eq!(secrets(&*store, "a").await, wanted);
        }
        state = change;
    }
    let done = store.rotate_key("a", state, Uuid::new_v4(), &[4; 32], None).await;
    assert!(done.expect("answers"));
    assert_eq!(secrets(&*store, "a").await, [(vec![4; 32], None)]);
}

async fn a_revoked_session_is_known_until_it_would_have_ended(server: Server) {
    let store = server.open().await;
    let (now, hour) = (time("2026-01-01T00:00:00Z"), TimeDelta::hours(1));
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    for _ in 0..2 {
        store.revoke_session(first, now + hour, now).await.expect("recorded");
    }
    let table = store.keys().await.expect("keys");
    assert_eq!((table.revoked_sessions, table.version), (vec![first], 2));
    store.revoke_session(second, now + hour * 3, now + hour).await.expect("recorded");
    assert_eq!(store.keys().await.expect("keys").revoked_sessions, [second]);
}

async fn audit_entries_are_read_in_order(server: Server) {
    let store = server.open().await;
    let entry = |n: u64| AuditRow {
        seq: 0,
        at: time("2026-01-01T00:00:00Z"),
        actor_id: (n != 1).then(|| "k1".to_owned()),
        actor_name: "ann".to_owned(),
        action: "key.create".to_owned(),
        target: format!("t{n}"),
        detail: "{}".to_owned(),
        outcome: "done".to_owned(),
    };
    store.audit(&[entry(1), entry(2)]).await.expect("recorded");
    store.audit(&[entry(3)]).await.expect("recorded");
    let all = store.audit_entries(0, 10).await.expect("entries");
    let with_seq = |n: usize| AuditRow { seq: all[n].seq, ..entry(n as u64 + 1) };
    assert_eq!(all, [with_seq(0), with_seq(1), with_seq(2)]);
    assert!(all[0].seq < all[1].seq && all[1].seq < all[2].seq);
    assert_eq!(store.audit_entries(all[0].seq, 1).await.expect("entries"), all[1..2]);
    assert!(store.audit_entries(all[2].seq, 10).await.expect("entries").is_empty());
}

async fn no_more_keys_than_may_be(server: Server) {
    let store = server.open().await;
    let all: Vec<_> = (0..12_u8).map(|n| (n, key(&format!("k{n:02}")))).collect();
    let create = all.iter().map(async |(n, key)| store.create_key(key, &[*n; 32], 5).await);
    let created = futures_util::future::join_all(create).await;
    let kept = created.into_iter().filter(|kept| *kept.as_ref().expect("answers")).count();
    let table = store.keys().await.expect("keys");
    assert_eq!((kept, table.keys.len(), table.secrets.len()), (5, 5, 5));
}
