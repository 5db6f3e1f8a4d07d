//! The requests of the recorded conversation, in order. It waits for the effect of a post before it reads
//! that.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::recorder::{Recorder, Stream};
use crate::support::{Http, eventually};

const LIMIT: Duration = Duration::from_secs(60);
const MESSAGES: &str = "/v1/messages";
const BATCH: &str = "/v1/messages/batch";
/// A JSON request of a trace.
const TRACED: [(&str, &str); 3] = [
    ("content-type", "application/json"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("tracestate", "vendor=1"),
];
const NDJSON: [(&str, &str); 1] = [("content-type", "application/x-ndjson")];
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
/// The start of the ids of messages and jobs; the last two digits distinguish them.
const ID: &str = "00000000-0000-7000-8000-0000000000";

/// Sends all requests of the conversation.
pub async fn run(recorder: &mut Recorder) {
    let mut silent = recorder.open("/v1/stream?subject=agent.task.none.never", &[]).await;
    silent.is_ready().await;
    messages(recorder).await;
    batches(recorder).await;
    history(recorder).await;
    replies(recorder).await;
    streams(recorder, silent).await;
    agents(recorder).await;
    tasks(recorder).await;
    queues(recorder).await;
    leases(recorder).await;
    processing(recorder).await;
    webhooks(recorder).await;
    schemas(recorder).await;
    erasure(recorder).await;
    operations(recorder).await;
    refusals(recorder).await;
}

async fn messages(recorder: &mut Recorder) {
    recorder.chapter("Messages");
    let note = json!({"kind": "message", "type": "note", "sender_id": "ann", "id": format!("{ID}01"), "content": "good day", "metadata": {"n": 1.50, "e": "\u{e9}"}});
    recorder.post_json(MESSAGES, &note).await;
    committed(&recorder.http(), 1).await;
    recorder.post_json(MESSAGES, &note).await;
    let other = json!({"kind": "message", "type": "note", "sender_id": "ann", "id": format!("{ID}01"), "content": "good night"});
    recorder.post_json(MESSAGES, &other).await;
    let status = json!({"kind": "status", "type": "online", "sender_id": "ann", "sender_role": "planner", "metadata": {"ttl_s": 86_400}});
    recorder.post_json("/v1/messages?ack=committed", &status).await;
    let task = json!({"kind": "task", "type": "started", "sender_id": "bob", "task_id": "t1", "recipient_id": "ann", "conversation_id": "c1", "in_reply_to": format!("{ID}01"), "expires_at": "2001-02-03T04:05:06Z"});
    recorder.post_json(MESSAGES, &task).await;
    let keyed = [("content-type", "application/json"), ("idempotency-key", "k1")];
    let body = r#"{"kind":"message","type":"note","sender_id":"bob","recipient_id":"ann"}"#;
    recorder.ask(Method::POST, MESSAGES, &keyed, body).await;
    committed(&recorder.http(), 4).await;
    recorder.ask(Method::POST, MESSAGES, &keyed, body).await;
    recorder.ask(Method::POST, MESSAGES, &keyed, &note.to_string()).await;
    let wrong = json!({"kind": "letter", "type": "a b", "seq": 1, "subject": "agent.x", "colour": "red", "content": 5});
    recorder.post_json(MESSAGES, &wrong).await;
    recorder.post_json("/v1/messages?ack=perhaps&more=1", &note).await;
    recorder.ask(Method::POST, MESSAGES, &JSON, "{\"kind\":\n nonsense}").await;
    recorder.ask(Method::POST, MESSAGES, &[("content-type", "text/plain")], body).await;
    let large = json!({"kind": "message", "type": "note", "sender_id": "ann", "content": "x".repeat(1_050_000)});
    recorder.post_json(MESSAGES, &large).await;
}

async fn batches(recorder: &mut Recorder) {
    recorder.chapter("Batches");
    let good = r#"{"kind":"task","type":"completed","sender_id":"bob","task_id":"t1"}"#;
    let again = format!(
        r#"{{"kind":"message","type":"note","sender_id":"ann","id":"{ID}01","content":"good night"}}"#
    );
    let lines = format!("{good}\n\n{{\"kind\":\"task\"}}\n{again}\nnonsense");
    recorder.ask(Method::POST, BATCH, &NDJSON, &lines).await;
    let late = r#"{"kind":"task","type":"failed","sender_id":"cyd","task_id":"t1"}"#;
    let open = r#"{"kind":"task","type":"started","sender_id":"cyd","task_id":"t2"}"#;
    recorder.ask(Method::POST, BATCH, &JSON, &format!("[{late},{open}]")).await;
    recorder.ask(Method::POST, BATCH, &NDJSON, "").await;
    recorder.ask(Method::POST, BATCH, &JSON, "{}").await;
    recorder.ask(Method::POST, BATCH, &[], good).await;
    let many = vec!["{}"; 1_001].join("\n");
    recorder.ask(Method::POST, BATCH, &NDJSON, &many).await;
    let keyed = [NDJSON[0], ("idempotency-key", "k2")];
    recorder.ask(Method::POST, BATCH, &keyed, good).await;
}

async fn history(recorder: &mut Recorder) {
    recorder.chapter("History");
    committed(&recorder.http(), 7).await;
    for query in [
        "",
        "?limit=2",
        "?limit=2&after=2",
        "?limit=2&order=desc",
        "?order=desc&before=3",
        "?subject=agent.task.>&type=completed&type=failed",
        "?recipient=ann&broadcast=true&kind=message",
        "?sender=bob&task=t1&conversation=c1",
        "?between=ann,bob",
        "?since=2001-01-01T00:00:00Z&until=2001-01-02T00:00:00Z",
        "?limit=0&order=up&subject=a..b&kind=letter&nothing=1&since=today",
    ] {
        recorder.get(&format!("{MESSAGES}{query}")).await;
    }
    recorder.get(&format!("{MESSAGES}/{ID}01")).await;
    recorder.get(&format!("{MESSAGES}/{ID}99")).await;
    recorder.get(&format!("{MESSAGES}/nonsense")).await;
}

async fn replies(recorder: &mut Recorder) {
    recorder.chapter("Request and reply");
    let ask = json!({"kind": "message", "type": "question", "sender_id": "ann", "recipient_id": "bob", "id": format!("{ID}02")});
    let path = "/v1/messages?reply_within=30";
    let (http, asked) = (recorder.http(), ask.clone());
    let waiting = tokio::spawn(async move { http.post_json(path, &asked).await });
    let http = recorder.http();
    eventually(LIMIT, "the question is in history", async || {
        (http.get(&format!("{MESSAGES}/{ID}02")).await.status == 200).then_some(())
    })
    .await;
    let reply = json!({"kind": "message", "type": "answer", "sender_id": "bob", "recipient_id": "ann", "in_reply_to": format!("{ID}02")});
    recorder.post_json(MESSAGES, &reply).await;
    let answer = waiting.await.expect("an answer");
    recorder.record(Method::POST, path, &JSON, &ask.to_string(), &answer);
    recorder.post_json(path, &ask).await;
    let lonely = json!({"kind": "message", "type": "question", "sender_id": "ann"});
    recorder.post_json("/v1/messages?reply_within=1", &lonely).await;
    recorder.post_json("/v1/messages?reply_within=0", &lonely).await;
}

async fn streams(recorder: &mut Recorder, silent: Stream) {
    recorder.chapter("Streams");
    committed(&recorder.http(), 10).await;
    let start = recorder.open("/v1/stream?from=start", &[]).await;
    recorder.blocks(start, 12).await;
    let filtered = recorder.open("/v1/stream?from=2&subject=agent.task.>&sender=cyd", &[]).await;
    recorder.blocks(filtered, 4).await;
    let resumed = recorder.open("/v1/stream?from=start", &[("Last-Event-ID", "8")]).await;
    recorder.blocks(resumed, 4).await;
    let ahead = recorder.open("/v1/stream?lastEventId=5000", &[]).await;
    recorder.blocks(ahead, 2).await;
    let live = recorder.open("/v1/stream", &[]).await;
    let http = recorder.http();
    eventually(LIMIT, "both streams are open", async || {
        (http.get("/v1/stats").await.json()["streams_open"] == 2).then_some(())
    })
    .await;
    let note = json!({"kind": "message", "type": "note", "sender_id": "ann", "content": "live"});
    recorder.post_json(MESSAGES, &note).await;
    recorder.blocks(live, 2).await;
    recorder.blocks(silent, 2).await;
    recorder.get("/v1/stream?from=yesterday&subject=a..b&limit=1").await;
    recorder.ask(Method::GET, "/v1/stream", &[("last-event-id", "x")], "").await;
}

async fn agents(recorder: &mut Recorder) {
    recorder.chapter("Agents and inboxes");
    committed(&recorder.http(), 11).await;
    for path in [
        "/v1/agents",
        "/v1/agents?limit=1",
        "/v1/agents?after=bob&limit=5",
        "/v1/agents?limit=x&state=on",
        "/v1/agents/ann",
        "/v1/agents/nobody",
        "/v1/agents/ann/inbox",
        "/v1/agents/ann/inbox?broadcast=true&limit=1",
        "/v1/agents/ann/inbox?after=5",
        "/v1/agents/dan/inbox?wait=1",
        "/v1/agents/a%20b/inbox?wait=61&limit=0",
    ] {
        recorder.get(path).await;
    }
    let ack = "/v1/agents/ann/inbox/ack";
    recorder.post_json(ack, &json!({"through": 5})).await;
    recorder.post_json(ack, &json!({"through": 3})).await;
    recorder.post_json(ack, &json!({"through": 5_000})).await;
    recorder.post_json(ack, &json!({"to": 5})).await;
    recorder.get("/v1/agents/ann").await;
}

async fn tasks(recorder: &mut Recorder) {
    recorder.chapter("Tasks");
    for path in [
        "/v1/tasks",
        "/v1/tasks?state=open",
        "/v1/tasks?state=done&limit=1",
        "/v1/tasks?state=lost",
        "/v1/tasks/t1",
        "/v1/tasks/t9",
    ] {
        recorder.get(path).await;
    }
}

async fn queues(recorder: &mut Recorder) {
    recorder.chapter("Queues");
    let rules = json!({"lease_s": 600, "max_deliver": 2, "backoff_s": [600]});
    recorder.json(Method::PUT, "/v1/queues/builds", &rules).await;
    recorder.json(Method::PUT, "/v1/queues/builds", &rules).await;
    recorder.json(Method::PUT, "/v1/queues/a.b", &json!({})).await;
    recorder.json(Method::PUT, "/v1/queues/wrong", &json!({"lease_s": 0, "retries": 1})).await;
    let jobs = "/v1/queues/builds/jobs";
    let job = json!({"type": "build", "payload": {"n": 1}, "id": format!("{ID}11")});
    recorder.ask(Method::POST, jobs, &TRACED, &job.to_string()).await;
    recorder.post_json(jobs, &job).await;
    let other = json!({"type": "build", "payload": {"n": 2}, "id": format!("{ID}11")});
    recorder.post_json(jobs, &other).await;
    let later = json!({"type": "build", "payload": null, "delay_s": 3_600, "priority": "low", "id": format!("{ID}12")});
    recorder.post_json(jobs, &later).await;
    recorder.post_json(jobs, &json!({"payload": 1, "priority": "top"})).await;
    let line = |n: u8, priority: &str| {
        json!({"type": "build", "payload": n, "priority": priority, "id": format!("{ID}{n}")})
            .to_string()
    };
    let lines = [line(13, "low"), line(14, "high"), "{}".to_owned()].join("\n");
    recorder.ask(Method::POST, "/v1/queues/builds/jobs/batch", &NDJSON, &lines).await;
    counts(&recorder.http(), 3, 0, 1).await;
    recorder.get("/v1/queues").await;
    recorder.get("/v1/queues/builds").await;
    recorder.get("/v1/queues/nothing").await;
    recorder.delete("/v1/queues/nothing").await;
    recorder.delete("/v1/queues/builds").await;
}

async fn leases(recorder: &mut Recorder) {
    recorder.chapter("Leases");
    let lease = "/v1/queues/builds/lease";
    let one = json!({"max": 1, "wait_s": 10, "worker": "w1"});
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let leased = recorder.post_json(lease, &one).await.json();
        tokens.push(leased["jobs"][0]["lease_token"].as_str().expect("a token").to_owned());
    }
    recorder.post_json(lease, &json!({"max": 8})).await;
    recorder.post_json(lease, &json!({"max": 0, "wait": 1})).await;
    recorder.post_json("/v1/queues/nothing/lease", &json!({"max": 1, "wait_s": 1})).await;
    recorder.delete("/v1/queues/builds?force=true").await;
    let extended = recorder.post(&format!("/v1/leases/{}/extend", tokens[0])).await.json();
    let token = extended["lease_token"].as_str().expect("a token").to_owned();
    recorder.post(&format!("/v1/leases/{token}/ack")).await;
    recorder.post(&format!("/v1/leases/{token}/ack")).await;
    recorder.post(&format!("/v1/leases/{}/sell", tokens[1])).await;
    recorder.post_json(&format!("/v1/leases/{}/nack", tokens[1]), &json!({"delay_s": -1})).await;
    recorder.post_json(&format!("/v1/leases/{}/nack", tokens[1]), &json!({"delay_s": 0})).await;
    let settle = [
        json!({"lease_token": tokens[2], "action": "fail", "reason": "no compiler"}).to_string(),
        json!({"lease_token": "nonsense", "action": "ack"}).to_string(),
        json!({"action": "ack"}).to_string(),
    ];
    recorder.ask(Method::POST, "/v1/leases/settle", &NDJSON, &settle.join("\n")).await;
    let again = recorder.post_json(lease, &one).await.json();
    let token = again["jobs"][0]["lease_token"].as_str().expect("a token").to_owned();
    recorder.post_json(&format!("/v1/leases/{token}/fail"), &json!({"reason": "again"})).await;
    counts(&recorder.http(), 0, 0, 1).await;
    letters(&recorder.http(), "builds", 2).await;
    recorder.get("/v1/queues/builds").await;
    recorder.get("/v1/dead-letters?source=builds").await;
    recorder.delete("/v1/queues/builds?force=true").await;
}

