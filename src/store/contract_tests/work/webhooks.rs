//! Webhooks, and the results of their deliveries.

use uuid::Uuid;

use super::*;
use crate::store::work::Webhook;

on_both!(webhooks_are_kept, no_more_webhooks_than_may_be, a_run_of_failures_begins_and_ends);

pub(in crate::store::contract_tests) fn webhook() -> Webhook {
    Webhook {
        id: Uuid::now_v7(),
        url: "https://example.com/hook?a=b".to_owned(),
        filter: "agent.task.>".to_owned(),
        secret: "whsec_abc".to_owned(),
        created_at: at(),
        failures: 0,
        failing_since: None,
        last_success: None,
        last_error: None,
        key_id: None,
    }
}

async fn webhooks_are_kept(server: Server) {
    let store = server.open().await;
    assert_eq!(store.webhooks().await.expect("all"), []);
    let (a, b) = (webhook(), webhook());
    for one in [&b, &a, &b] {
        assert!(store.create_webhook(one, 2).await.expect("answers"), "kept");
    }
    assert_eq!(store.webhooks().await.expect("all"), [a.clone(), b.clone()]);
    assert!(store.delete_webhook(a.id).await.expect("deleted"));
    assert!(!store.delete_webhook(a.id).await.expect("answers"));
    assert_eq!(store.webhooks().await.expect("all"), [b]);
    assert_eq!(store.webhook_delivered(a.id, None).await.expect("answers"), None);
}

async fn no_more_webhooks_than_may_be(server: Server) {
    let store = server.open().await;
    let all: Vec<_> = (0..20).map(|_| webhook()).collect();
    let made = all.iter().map(|one| store.create_webhook(one, 5));
    let made = futures_util::future::join_all(made).await;
    let kept: Vec<_> = all
        .iter()
        .zip(made)
        .filter_map(|(one, kept)| kept.expect("answers").then_some(one))
        .collect();
    assert_eq!(kept.len(), 5);
    assert_eq!(store.webhooks().await.expect("all").len(), 5);
    // A stored webhook can be stored again although the limit is reached.
    assert!(store.create_webhook(kept[0], 5).await.expect("answers"));
    assert!(store.delete_webhook(kept[0].id).await.expect("answers"));
    assert!(store.create_webhook(&webhook(), 5).await.expect("answers"));
}

async fn a_run_of_failures_begins_and_ends(server: Server) {
    let store = server.open().await;
    let made = webhook();
    assert!(store.create_webhook(&made, 100).await.expect("answers"), "kept");
    let told = async |error| {
        let told = store.webhook_delivered(made.id, error).await;
        told.expect("answers").expect("a webhook")
    };
    let first = told(Some("status 500\0")).await;
    assert_eq!((first.failures, first.last_error.as_deref()), (1, Some("status 500\u{fffd}")));
    assert!(first.failing_since.is_some() && first.last_success.is_none());
    let second = told(Some("timed out")).await;
    assert_eq!((second.failures, second.failing_since), (2, first.failing_since));
    let third = told(None).await;
    assert_eq!((third.failures, third.failing_since), (0, None));
    assert_eq!(third.last_error.as_deref(), Some("timed out"));
    assert!(third.last_success.is_some());
    assert_eq!(store.webhooks().await.expect("all"), std::slice::from_ref(&third));
    told(Some("gone")).await;
    assert!(store.webhook_resumed(made.id).await.expect("answers"));
    let resumed = Webhook { last_error: Some("gone".to_owned()), ..third };
    assert_eq!(store.webhooks().await.expect("all"), [resumed]);
    assert!(!store.webhook_resumed(Uuid::nil()).await.expect("answers"));
    assert!(!format!("{made:?}").contains("whsec_abc"));
}
