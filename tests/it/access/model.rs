//! For random grants, filters and messages, history and streams give exactly what filter and grant both allow.

use serde_json::{Value, json};

use crate::support::keys::Secured;
use crate::support::{Http, Mode};
use std::time::Duration;

const MESSAGES: usize = 300;
const KEYS: usize = 12;
const FILTERS: usize = 6;

fn pick<'a>(choices: &[&'a str]) -> &'a str {
    choices[fastrand::usize(..choices.len())]
}

fn random_message(n: usize) -> Value {
    let mut message = json!({
        "kind": pick(&["message", "status", "task"]), "type": pick(&["x", "y"]),
        "sender_id": pick(&["ann", "bob", "carl"]), "content": n.to_string(),
        "task_id": pick(&["t1", "t2"]),
    });
    if message["kind"] == "message" {
        message["sender_role"] = json!(pick(&["coder", "judge"]));
    }
    if fastrand::bool() {
        message["recipient_id"] = json!(pick(&["ann", "bob", "carl"]));
    }
    message
}

fn random_grants() -> Value {
    let patterns = [
        "agent.task.t1.>",
        "agent.message.coder.*",
        "agent.*.*.x",
        "agent.status.ann.>",
        "agent.task.>",
    ];
    let some = |choices: &[&str], most: usize| -> Vec<Value> {
        (0..fastrand::usize(0..=most)).map(|_| json!(pick(choices))).collect()
    };
    let mut names = some(&["ann", "bob", "*"], 2);
    names.dedup();
    json!({"as": names, "read": some(&patterns, 2)})
}

fn random_filter() -> String {
    let parts = [
        "kind=task",
        "kind=message",
        "type=x",
        "sender=ann",
        "sender=bob",
        "recipient=ann",
        "recipient=bob&broadcast=true",
        "task=t1",
        "subject=agent.*.*.x",
        "subject=agent.task.>",
    ];
    let parts: Vec<&str> = (0..fastrand::usize(0..=2)).map(|_| pick(&parts)).collect();
    parts.join("&")
}