async fn processing(recorder: &mut Recorder) {
    recorder.chapter("Processing and dead letters");
    let bad = json!({"kind": "task", "type": "note", "sender_id": "ann", "task_id": "t3", "id": format!("{ID}21"), "content": "bad"});
    recorder.post_json(MESSAGES, &bad).await;
    letters(&recorder.http(), "agent-processor", 1).await;
    processed(&recorder.http(), 12).await;
    failed(&recorder.http(), 1).await;
    recorder.get("/v1/consumers").await;
    let consumer = "/v1/consumers/agent-processor";
    recorder.post(&format!("{consumer}/pause")).await;
    recorder.post(&format!("{consumer}/resume")).await;
    recorder.post("/v1/consumers/nobody/pause").await;
    recorder.post_json(&format!("{consumer}/reset"), &json!({"from": 12})).await;
    recorder.post_json(&format!("{consumer}/reset"), &json!({"to": 12})).await;
    processed(&recorder.http(), 12).await;
    failed(&recorder.http(), 2).await;
    let list = recorder.get("/v1/dead-letters?source=agent-processor").await.json();
    let id = list["dead_letters"][0]["id"].as_str().expect("an id").to_owned();
    recorder.get("/v1/dead-letters?limit=1").await;
    recorder.get("/v1/dead-letters?limit=0&kind=job").await;
    recorder.get(&format!("/v1/dead-letters/{id}")).await;
    recorder.post(&format!("/v1/dead-letters/{id}/redrive")).await;
    recorder.post(&format!("/v1/dead-letters/{ID}99/redrive")).await;
    recorder.post("/v1/dead-letters/redrive?source=builds").await;
    letters(&recorder.http(), "agent-processor", 1).await;
    recorder.post("/v1/dead-letters/redrive").await;
    letters(&recorder.http(), "agent-processor", 1).await;
    failed(&recorder.http(), 4).await;
    let list = recorder.get("/v1/dead-letters").await.json();
    let id = list["dead_letters"][0]["id"].as_str().expect("an id").to_owned();
    recorder.delete(&format!("/v1/dead-letters/{id}")).await;
    recorder.get(&format!("/v1/dead-letters/{id}")).await;
    recorder.get("/v1/queues/builds").await;
}

