//! Inboxes: the messages for one agent, which it reads at its own pace.

use std::time::Duration;

use crate::support::{Http, eventually, for_each_mode, within};
use serde_json::{Value, json};
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(30);

fn to(recipient: Option<&str>, content: &str) -> Value {
    let mut message =
        json!({"kind": "message", "type": "note", "sender_id": "alice", "content": content});
    if let Some(recipient) = recipient {
        message["recipient_id"] = json!(recipient);
    }
    message
}

async fn post(http: &Http, message: &Value) -> u64 {
    let answer = http.post_json("/v1/messages?ack=committed", message).await.expect(201).json();
    answer["seq"].as_u64().expect("a sequence")
}

fn seqs(page: &Value) -> Vec<u64> {
    let messages = page["messages"].as_array().expect("messages");
    messages.iter().map(|message| message["seq"].as_u64().expect("a sequence")).collect()
}

async fn read(http: &Http, query: &str) -> Value {
    http.get(&format!("/v1/agents/bob/inbox{query}")).await.expect(200).json()
}

async fn ack(http: &Http, through: u64) -> Value {
    http.post_json("/v1/agents/bob/inbox/ack", &json!({"through": through}))
        .await
        .expect(200)
        .json()
}

/// The number of filter groups: distinct filters of open streams and polls.
async fn groups(http: &Http) -> u64 {
    http.get("/v1/stats").await.expect(200).json()["filter_groups"].as_u64().expect("a count")
}

