//! Consumers, webhooks and dead letters: they get the erased form or nothing.

use std::time::Duration;

use serde_json::{Value, json};

use super::{SECRET, erase, publish, secret};
use crate::support::folder::Folder;
use crate::support::handler::dead_letters;
use crate::support::receiver::{Receiver, Reply};
use crate::support::streams::{LIMIT, message};
use crate::support::{Deployment, Http, Mode, eventually, for_each_mode};

/// Creates a webhook; returns its path.
async fn hook(http: &Http, receiver: &Receiver) -> String {
    let body = json!({"url": receiver.url(), "filter": "agent.message.>"});
    let made = http.post_json("/v1/webhooks", &body).await.expect(201).json();
    format!("/v1/webhooks/{}", made["id"].as_str().expect("id"))
}

async fn set_state(http: &Http, path: &str, state: &str) {
    let body = json!({"state": state}).to_string();
    let headers = [("content-type", "application/json")];
    let answer = http.request(reqwest::Method::PATCH, path, &headers, body).await.expect("answers");
    answer.expect(200);
}

for_each_mode! {
    |builder| builder.env("WEBHOOK_ALLOW_PRIVATE", "true").env("WEBHOOK_BACKOFF_S", "0");

    async fn a_dead_letter_keeps_nothing_of_it(deployment: &Deployment) {
        let (http, receiver) = (deployment.http(), Receiver::start().await);
        receiver.always(Reply::With(500, "x-error", SECRET.to_owned()));
        hook(http, &receiver).await;
        let (seq, id) = publish(http, &secret("ann")).await;
        let letter = eventually(LIMIT, "it is given up", async || {
            dead_letters(http, "").await.into_iter().next()
        })
        .await;
        assert!(letter.to_string().contains(SECRET));
        erase(http, &id).await.expect(200);
        let found = dead_letters(http, "").await;
        assert_eq!(found.len(), 1, "it stays a dead letter");
        assert!(!found[0].to_string().contains(SECRET), "{}", found[0]);
        assert_eq!(found[0]["message"]["metadata"], json!({"erased": true}));
        for member in ["id", "seq", "source", "subject", "died_at"] {
            assert_eq!(found[0][member], letter[member]);
        }
        receiver.always(Reply::Status(200));
        let before = receiver.got().len();
        let redrive = format!("/v1/dead-letters/{}/redrive", letter["id"].as_str().expect("id"));
        http.post(&redrive, "application/json", "").await.expect(200);
        let got = receiver.take(before + 1, LIMIT).await;
        assert_eq!(got[before].seq(), seq);
        assert!(!String::from_utf8_lossy(&got[before].body).contains(SECRET));
    }
}

for_each_mode! {
    |builder| builder.env("WEBHOOK_ALLOW_PRIVATE", "true").env("WEBHOOK_BACKOFF_S", "8");

    async fn a_retry_gets_the_erased_form(deployment: &Deployment) {
        let (http, receiver) = (deployment.http(), Receiver::start().await);
        receiver.next([Reply::Status(500)]);
        hook(http, &receiver).await;
        let (seq, id) = publish(http, &secret("ann")).await;
        receiver.take(1, LIMIT).await;
        erase(http, &id).await.expect(200);
        let got = receiver.take(2, LIMIT).await;
        assert_eq!(got[1].seq(), seq);
        assert!(String::from_utf8_lossy(&got[0].body).contains(SECRET));
        assert!(!String::from_utf8_lossy(&got[1].body).contains(SECRET));
    }

    async fn what_waits_in_a_pause_is_erased_or_gone(deployment: &Deployment) {
        let (http, receiver) = (deployment.http(), Receiver::start().await);
        let path = hook(http, &receiver).await;
        let (first, _) = publish(http, &message(0)).await;
        receiver.take(1, LIMIT).await;
        set_state(http, &path, "paused").await;
        let (seq, id) = publish(http, &secret("ann")).await;
        let (last, _) = publish(http, &message(1)).await;
        erase(http, &id).await.expect(200);
        set_state(http, &path, "active").await;
        let got = eventually(LIMIT, "the last one is delivered", async || {
            let got = receiver.got();
            got.iter().any(|it| it.seq() == last).then_some(got)
        })
        .await;
        assert!(got.iter().all(|it| [first, seq, last].contains(&it.seq())));
        assert!(got.iter().all(|it| !String::from_utf8_lossy(&it.body).contains(SECRET)));
    }
}

/// Holds a handler at its first message, so that the second waits in memory, where it is erased.
async fn waits_in_memory(mode: Mode) {
    let folder = Folder::new("erased-in-memory");
    let (got, open) = (folder.join("got"), folder.join("open"));
    let command = format!(
        "cat >> '{}'; while [ ! -e '{}' ]; do sleep 0.05; done",
        got.display(),
        open.display()
    );
    let deployment = Deployment::tuned(mode, |builder| {
        builder.env("PROCESSOR_EXEC", &command).env("PROCESSOR_CONCURRENCY", "1")
    })
    .await;
    let http = deployment.http();
    let lines = || {
        let text = std::fs::read_to_string(&got).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>()
    };
    publish(http, &message(0)).await;
    eventually(LIMIT, "the first is being handled", async || (lines().len() == 1).then_some(()))
        .await;
    let (seq, id) = publish(http, &secret("ann")).await;
    eventually(LIMIT, "the second is in flight", async || {
        let list = http.get("/v1/consumers").await.expect(200).json();
        (list["consumers"][0]["in_flight"] == 2).then_some(())
    })
    .await;
    erase(http, &id).await.expect(200);
    let (last, _) = publish(http, &message(1)).await;
    std::fs::write(&open, "").expect("opened");
    let lines = eventually(Duration::from_secs(90), "all are handled", async || {
        let lines = lines();
        lines.iter().any(|line| line["seq"] == last).then_some(lines)
    })
    .await;
    let second = lines.iter().find(|line| line["seq"] == seq).expect("it was in flight");
    assert_eq!(second["metadata"], json!({"erased": true}));
    assert!(lines.iter().all(|line| !line.to_string().contains(SECRET)));
}

#[tokio::test]
async fn what_waits_in_memory_is_erased_memory_sqlite() {
    waits_in_memory(Mode::MemorySqlite).await;
}

#[tokio::test]
async fn what_waits_in_memory_is_erased_nats() {
    waits_in_memory(Mode::Nats).await;
}