async fn webhooks(recorder: &mut Recorder) {
    recorder.chapter("Webhooks");
    let webhook = json!({"url": "http://127.0.0.1:9/hook", "filter": "agent.task.none.never"});
    let made = recorder.post_json("/v1/webhooks", &webhook).await.json();
    let path = format!("/v1/webhooks/{}", made["id"].as_str().expect("an id"));
    recorder.post_json("/v1/webhooks", &json!({"url": "ftp://a", "filter": "a..b"})).await;
    recorder.json(Method::PATCH, &path, &json!({"paused": true})).await;
    recorder.get("/v1/webhooks").await;
    recorder.get(&path).await;
    recorder.json(Method::PATCH, &path, &json!({"paused": "yes"})).await;
    recorder.delete(&path).await;
    recorder.get(&path).await;
    recorder.delete(&path).await;
}

async fn schemas(recorder: &mut Recorder) {
    recorder.chapter("Payload schemas");
    let path = "/v1/schemas/message/order";
    let schema = json!({"schema": {"properties": {"content": {"pattern": "^[a-z]+$"}, "metadata": {"required": ["n"]}}}, "mode": "warn"});
    recorder.ask(Method::PUT, &format!("{path}?check=true"), &JSON, &schema.to_string()).await;
    recorder.ask(Method::PUT, path, &JSON, &schema.to_string()).await;
    let wrong = json!({"kind": "message", "type": "order", "sender_id": "ann", "content": "NO"});
    let seq = recorder.post_json(MESSAGES, &wrong).await.seq();
    committed(&recorder.http(), seq).await;
    let enforced = json!({"schema": {"properties": {"content": {"pattern": "^[a-z]+$"}}}});
    recorder.ask(Method::PUT, path, &JSON, &enforced.to_string()).await;
    recorder.post_json(MESSAGES, &wrong).await;
    recorder.ask(Method::POST, BATCH, &NDJSON, &wrong.to_string()).await;
    let outside = json!({"schema": {"$ref": "http://a.example/b"}, "content": "xml"});
    recorder.ask(Method::PUT, path, &JSON, &outside.to_string()).await;
    recorder.get("/v1/schemas").await;
    recorder.get(path).await;
    recorder.get(&format!("{path}/versions")).await;
    recorder.ask(Method::DELETE, path, &[], "").await;
    recorder.get(path).await;
}

