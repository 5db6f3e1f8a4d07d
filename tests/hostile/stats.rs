//! Responses that grow with what clients post are bounded; the counters do not query NATS for each queue; and
//! a server raises its file limit for its connections.

use std::process::Stdio;
use std::time::Duration;

use agentbus::limits::{STATS_NAMES, TASK_AGENTS};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::folder::Folder;
use crate::support::{Deployment, Http, Mode, for_each_mode, within};

const LIMIT: Duration = Duration::from_secs(60);

async fn post(http: &Http, messages: &[Value]) {
    for some in messages.chunks(1_000) {
        let path = "/v1/messages/batch?ack=committed";
        let answer = http.post_ndjson(path, some).await.expect(200).json();
        assert_eq!(answer["accepted"], some.len(), "all are taken");
    }
}

for_each_mode! {
    async fn the_counters_have_the_largest_names_and_the_number_of_names(deployment: &Deployment) {
        let http = deployment.http();
        let all = 4 * STATS_NAMES;
        // The longest possible names, and two that are in use.
        let message = |type_: &str, sender: &str, task: &str| {
            json!({"kind": "task", "type": type_, "sender_id": sender, "task_id": task})
        };
        let mut messages: Vec<Value> = (0..all)
            .map(|n| message(&format!("type-{n:059}"), &format!("send-{n:059}"), "crowd"))
            .collect();
        messages.extend((0..3).map(|_| message("zz", "zoe", "crowd")));
        messages.push(message("zz", "zoe", "other"));
        post(http, &messages).await;
        for path in ["/v1/stats", "/v1/stats?task=crowd"] {
            let answer = http.get(path).await.expect(200);
            assert!(answer.bytes.len() < 100_000, "{} bytes", answer.bytes.len());
            let counts = &answer.json()["counts"];
            for (by, number, busy) in [("by_type", "types", "zz"), ("by_sender", "senders", "zoe")] {
                assert_eq!(counts[by].as_object().expect("names").len(), STATS_NAMES);
                assert_eq!(counts[number], all + 1);
                assert!(counts[by][busy].as_u64() >= Some(3), "the largest is reported");
            }
        }
        let other = http.get("/v1/stats?task=other").await.expect(200).json();
        assert_eq!(other["counts"]["by_sender"], json!({"zoe": 1}));
        let counts = &other["counts"];
        assert!(counts.get("senders").is_none() && counts.get("types").is_none(), "all are reported");
    }

    async fn a_task_is_shown_with_some_of_its_agents(deployment: &Deployment) {
        let http = deployment.http();
        let all = 3 * TASK_AGENTS;
        let message = |n: usize| {
            let (sender, type_) = (format!("a-{n:04}"), format!("t-{}", n % 3));
            json!({"kind": "task", "type": type_, "sender_id": sender, "task_id": "crowd"})
        };
        // Each message comes twice, under two types.
        let messages: Vec<Value> =
            (0..all).rev().flat_map(|n| [message(n), message(n)]).collect();
        post(http, &messages).await;
        let one = http.get("/v1/tasks/crowd").await.expect(200).json();
        let page = http.get("/v1/tasks").await.expect(200).json();
        for task in [&one, &page["tasks"][0]] {
            let expected: Vec<String> = (0..TASK_AGENTS).map(|n| format!("a-{n:04}")).collect();
            assert_eq!(task["agents"], json!(expected), "the first by name");
            assert_eq!((&task["agent_count"], &task["messages"]), (&json!(all), &json!(2 * all)));
        }
    }
}

/// The cost of the counters on NATS must not grow with the number of queues.
#[tokio::test]
async fn the_counters_do_not_ask_nats_for_each_queue() {
    const QUEUES: usize = 30;
    const LOOKS: usize = 30;
    let deployment = Deployment::start(Mode::Nats).await;
    let http = deployment.http();
    for n in 0..QUEUES {
        let path = format!("/v1/queues/q{n}/jobs");
        http.post_json(&path, &json!({"type": "build", "payload": {}})).await.expect(201);
    }
    let path = "/v1/queues/q0/jobs";
    http.post_json(path, &json!({"type": "build", "payload": {}, "delay_s": 600}))
        .await
        .expect(201);
    let client = deployment.nats().expect("a NATS server").client().await;
    let mut asked =
        client.subscribe("$JS.API.CONSUMER.INFO.agent-jobs.*").await.expect("subscribed");
    client.flush().await.expect("flushed");
    for _ in 0..LOOKS {
        let stats = http.get("/v1/stats").await.expect(200).json();
        assert_eq!(stats["queue"]["current_size"], QUEUES + 1, "{stats}");
    }
    // A request of our own as a marker: when it arrives here, all requests before it have arrived.
    client.publish("$JS.API.CONSUMER.INFO.agent-jobs.mark", "".into()).await.expect("published");
    let mut questions = 0;
    while let Some(question) = within(LIMIT, "the mark comes", asked.next()).await {
        if question.subject.ends_with(".mark") {
            break;
        }
        questions += 1;
    }
    // The sweep of exhausted jobs queries some queues each second; the counters would query each queue at
    // each look.
    assert!(questions < QUEUES * LOOKS, "{questions} questions");
}

/// The limits of a server that was started under these `ulimit`s, and its log until it listened.
async fn limits_under(ulimit: &str) -> (String, String) {
    let folder = Folder::new("files");
    let script = format!("{ulimit} && exec \"$0\" serve");
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_agentbus")])
        .env_clear()
        .env("HTTP_ADDR", "127.0.0.1:0")
        .env("DATA_DIR", folder.join("data"))
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(folder.join("log")).expect("a log"))
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    within(LIMIT, "it listens", lines.next_line()).await.expect("a line").expect("a line");
    let limits = format!("/proc/{}/limits", child.id().expect("it runs"));
    let limits = std::fs::read_to_string(limits).expect("its limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    let log = std::fs::read_to_string(folder.join("log")).expect("a log");
    child.kill().await.expect("it ends");
    (files.to_owned(), log)
}

#[tokio::test]
async fn a_server_raises_its_limit_of_open_files_and_warns_where_it_is_too_low() {
    let (files, log) = limits_under("ulimit -S -n 300").await;
    let columns: Vec<&str> = files.split_whitespace().collect();
    assert_eq!(columns[3], columns[4], "soft and hard are the same: {files}");
    assert!(log.contains("raised the limit of open files"), "{log}");
    let (files, log) = limits_under("ulimit -n 500").await;
    assert!(files.contains(" 500 "), "{files}");
    assert!(log.contains("MAX_CONNECTIONS=12000 needs 13024 open files"), "{log}");
}
