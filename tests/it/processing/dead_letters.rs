//! Dead letters over HTTP and on the command line. The test puts them into the store as a processor would,
//! for sources that no consumer processes, so only the test's requests change them.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use crate::support::{Deployment, Http, eventually, for_each_mode, within};
use agentbus::store::Store;
use agentbus::store::postgres::PostgresStore;
use agentbus::store::sqlite::SqliteStore;
use agentbus::store::work::{Attempt, DeadLetter, DeadLetterKind, Position};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::process::Command;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(60);
/// An existing consumer that no process runs.
const HERE: &str = "here";
/// A consumer that does not exist.
const DELETED: &str = "deleted";

async fn store(deployment: &Deployment) -> Box<dyn Store> {
    match deployment.pg_url() {
        Some(url) => Box::new(PostgresStore::connect(url).await.expect("PostgreSQL opens")),
        None => {
            let dir = deployment.agentbus().data_dir();
            Box::new(SqliteStore::open(&dir).await.expect("SQLite opens"))
        }
    }
}

fn at(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).expect("a time")
}

fn letter(kind: DeadLetterKind, source: &str, seq: u64) -> DeadLetter {
    let body = match kind {
        DeadLetterKind::Message => r#"{"id":"x","content":"caf\u00e9","metadata":{"n": 1.0e2}}"#,
        DeadLetterKind::Job => r#"{"job_id":"j","type":"t","payload":null,"priority":"high"}"#,
    };
    DeadLetter {
        id: Uuid::now_v7(),
        kind,
        source: source.to_owned(),
        seq,
        subject: "agent.task.t.x".to_owned(),
        body: Bytes::from_static(body.as_bytes()),
        attempts: vec![Attempt {
            attempt: 1,
            at: at(1_790_000_000_000_001),
            error: "it \"broke\"".to_owned(),
        }],
        reason: "rejected".to_owned(),
        died_at: at(1_790_000_000_000_002),
    }
}

/// Stores dead letters: three messages of a consumer, one of a deleted consumer, and a job.
async fn with_dead_letters(deployment: &Deployment) -> (Box<dyn Store>, Vec<DeadLetter>) {
    let store = store(deployment).await;
    let place = Position { floor: 0, feed: None, handled: true };
    store.create_consumer(HERE, "agent.>", &place).await.expect("a consumer");
    let mut letters: Vec<_> =
        (1..=3).map(|seq| letter(DeadLetterKind::Message, HERE, seq)).collect();
    letters.push(letter(DeadLetterKind::Message, DELETED, 1));
    letters.push(letter(DeadLetterKind::Job, DELETED, 1));
    store.add_dead_letters(&letters).await.expect("stored");
    (store, letters)
}

async fn post(http: &Http, path: &str) -> crate::support::Answer {
    http.post(path, "application/json", Bytes::new()).await
}

async fn ids(http: &Http, query: &str) -> Vec<String> {
    let page = http.get(&format!("/v1/dead-letters?{query}")).await.expect(200).json();
    let letters = page["dead_letters"].as_array().expect("a list");
    letters.iter().map(|letter| letter["id"].as_str().expect("an id").to_owned()).collect()
}

fn names(letters: &[DeadLetter]) -> Vec<String> {
    letters.iter().map(|letter| letter.id.to_string()).collect()
}

fn path(letter: &DeadLetter) -> String {
    format!("/v1/dead-letters/{}", letter.id)
}

fn refused(answer: &crate::support::Answer, status: u16, code: &str) {
    assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{answer:?}");
}