async fn erasure(recorder: &mut Recorder) {
    recorder.chapter("Erasure");
    let path = format!("{MESSAGES}/{ID}01/erase");
    recorder.post_json(&path, &json!({"why": "asked to"})).await;
    recorder.post_json(&path, &json!({"reason": "asked to"})).await;
    recorder.post_json(&path, &json!({"reason": "asked to"})).await;
    recorder.get(&format!("{MESSAGES}/{ID}01")).await;
    let other = json!({"kind": "message", "type": "note", "sender_id": "ann", "id": format!("{ID}01"), "content": "good night"});
    recorder.post_json(MESSAGES, &other).await;
    recorder.post_json(&format!("{MESSAGES}/{ID}99/erase"), &json!({"reason": "asked to"})).await;
}

async fn operations(recorder: &mut Recorder) {
    recorder.chapter("Operations");
    for path in ["/v1/stats", "/v1/stats?task=t1", "/v1/stats?x=1", "/v1/status", "/livez"] {
        recorder.get(path).await;
    }
    for path in ["/readyz", "/readyz?verbose", "/metrics", "/", "/style.css", "/js/app.js"] {
        recorder.get(path).await;
    }
    recorder.ask(Method::HEAD, "/", &[], "").await;
}

async fn refusals(recorder: &mut Recorder) {
    recorder.chapter("Refusals before any route");
    recorder.get("/v1/nothing").await;
    recorder.ask(Method::PUT, MESSAGES, &[], "").await;
    recorder.ask(Method::POST, "/metrics", &[], "").await;
    recorder.ask(Method::GET, "/livez", &[("host", "evil.example")], "").await;
    let foreign = [("origin", "https://evil.example")];
    recorder.ask(Method::POST, "/v1/dead-letters/redrive", &foreign, "").await;
    let cross = [("sec-fetch-site", "cross-site")];
    recorder.ask(Method::POST, "/v1/dead-letters/redrive", &cross, "").await;
    recorder.ask(Method::GET, "/livez", &foreign, "").await;
}

