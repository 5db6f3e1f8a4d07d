//! Another stream takes the place of the log's stream while the store is down.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Config;
use serde_json::json;

use crate::support::{Agentbus, Nats, Postgres, eventually};

const STREAM: &str = "agent-messages";
const LIMIT: Duration = Duration::from_secs(60);
/// How often a wrong response is looked for: the server checks the stream four times a second.
const LOOKS: usize = 60;

fn message() -> serde_json::Value {
    json!({"kind": "message", "type": "note", "sender_id": "ann", "content": "x"})
}

/// Deletes the stream and creates it again, so with another epoch, and fills it beyond the end of the log.
async fn replace(jetstream: &Context, entries: u64) {
    let mut config: Config =
        jetstream.get_stream(STREAM).await.expect("the stream").cached_info().config.clone();
    jetstream.delete_stream(STREAM).await.expect("deleted");
    config.metadata.insert("agentbus_epoch".to_owned(), uuid::Uuid::new_v4().to_string());
    eventually(LIMIT, "the stream is created again", async || {
        jetstream.create_stream(config.clone()).await.ok()
    })
    .await;
    for _ in 0..entries {
        let sent = jetstream.publish("agent.task.other.note", "{}".into()).await.expect("sent");
        sent.await.expect("acknowledged");
    }
}

/// An acknowledged sequence never gets other content, however long another stream is.
#[tokio::test]
async fn another_stream_is_not_taken_for_the_log_while_the_store_is_down() {
    let nats = Nats::start().await;
    let postgres = Postgres::start().await;
    let pg_url = postgres.database().await;
    let agentbus = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let http = agentbus.http();
    for _ in 0..5 {
        http.post_json("/v1/messages?ack=committed", &message()).await.expect(201);
    }
    postgres.kill9();
    // The store is down, but the stream is the same: publishing continues.
    http.post_json("/v1/messages", &message()).await.expect(201);
    // After a reconnect the server checks the stream; meanwhile it is replaced.
    nats.kill9();
    nats.restart().await;
    eventually(LIMIT, "publishing continues without the store", async || {
        (http.post_json("/v1/messages", &message()).await.status == 201).then_some(())
    })
    .await;
    replace(&nats.jetstream().await, 40).await;
    nats.kill9();
    nats.restart().await;
    let checked = eventually(LIMIT, "the stream is found to be another", async || {
        let answer = http.post_json("/v1/messages", &message()).await;
        assert_ne!(answer.status, 201, "stored in another stream: {answer:?}");
        answer.text().contains("not the one that was last compared").then_some(answer)
    })
    .await;
    assert_eq!(checked.status, 503);
    for _ in 0..LOOKS {
        let answer = http.post_json("/v1/messages", &message()).await;
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    // Once the store is back, the server detects that the stream has other content, and does not touch
    // the committed messages.
    postgres.restart().await;
    eventually(LIMIT, "the store is asked", async || {
        let answer = http.post_json("/v1/messages", &message()).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        answer.text().contains("other content").then_some(())
    })
    .await;
}