for_each_mode! {
    async fn what_is_read_and_not_acknowledged_is_returned_again(deployment: &Deployment) {
        let http = deployment.http();
        let empty = read(http, "").await;
        assert_eq!(empty, json!({"messages": [], "next": null, "committed_through": 0}));
        let one = post(http, &to(Some("bob"), "one")).await;
        let other = post(http, &to(Some("carol"), "not for bob")).await;
        let all = post(http, &to(None, "for everybody")).await;
        let two = post(http, &to(Some("bob"), "two")).await;
        for _ in 0..2 {
            let page = read(http, "").await;
            assert_eq!((seqs(&page), &page["committed_through"]), (vec![one, two], &json!(two)));
        }
        assert_eq!(seqs(&read(http, "?broadcast=true").await), [one, all, two]);
        assert_eq!(seqs(&read(http, &format!("?after={one}")).await), [two]);
        let page = read(http, "?limit=1").await;
        assert_eq!((seqs(&page), &page["next"]), (vec![one], &json!(one)));
        assert_eq!(ack(http, one).await, json!({"consumed_through": one, "waiting": 1}));
        assert_eq!(seqs(&read(http, "").await), [two]);
        assert_eq!(ack(http, other).await, json!({"consumed_through": other, "waiting": 1}));
        assert_eq!(ack(http, 0).await, json!({"consumed_through": other, "waiting": 1}), "a lower one changes nothing");
        assert_eq!(ack(http, two).await, json!({"consumed_through": two, "waiting": 0}));
        assert_eq!(ack(http, two).await, json!({"consumed_through": two, "waiting": 0}));
        assert_eq!(seqs(&read(http, "").await), [0; 0]);
        assert_eq!(seqs(&read(http, "?after=0").await), [one, two], "history stays");
        post(http, &json!({"kind": "status", "type": "online", "sender_id": "bob"})).await;
        let agent = http.get("/v1/agents/bob").await.expect(200).json();
        assert_eq!(agent["inbox"], json!({"consumed_through": two, "waiting": 0}));
    }

    async fn an_acknowledgement_is_checked(deployment: &Deployment) {
        let http = deployment.http();
        let seq = post(http, &to(Some("bob"), "one")).await;
        let path = "/v1/agents/bob/inbox/ack";
        let bad = [
            json!({"through": seq + 1}), json!({"through": -1}), json!({"through": 1.5}), json!({"through": "1"}),
            json!({}), json!({"through": null}), json!({"through": 1, "until": 2}), json!([1]),
        ];
        for body in bad {
            let problem = http.post_json(path, &body).await.expect(422).json();
            assert_eq!(problem["code"], "invalid_body", "{body}: {problem}");
            assert!(problem["errors"].as_array().is_some_and(|errors| !errors.is_empty()), "{problem}");
        }
        let broken = http.request(reqwest::Method::POST, path, &[("content-type", "application/json")], "{").await;
        assert_eq!(broken.expect("an answer").status, 400);
        let text = http.request(reqwest::Method::POST, path, &[("content-type", "text/plain")], "{}").await;
        assert_eq!(text.expect("an answer").status, 415);
        for query in ["?wait=61", "?wait=1.5", "?wait=-1", "?limit=0", "?after=x", "?broadcast=1", "?sender=a", "?wait=1&wait=2"] {
            http.get(&format!("/v1/agents/bob/inbox{query}")).await.expect(422);
        }
        http.get("/v1/agents/a%20b/inbox").await.expect(404);
        assert_eq!(seqs(&read(http, "").await), [seq]);
    }

    async fn expired_messages_are_skipped(deployment: &Deployment) {
        let http = deployment.http();
        let mut expired = to(Some("bob"), "too late");
        expired["expires_at"] = json!("2020-01-01T00:00:00Z");
        let mut later = to(Some("bob"), "in time");
        later["expires_at"] = json!("2099-01-01T00:00:00+01:00");
        for _ in 0..5 {
            post(http, &expired).await;
        }
        let page = read(http, "?limit=2").await;
        assert_eq!((seqs(&page), &page["next"]), (vec![], &Value::Null));
        let seq = post(http, &later).await;
        let page = read(http, "?limit=2").await;
        assert_eq!(seqs(&page), [seq], "not an empty page because the first ones have expired");
        let all = http.get("/v1/messages?recipient=bob").await.expect(200).json();
        assert_eq!(seqs(&all).len(), 6);
        post(http, &json!({"kind": "status", "type": "online", "sender_id": "bob"})).await;
        let agent = http.get("/v1/agents/bob").await.expect(200).json();
        assert_eq!(agent["inbox"]["waiting"], 1);
        let metrics = http.get("/metrics").await.expect(200).text();
        assert!(metrics.lines().any(|line| line.starts_with("agentbus_inbox_expired_total ")), "{metrics}");
    }

    async fn a_long_poll_ends_with_the_first_message(deployment: &Deployment) {
        let http = deployment.http();
        let begun = Instant::now();
        http.get("/v1/agents/bob/inbox?wait=1").await.expect(204);
        assert!(begun.elapsed() >= Duration::from_secs(1));
        let idle = groups(http).await;
        for (query, recipient) in [("?wait=60", Some("bob")), ("?wait=60&broadcast=true", None)] {
            let poll = read(http, query);
            let speak = async {
                eventually(LIMIT, "the poll waits", async || (groups(http).await > idle).then_some(())).await;
                post(http, &to(Some("carol"), "not for bob")).await;
                post(http, &to(recipient, "come")).await
            };
            let (page, seq) = within(LIMIT, "the poll ends", async { tokio::join!(poll, speak) }).await;
            assert_eq!(seqs(&page), [seq]);
            assert!(page["committed_through"].as_u64() >= Some(seq));
            ack(http, seq).await;
        }
        // A message that is there already is returned at once.
        let seq = post(http, &to(Some("bob"), "here")).await;
        assert_eq!(seqs(&within(LIMIT, "at once", read(http, "?wait=60")).await), [seq]);
        eventually(LIMIT, "no poll leaves a filter behind", async || (groups(http).await == idle).then_some(())).await;
    }

    async fn long_polls_end_when_the_server_stops(deployment: &Deployment) {
        let http = deployment.http();
        let poll = http.get("/v1/agents/bob/inbox?wait=60");
        let stop = async {
            eventually(LIMIT, "the poll waits", async || (groups(http).await > 0).then_some(())).await;
            deployment.agentbus().terminate().await
        };
        let (answer, status) = within(LIMIT, "both end", async { tokio::join!(poll, stop) }).await;
        answer.expect(204);
        assert!(status.success(), "{status}");
    }
}