/// Waits until history has everything up to `seq`.
async fn committed(http: &Http, seq: u64) {
    has(http, "/v1/messages?limit=1", "history has it", |page| page["committed_through"] == seq)
        .await;
}

/// Waits until the queue has this many jobs.
async fn counts(http: &Http, waiting: u64, leased: u64, delayed: u64) {
    let wanted = [("waiting", waiting), ("leased", leased), ("delayed", delayed)];
    let holds = |info: &Value| wanted.iter().all(|(name, count)| info[name] == *count);
    has(http, "/v1/queues/builds", "the queue has these jobs", holds).await;
}

/// Waits until a source has this many dead letters.
async fn letters(http: &Http, source: &str, count: usize) {
    let path = format!("/v1/dead-letters?source={source}");
    let holds = |list: &Value| list["dead_letters"].as_array().is_some_and(|it| it.len() == count);
    has(http, &path, "the dead letters are there", holds).await;
}

/// Waits until everything up to `seq` is processed.
async fn processed(http: &Http, seq: u64) {
    let holds = |list: &Value| {
        let one = &list["consumers"][0];
        one["processed_through"] == seq && one["lag"]["messages"] == 0 && one["pending"] == 0
    };
    has(http, "/v1/consumers", "all is processed", holds).await;
}

/// Waits until the processor's totals, which are saved now and then, count this many failed attempts.
async fn failed(http: &Http, count: u64) {
    let holds = |list: &Value| list["consumers"][0]["failed"] == count;
    has(http, "/v1/consumers", "the failed attempts are counted", holds).await;
}

async fn has(http: &Http, path: &str, what: &str, holds: impl Fn(&Value) -> bool) {
    let mut last = Value::Null;
    let seen = crate::support::wait::poll(LIMIT, async || {
        last = http.get(path).await.json();
        holds(&last).then_some(())
    });
    assert!(seen.await.is_some(), "not within {LIMIT:?}: {what}: {last}");
}
