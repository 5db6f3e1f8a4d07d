//! `X-Request-Id` and the access log: each response has the id of its request, and one line in the log.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::wire::{JSON, MESSAGES};
use crate::support::{Agentbus, Answer, eventually};

/// How long a line may take to be in the log.
const LOGGED: Duration = Duration::from_secs(10);
const HEADER: &str = "x-request-id";

async fn get(agentbus: &Agentbus, path: &str, ids: &[&str]) -> Answer {
    let headers: Vec<_> = ids.iter().map(|id| (HEADER, *id)).collect();
    agentbus.http().request(Method::GET, path, &headers, "").await.expect("an answer")
}

fn id_of(answer: &Answer) -> String {
    answer.header(HEADER).expect("each response has an id").to_owned()
}

/// The line of the access log with this id.
async fn line(agentbus: &Agentbus, id: &str) -> String {
    eventually(LOGGED, "the line of the access log", async || {
        let log = agentbus.log();
        let mut lines = log.lines().filter(|line| line.contains("agentbus::access"));
        lines.find(|line| line.contains(&format!("request_id={id}"))).map(str::to_owned)
    })
    .await
}

#[tokio::test]
async fn a_usable_id_comes_back_and_any_other_is_replaced() {
    let agentbus = Agentbus::builder().memory_sqlite().start().await;
    let longest = "x".repeat(128);
    for id in ["a", "4bf92f3577b34da6a3ce929d0e0e4736", &longest] {
        assert_eq!(id_of(&get(&agentbus, "/v1/agents", &[id]).await), id);
        // A refusal has it too, and its document names it.
        let refusal = get(&agentbus, "/v1/agents?colour=red", &[id]).await.expect(422);
        assert_eq!(id_of(&refusal), id);
        assert_eq!(refusal.json()["request_id"], id);
    }
    let too_long = "x".repeat(129);
    for ids in [&[][..], &["with space"], &[&too_long], &["a", "b"], &[""]] {
        let id = id_of(&get(&agentbus, "/nothing", ids).await.expect(404));
        assert!(id.parse::<uuid::Uuid>().is_ok(), "{ids:?} gave {id}");
    }
}

#[tokio::test]
async fn each_response_has_a_line_in_the_access_log_without_path_and_query() {
    let agentbus = Agentbus::builder().memory_sqlite().env("ACCESS_LOG", "true").start().await;
    let headers = [("content-type", JSON), (HEADER, "post-1")];
    let body = json!({"kind": "message", "type": "note", "sender_id": "ann", "content": "hi"});
    let posted = agentbus.http().request(Method::POST, MESSAGES, &headers, body.to_string()).await;
    posted.expect("an answer").expect(201);
    get(&agentbus, "/v1/agents/secret-name?colour=secret-value", &["get-1"]).await.expect(422);
    get(&agentbus, "/secret-path", &["get-2"]).await.expect(404);
    for (id, parts) in [
        ("post-1", ["method=\"POST\"", "route=\"/v1/messages\"", "status=201", "bytes="]),
        ("get-1", ["method=\"GET\"", "route=\"/v1/agents/{id}\"", "status=422", "duration_ms="]),
        ("get-2", ["method=\"GET\"", "route=\"unmatched\"", "status=404", "bytes="]),
    ] {
        let line = line(&agentbus, id).await;
        assert!(parts.iter().all(|part| line.contains(part)), "{parts:?} in {line}");
    }
    let log = agentbus.log();
    assert!(!log.contains("secret-"), "{log}");
    let lines = |id: &str| log.matches(&format!("request_id={id}")).count();
    assert_eq!(["post-1", "get-1", "get-2"].map(lines), [1, 1, 1]);
}