for_each_mode! {
    async fn dead_letters_are_shown_as_stored(deployment: &Deployment) {
        let (http, (store, letters)) = (deployment.http(), with_dead_letters(deployment).await);
        let attempts = json!([{"attempt": 1, "at": "2026-09-21T14:13:20.000001Z", "error": "it \"broke\""}]);
        let expected = |letter: &DeadLetter| json!({
            "id": letter.id, "kind": letter.kind.as_str(), "source": letter.source, "seq": letter.seq,
            "subject": "agent.task.t.x", "reason": "rejected", "attempts": attempts,
            "died_at": "2026-09-21T14:13:20.000002Z",
        });
        let mut message = expected(&letters[1]);
        message["message"] = json!({"seq": 2, "id": "x", "content": "caf\u{e9}", "metadata": {"n": 1.0e2}});
        let answer = http.get(&path(&letters[1])).await.expect(200);
        assert_eq!(answer.json(), message);
        let text = String::from_utf8(answer.bytes.to_vec()).expect("UTF-8");
        assert!(text.contains(r#""message":{"seq":2,"id":"x","content":"caf\u00e9","metadata":{"n": 1.0e2}}"#), "{text}");
        let mut job = expected(&letters[4]);
        job["job"] = json!({"job_id": "j", "type": "t", "payload": null, "priority": "high"});
        assert_eq!(http.get(&path(&letters[4])).await.expect(200).json(), job);

        let all = names(&letters);
        assert_eq!(ids(http, "").await, all);
        assert_eq!(ids(http, "source=here").await, all[..3]);
        assert_eq!(ids(http, "source=deleted").await, all[3..]);
        assert_eq!(ids(http, "kind=job").await, all[4..]);
        assert_eq!(ids(http, "source=here&kind=job").await, [""; 0]);
        let page = http.get("/v1/dead-letters?limit=2").await.expect(200).json();
        assert_eq!(page["next"], json!(all[1]));
        assert_eq!(ids(http, &format!("limit=2&after={}", all[1])).await, all[2..4]);
        let last = http.get(&format!("/v1/dead-letters?limit=2&after={}", all[2])).await.json();
        assert_eq!(last["next"], Value::Null);
        store.close().await;
    }

    async fn bad_parameters_are_refused_by_name(deployment: &Deployment) {
        let http = deployment.http();
        let answer = http.get("/v1/dead-letters?limit=0&kind=letter&source=&after=x&colour=red").await;
        refused(&answer, 422, "invalid_parameter");
        let faults = answer.json()["errors"].as_array().expect("faults").len();
        assert_eq!(faults, 5, "{answer:?}");
        refused(&post(http, "/v1/dead-letters/redrive?sources=a").await, 422, "invalid_parameter");
        for id in ["x", "%ff", &Uuid::now_v7().to_string()] {
            let path = format!("/v1/dead-letters/{id}");
            refused(&http.get(&path).await, 404, "not_found");
            refused(&http.delete(&path).await, 404, "not_found");
            refused(&post(http, &format!("{path}/redrive")).await, 404, "not_found");
        }
        refused(&http.delete("/v1/dead-letters").await, 405, "method_not_allowed");
    }

    async fn a_redriven_message_goes_only_to_its_source(deployment: &Deployment) {
        let (http, (store, letters)) = (deployment.http(), with_dead_letters(deployment).await);
        let head = http.get("/v1/stats").await.expect(200).json()["log"].clone();
        let aside = async || store.consumer(HERE).await.expect("answers").expect("there").set_aside;
        let redrive = async |letter: &DeadLetter| post(http, &format!("{}/redrive", path(letter))).await;
        assert_eq!(redrive(&letters[0]).await.expect(200).json(), json!({"redriven": 1}));
        assert_eq!(aside().await, 1);
        refused(&redrive(&letters[0]).await, 404, "not_found");
        refused(&redrive(&letters[3]).await, 409, "source_gone");
        refused(&redrive(&letters[4]).await, 409, "source_gone");

        let all = post(http, "/v1/dead-letters/redrive?source=here").await.expect(200).json();
        assert_eq!((all, aside().await), (json!({"redriven": 2}), 3));
        let rest = post(http, "/v1/dead-letters/redrive").await.expect(200).json();
        assert_eq!(rest, json!({"redriven": 0, "skipped": 2}));
        assert_eq!(ids(http, "").await, names(&letters[3..]));
        assert_eq!(http.get("/v1/stats").await.expect(200).json()["log"], head);
        store.close().await;
    }

    async fn a_discarded_dead_letter_is_deleted(deployment: &Deployment) {
        let (http, (store, letters)) = (deployment.http(), with_dead_letters(deployment).await);
        let answer = http.delete(&path(&letters[0])).await.expect(204);
        assert!(answer.bytes.is_empty());
        refused(&http.delete(&path(&letters[0])).await, 404, "not_found");
        assert_eq!(ids(http, "").await, names(&letters[1..]));
        store.close().await;
    }

    async fn the_command_line_lists_redrives_and_discards_them(deployment: &Deployment) {
        let (store, letters) = with_dead_letters(deployment).await;
        let (url, dir) = (deployment.bus(), deployment.agentbus().data_dir());
        std::fs::create_dir_all(&dir).expect("a folder");
        let run = async |args: &[&str]| run(args, url, &dir).await;
        let listed = output_of(&run(&["dead-letters", "list", "--all"]).await, 0);
        let shown: Vec<Value> =
            listed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let names = names(&letters);
        assert_eq!(shown.iter().map(|letter| &letter["id"]).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
        let two = output_of(&run(&["dead-letters", "list", "--source", "here", "--limit", "2"]).await, 0);
        assert_eq!(two.lines().collect::<Vec<_>>(), listed.lines().take(2).collect::<Vec<_>>());
        let table = output_of(&run(&["dead-letters", "list", "--format", "text"]).await, 0);
        assert!(table.starts_with("ID ") && table.lines().count() == 6, "{table}");
        assert!(table.contains(&names[0]) && table.contains("it \"broke\""), "{table}");
        let one = output_of(&run(&["dead-letters", "show", &names[0]]).await, 0);
        assert_eq!(one.trim_end(), listed.lines().next().expect("a line"));
        let text = output_of(&run(&["dead-letters", "show", &names[0], "--format", "text"]).await, 0);
        assert!(text.contains("message  1 of here\n") && text.contains("reason   rejected\n"), "{text}");

        let one = output_of(&run(&["dead-letters", "redrive", &names[0]]).await, 0);
        assert_eq!(one, "{\"redriven\":1,\"skipped\":0}\n");
        output_of(&run(&["dead-letters", "redrive", &names[0]]).await, 1);
        output_of(&run(&["dead-letters", "discard", "--all"]).await, 2);
        let discarded = output_of(&run(&["dead-letters", "discard", &names[1], "--yes"]).await, 0);
        assert_eq!(discarded, "{\"discarded\":1}\n");
        let all = output_of(&run(&["dead-letters", "redrive", "--all", "--format", "text"]).await, 0);
        assert_eq!(all, "1 redriven, 2 skipped: their source does not exist any more\n");
        let discarded = output_of(&run(&["dead-letters", "discard", "--source", "deleted", "--yes"]).await, 0);
        assert_eq!(discarded, "{\"discarded\":2}\n");
        assert_eq!(output_of(&run(&["dead-letters", "list"]).await, 0), "");
        store.close().await;
    }

    async fn the_command_line_controls_consumers(deployment: &Deployment) {
        let (url, dir) = (deployment.bus(), deployment.agentbus().data_dir());
        std::fs::create_dir_all(&dir).expect("a folder");
        let run = async |args: &[&str]| run(args, url, &dir).await;
        const NAME: &str = "agent-processor";
        let state = async || {
            let listed = output_of(&run(&["consumers", "list"]).await, 0);
            let mut lines =
                listed.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
            lines.find(|consumer| consumer["name"] == NAME).map(|found| found["state"].clone())
        };
        eventually(LIMIT, "the processor's consumer is created", state).await;
        output_of(&run(&["consumers", "pause", NAME]).await, 0);
        assert_eq!(state().await, Some(json!("paused")));
        let table = output_of(&run(&["consumers", "list", "--format", "text"]).await, 0);
        assert!(table.starts_with("NAME") && table.contains("paused"), "{table}");
        output_of(&run(&["consumers", "resume", NAME]).await, 0);
        assert_ne!(state().await, Some(json!("paused")));
        output_of(&run(&["consumers", "reset", NAME, "--from", "1"]).await, 0);
        output_of(&run(&["consumers", "pause", "nobody"]).await, 1);
        output_of(&run(&["consumers", "pause", "no/body"]).await, 2);
    }
}

/// Runs a command to its end.
async fn run(args: &[&str], url: &str, dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentbus"));
    command.args(args).env_clear().env("AGENTBUS_URL", url).current_dir(dir);
    command.stdin(Stdio::null()).kill_on_drop(true);
    within(LIMIT, "the command ends", command.output()).await.expect("the binary runs")
}

/// The output of a command, whose exit code must be `code`.
fn output_of(output: &Output, code: i32) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}