/// Whether a subject matches a pattern.
fn matches(pattern: &str, subject: &str) -> bool {
    let (mut wanted, mut tokens) = (pattern.split('.'), subject.split('.'));
    loop {
        match (wanted.next(), tokens.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

fn granted(grants: &Value, message: &Value) -> bool {
    let names: Vec<&str> =
        grants["as"].as_array().expect("names").iter().filter_map(Value::as_str).collect();
    let takes_part =
        |member: &str| message[member].as_str().is_some_and(|name| names.contains(&name));
    let subject = message["subject"].as_str().expect("a subject");
    let read = grants["read"].as_array().expect("patterns");
    takes_part("sender_id")
        || takes_part("recipient_id")
        || read.iter().any(|pattern| matches(pattern.as_str().expect("a pattern"), subject))
}

/// What a filter selects: read with every grant, so that the rules of filters are not written again here.
async fn all(http: &Http, filter: &str) -> Option<Vec<Value>> {
    let (mut found, mut after) = (Vec::new(), 0);
    loop {
        let answer = http.get(&format!("/v1/messages?{filter}&after={after}&limit=50")).await;
        if answer.status == 403 {
            return None;
        }
        let page = answer.expect(200).json();
        found.extend(page["messages"].as_array().expect("messages").iter().cloned());
        match page["next"].as_u64() {
            Some(next) => {
                assert!(next > after, "pages move on");
                after = next;
            }
            None => return Some(found),
        }
    }
}

/// What a stream from the start gives until it has caught up.
async fn streamed(http: &Http, filter: &str) -> Vec<Value> {
    let mut stream = http.stream(&format!("{filter}&from=start"), None).await;
    let frames = stream.until(Duration::from_secs(60), |frame| frame.is("caught_up")).await;
    let is_message = |frame: &&crate::support::Frame| frame.is_message();
    frames.iter().filter(is_message).map(|frame| frame.json()).collect()
}

async fn history_and_streams_equal_filter_and_grant(mode: Mode) {
    // A small ring, so that streams read the store as well.
    let secured = Secured::tuned(mode, &[("RING_SIZE", "64")]).await;
    let messages: Vec<Value> = (0..MESSAGES).map(random_message).collect();
    let posted = secured.root.post_ndjson("/v1/messages/batch?ack=committed", &messages).await;
    assert_eq!(posted.expect(200).json()["accepted"], MESSAGES);
    for _ in 0..KEYS {
        let grants = random_grants();
        let key = secured.key(grants.clone()).await;
        for _ in 0..FILTERS {
            let filter = random_filter();
            let mut wanted = all(&secured.root, &filter).await.expect("every grant");
            wanted.retain(|message| granted(&grants, message));
            let Some(found) = all(&key.http, &filter).await else {
                assert!(wanted.is_empty(), "403, but {grants} reads something");
                continue;
            };
            assert_eq!(found, wanted, "history of {grants} with ?{filter}");
            assert_eq!(
                streamed(&key.http, &filter).await,
                wanted,
                "stream of {grants} with ?{filter}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_read_is_what_was_granted_memory_sqlite() {
    history_and_streams_equal_filter_and_grant(Mode::MemorySqlite).await;
}

#[tokio::test]
async fn what_is_read_is_what_was_granted_memory_postgres() {
    history_and_streams_equal_filter_and_grant(Mode::MemoryPostgres).await;
}

#[tokio::test]
async fn what_is_read_is_what_was_granted_nats() {
    history_and_streams_equal_filter_and_grant(Mode::Nats).await;
}

/// How often the grants change while messages come (issue 16).
const CHANGES: Duration = Duration::from_secs(3);
/// Time within which a change holds on every server.
const HOLDS: Duration = Duration::from_secs(1);

/// What was granted, and since when.
type Grants = std::sync::Mutex<Vec<(std::time::Instant, Value)>>;

/// Messages come while the grants of a key change. A reader that resumes as an `EventSource` does gets nothing that was
/// not granted within the last second, and at the end misses nothing that was granted all the time.
#[tokio::test]
async fn a_reader_stays_within_grants_that_change_under_load() {
    let secured = Secured::tuned(Mode::Nats, &[("RING_SIZE", "256")]).await;
    let second = secured.deployment.second_server().await;
    let always = "agent.task.t1.>";
    let sometimes = ["agent.message.coder.*", "agent.status.ann.>", "agent.*.*.x"];
    let first = json!({"as": [], "read": [always]});
    let key = secured.key(first.clone()).await;
    let grants: std::sync::Arc<Grants> =
        std::sync::Arc::new(std::sync::Mutex::new(vec![(std::time::Instant::now(), first)]));
    let end = std::time::Instant::now() + CHANGES * 4;
    let posting = async {
        let mut posted = Vec::new();
        while std::time::Instant::now() < end {
            let messages: Vec<Value> = (0..20).map(random_message).collect();
            let answer =
                secured.root.post_ndjson("/v1/messages/batch", &messages).await.expect(200);
            let results = answer.json();
            posted.extend(
                results["results"]
                    .as_array()
                    .expect("results")
                    .iter()
                    .filter_map(|it| it["seq"].as_u64()),
            );
            tokio::task::yield_now().await;
        }
        posted
    };
    let changing = async {
        for n in 0..3 {
            tokio::time::sleep_until(tokio::time::Instant::now() + CHANGES).await;
            let now = json!({"as": [], "read": [always, sometimes[n % sometimes.len()]]});
            let headers = [("content-type", "application/json")];
            let change = json!({"grants": now}).to_string();
            let path = format!("/v1/keys/{}", key.id);
            // What the change adds may be read from the moment on in which it is requested.
            grants.lock().expect("unpoisoned").push((std::time::Instant::now(), now));
            let changed =
                secured.root.request(reqwest::Method::PATCH, &path, &headers, change).await;
            changed.expect("an answer").expect(200);
        }
    };
    let reader =
        tokio::spawn(follow(second.http().with_key(&key.key), std::sync::Arc::clone(&grants)));
    let (posted, ()) = tokio::join!(posting, changing);
    let last = *posted.last().expect("messages");
    // One message that is granted all the time ends the reading.
    let stop = json!({"kind": "task", "type": "end", "sender_id": "bob", "task_id": "t1"});
    let stop = secured.root.post_json("/v1/messages", &stop).await.expect(201).seq();
    assert!(stop > last);
    let got = tokio::time::timeout(Duration::from_secs(120), reader)
        .await
        .expect("reads")
        .expect("no panic");
    let wanted: Vec<u64> = all(&secured.root, "task=t1&kind=task")
        .await
        .expect("every grant")
        .iter()
        .filter_map(|it| it["seq"].as_u64())
        .collect();
    let missing: Vec<&u64> = wanted.iter().filter(|seq| !got.contains(seq)).collect();
    assert!(missing.is_empty(), "granted all the time, and not read: {missing:?}");
}

/// Reads until a message of type `end`; returns the sequences.
async fn follow(http: Http, grants: std::sync::Arc<Grants>) -> Vec<u64> {
    let (mut cursor, mut got) = (0, Vec::new());
    loop {
        let Ok(Ok(mut stream)) = http.try_stream("", Some(cursor)).await else {
            tokio::task::yield_now().await;
            continue;
        };
        while let Ok(frame) = stream.try_next(Duration::from_secs(60)).await {
            if let Some(id) = frame.id.as_deref().and_then(|id| id.parse().ok()) {
                cursor = id;
            }
            if !frame.is_message() {
                continue;
            }
            let (message, now) = (frame.json(), std::time::Instant::now());
            assert!(got.last().is_none_or(|last| *last < cursor), "in order, each once");
            got.push(cursor);
            let all = grants.lock().expect("unpoisoned").clone();
            let mut in_force = all.iter().enumerate().filter(|(n, _)| {
                all.get(n + 1).is_none_or(|(ended, _)| now.duration_since(*ended) <= HOLDS)
            });
            assert!(
                in_force.any(|(_, (_, grants))| granted(grants, &message)),
                "{message} is not granted"
            );
            if message["type"] == "end" {
                return got;
            }
        }
    }
}
