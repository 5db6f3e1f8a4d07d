//! Background processing (contract, section 10): what a command's exit status means, which messages become
//! dead letters and what those contain, redriving and discarding, pausing and resetting a consumer. Each run
//! of the command is recorded and compared with the responses. The log must not change.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::handler::{Handler, Runs, dead_letters, find_consumer, idle, message, seq_of};
use crate::support::streams;
use crate::support::wire::{self, JSON};
use crate::support::{Answer, Deployment, Http, Mode, eventually};
use async_nats::jetstream::consumer::{AckPolicy, pull};
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

const NAME: &str = "agent-processor";
/// Time limit for three attempts with the backoff between them.
const ATTEMPTS: Duration = Duration::from_secs(60);

const SKIPPED: Runs = Runs { begun: 0, done: 0 };
const ONCE: Runs = Runs { begun: 1, done: 1 };

/// A server whose processor runs a command.
struct Bus {
    deployment: Deployment,
    handler: Handler,
}

impl Bus {
    async fn start(mode: Mode) -> Self {
        let handler = Handler::new();
        let command = handler.command();
        let deployment = Deployment::tuned(mode, |it| it.env("PROCESSOR_EXEC", &command)).await;
        Self { deployment, handler }
    }

    fn http(&self) -> &Http {
        self.deployment.http()
    }

    /// Posts one message for each content, and returns the sequences.
    async fn post(&self, contents: &[&str]) -> Vec<u64> {
        let messages: Vec<Value> = contents.iter().map(|it| message(it)).collect();
        let seqs = streams::publish(self.http(), &messages).await;
        wire::committed(self.http(), *seqs.last().expect("some")).await;
        seqs
    }

    /// Waits until there are this many dead letters, and returns them.
    async fn dead(&self, count: usize) -> Vec<Value> {
        let what = format!("{count} dead letters");
        eventually(ATTEMPTS, &what, async || {
            let dead = dead_letters(self.http(), "").await;
            (dead.len() == count).then_some(dead)
        })
        .await
    }

    /// Waits until everything up to `seq` is done and `processed` messages count as processed.
    async fn idle(&self, seq: u64, processed: u64) -> Value {
        idle(self.http(), seq, ATTEMPTS).await;
        let what = format!("{processed} are counted");
        eventually_is(self.http(), &what, |it| it["processed"] == processed).await
    }

    /// Waits until a new message is processed: everything due before has then run.
    async fn settled(&self) {
        let seq = self.post(&["ok"]).await[0];
        let what = "what came last is processed";
        eventually(ATTEMPTS, what, async || (self.handler.of(seq) == ONCE).then_some(())).await;
    }
}

async fn post(http: &Http, path: &str) -> Answer {
    http.request(Method::POST, path, &[], "").await.expect("an answer")
}

async fn control(http: &Http, verb: &str) {
    let answer = post(http, &format!("/v1/consumers/{NAME}/{verb}")).await;
    assert!(matches!(answer.status, 200 | 204), "{verb}: {} {}", answer.status, answer.text());
}

async fn reset(http: &Http, body: &Value) -> Answer {
    http.post_json(&format!("/v1/consumers/{NAME}/reset"), body).await
}

async fn consumer(http: &Http) -> Value {
    find_consumer(http, NAME).await.unwrap_or_else(|| panic!("no consumer {NAME}"))
}

/// Waits until the consumer satisfies `holds`; else fails the test and shows the consumer.
async fn eventually_is(http: &Http, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let now = crate::support::wait::poll(ATTEMPTS, async || {
        last = consumer(http).await;
        holds(&last).then(|| last.clone())
    });
    match now.await {
        Some(now) => now,
        None => panic!("not within {ATTEMPTS:?}: {what}: {last}"),
    }
}

fn members(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().cloned().collect()
}

fn time(value: &Value) -> DateTime<Utc> {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn id(dead: &Value) -> &str {
    dead["id"].as_str().unwrap_or_else(|| panic!("no id: {dead}"))
}

/// Makes three tests of each function: `name::memory_sqlite`, `name::memory_postgres`, `name::nats`.
macro_rules! in_each_mode {
    ($(async fn $name:ident($mode:ident: Mode) $body:block)+) => {$(
        async fn $name($mode: Mode) $body

        mod $name {
            use super::Mode;

            #[tokio::test]
            async fn memory_sqlite() {
                super::$name(Mode::MemorySqlite).await;
            }

            #[tokio::test]
            async fn memory_postgres() {
                super::$name(Mode::MemoryPostgres).await;
            }

            #[tokio::test]
            async fn nats() {
                super::$name(Mode::Nats).await;
            }
        }
    )+};
}

in_each_mode! {
    async fn every_message_is_delivered_as_in_history(mode: Mode) {
        let bus = Bus::start(mode).await;
        let mut messages: Vec<Value> = (0..200).map(|n| message(&format!("keep {n} é 🚀"))).collect();
        messages[7]["metadata"] = json!({"numbers": [1.5, 1e30], "deep": {"a": null}});
        messages.push(json!({"kind": "status", "type": "online", "sender_id": "bob", "content": "keep"}));
        messages.push(json!({"kind": "task", "type": "started", "task_id": "t", "sender_id": "bob", "content": "keep"}));
        let seqs = streams::publish(bus.http(), &messages).await;
        let last = *seqs.last().expect("some");
        let now = bus.idle(last, 202).await;
        assert_eq!(members(&now), wire::names(["name", "kind", "filter", "state", "reason", "pending", "in_flight",
            "redelivered", "lag", "processed_through", "max_deliver", "processed", "failed", "expired", "dead_letters"]));
        assert_eq!((&now["kind"], &now["filter"], &now["state"], &now["max_deliver"]),
            (&json!("processor"), &json!("agent.>"), &json!("running"), &json!(3)), "{now}");
        assert_eq!((&now["processed"], &now["failed"], &now["expired"], &now["dead_letters"], &now["redelivered"]),
            (&json!(202), &json!(0), &json!(0), &json!(0), &json!(0)), "{now}");
        assert_eq!((&now["lag"]["messages"], now["processed_through"].as_u64()), (&json!(0), Some(last)), "{now}");
        for body in wire::pages(bus.http(), "limit=1000").await {
            let seq = wire::seq_of(&body);
            assert_eq!(bus.handler.of(seq), ONCE, "{seq}");
            assert_eq!(bus.handler.kept(seq), body);
        }
        assert_eq!(bus.handler.runs().len(), 202);
        assert!(dead_letters(bus.http(), "").await.is_empty());
    }

    async fn the_exit_status_decides_the_outcome_of_a_message(mode: Mode) {
        let bus = Bus::start(mode).await;
        let seqs = bus.post(&["ok", "retry", "reject", "once", "ok"]).await;
        let dead = bus.dead(2).await;
        let now = bus.idle(seqs[4], 3).await;
        let runs: Vec<Runs> = seqs.iter().map(|seq| bus.handler.of(*seq)).collect();
        let expected = [(1, 1), (3, 0), (1, 0), (2, 1), (1, 1)].map(|(begun, done)| Runs { begun, done });
        assert_eq!(runs, expected);
        assert_eq!(dead.iter().map(seq_of).collect::<BTreeSet<_>>(), BTreeSet::from([seqs[1], seqs[2]]));
        for dead in &dead {
            assert!(members(dead).is_superset(&wire::names(
                ["id", "kind", "source", "seq", "subject", "reason", "attempts", "died_at", "message"])), "{dead}");
            assert_eq!((&dead["kind"], &dead["source"], &dead["subject"]),
                (&json!("message"), &json!(NAME), &json!("agent.message.agent.job")));
            let seq = seq_of(dead);
            assert_eq!(dead["seq"], json!(seq));
            let stored = wire::page(bus.http(), &format!("after={}&limit=1", seq - 1)).await.messages.remove(0);
            assert_eq!(dead["message"], serde_json::from_str::<Value>(&stored).expect("JSON"));
            let attempts = dead["attempts"].as_array().expect("attempts");
            assert_eq!(attempts.len() as u64, bus.handler.of(seq).begun, "{dead}");
            let mut before = time(&dead["message"]["created_at"]);
            for (n, attempt) in attempts.iter().enumerate() {
                assert_eq!(attempt["attempt"], json!(n + 1), "{dead}");
                let at = time(&attempt["at"]);
                assert!(at >= before, "{dead}");
                before = at;
                assert!(attempt["error"].as_str().is_some_and(|it| !it.is_empty()), "{dead}");
            }
            assert!(time(&dead["died_at"]) >= before && time(&dead["died_at"]) <= Utc::now(), "{dead}");
            assert!(dead["reason"].as_str().is_some_and(|it| !it.is_empty()), "{dead}");
            let one = bus.http().get(&format!("/v1/dead-letters/{}", id(dead))).await.expect(200);
            assert_eq!(&one.json(), dead);
        }
        assert_eq!((&now["dead_letters"], &now["processed"]), (&json!(2), &json!(3)), "{now}");
    }

    async fn stats_count_what_is_processed(mode: Mode) {
        let bus = Bus::start(mode).await;
        bus.post(&["ok", "ok", "slow 1", "reject"]).await;
        let pool = eventually(ATTEMPTS, "stats count", async || {
            let pool = bus.http().get("/v1/stats").await.expect(200).json()["pool"].clone();
            (pool["processed_count"] == 3 && pool["error_count"] == 1).then_some(pool)
        }).await;
        assert!(pool["total_duration"].as_f64().is_some_and(|it| it >= 1.0), "{pool}");
    }

    async fn a_command_that_crashes_does_not_affect_other_messages(mode: Mode) {
        let bus = Bus::start(mode).await;
        let seqs = bus.post(&["crash", "ok", "crash", "ok"]).await;
        let dead = bus.dead(2).await;
        assert_eq!(dead.iter().map(seq_of).collect::<BTreeSet<_>>(), BTreeSet::from([seqs[0], seqs[2]]));
        for seq in [seqs[0], seqs[2]] {
            assert!((1..=3).contains(&bus.handler.of(seq).begun), "{:?}", bus.handler.of(seq));
        }
        assert_eq!((bus.handler.of(seqs[1]), bus.handler.of(seqs[3])), (ONCE, ONCE));
        bus.deployment.agentbus().terminate().await;
        assert!(!bus.deployment.agentbus().log().contains("panicked"));
    }

    async fn a_redriven_message_runs_again_and_the_log_stays_as_it_was(mode: Mode) {
        let bus = Bus::start(mode).await;
        let (http, mut contents) = (bus.http(), vec!["reject"; 6]);
        contents.push("ok");
        let seqs = bus.post(&contents).await;
        let dead = bus.dead(6).await;
        let log = wire::pages(http, "").await;
        let path = |dead: &Value| format!("/v1/dead-letters/{}", id(dead));
        // It fails again: there is still one dead letter, and one more run.
        let first = dead.iter().find(|it| seq_of(it) == seqs[0]).expect("it is there");
        assert_eq!(post(http, &format!("{}/redrive", path(first))).await.expect(200).json(), json!({"redriven": 1}));
        eventually(ATTEMPTS, "it runs again", async || (bus.handler.of(seqs[0]).begun == 2).then_some(())).await;
        bus.dead(6).await;
        // A discarded dead letter cannot be redriven.
        let second = dead.iter().find(|it| seq_of(it) == seqs[1]).expect("it is there");
        let answer = http.delete(&path(second)).await.expect(204);
        assert!(answer.bytes.is_empty());
        for answer in [http.get(&path(second)).await, http.delete(&path(second)).await,
            post(http, &format!("{}/redrive", path(second))).await] {
            wire::problem_code(&answer, 404, "not_found");
        }
        bus.handler.mend();
        let third = dead.iter().find(|it| seq_of(it) == seqs[2]).expect("it is there");
        assert_eq!(post(http, &format!("{}/redrive", path(third))).await.expect(200).json(), json!({"redriven": 1}));
        eventually(ATTEMPTS, "it is done", async || (bus.handler.of(seqs[2]).done == 1).then_some(())).await;
        assert_eq!(bus.dead(4).await.len(), 4);
        let all = post(http, &format!("/v1/dead-letters/redrive?source={NAME}")).await.expect(200);
        assert_eq!(all.json(), json!({"redriven": 4}));
        bus.dead(0).await;
        bus.idle(seqs[6], 6).await;
        let runs: Vec<Runs> = seqs.iter().map(|seq| bus.handler.of(*seq)).collect();
        let expected = [(3, 1), (1, 0), (2, 1), (2, 1), (2, 1), (2, 1), (1, 1)].map(|(begun, done)| Runs { begun, done });
        assert_eq!(runs, expected);
        assert_eq!(wire::pages(http, "").await, log);
        let none = post(http, &format!("/v1/dead-letters/redrive?source={NAME}")).await.expect(200);
        assert_eq!(none.json(), json!({"redriven": 0}));
    }

    async fn dead_letters_are_listed_page_by_page(mode: Mode) {
        let bus = Bus::start(mode).await;
        let http = bus.http();
        assert_eq!(http.get("/v1/dead-letters").await.expect(200).json(), json!({"dead_letters": [], "next": null}));
        let seqs: BTreeSet<u64> = bus.post(&["reject"; 25]).await.into_iter().collect();
        let whole = bus.dead(25).await;
        assert_eq!(whole.iter().map(seq_of).collect::<BTreeSet<_>>(), seqs);
        for limit in [1, 10, 25] {
            let (mut paged, mut after) = (Vec::new(), String::new());
            while paged.len() < 26 {
                let page = http.get(&format!("/v1/dead-letters?source={NAME}&limit={limit}{after}")).await.expect(200).json();
                let found = page["dead_letters"].as_array().expect("a list");
                assert!(found.len() <= limit);
                paged.extend(found.iter().map(|it| id(it).to_owned()));
                let Some(next) = page["next"].as_str() else { break };
                after = format!("&after={next}");
            }
            let expected: Vec<&str> = whole.iter().map(id).collect();
            assert_eq!(paged, expected, "by {limit}");
        }
        assert!(dead_letters(http, "source=another").await.is_empty());
        assert_eq!(consumer(http).await["dead_letters"], 25);
    }

    async fn expired_messages_run_no_command_and_are_counted(mode: Mode) {
        let bus = Bus::start(mode).await;
        let with_expiry = |expiry: &str| {
            let mut message = message("ok");
            message["expires_at"] = json!(expiry);
            message
        };
        let in_seconds = |seconds: i64| (Utc::now() + TimeDelta::seconds(seconds)).to_rfc3339();
        let expiries = ["2020-01-01T00:00:00Z".to_owned(), "2999-01-01T00:00:00Z".to_owned(), in_seconds(-60), in_seconds(3_600), in_seconds(-1)];
        let mut messages: Vec<Value> = expiries.iter().map(|it| with_expiry(it)).collect();
        messages.push(message("ok"));
        let seqs = streams::publish(bus.http(), &messages).await;
        let now = bus.idle(seqs[5], 3).await;
        let runs: Vec<Runs> = seqs.iter().map(|seq| bus.handler.of(*seq)).collect();
        assert_eq!(runs, [SKIPPED, ONCE, SKIPPED, ONCE, SKIPPED, ONCE]);
        assert_eq!((&now["expired"], &now["processed"], &now["dead_letters"]), (&json!(3), &json!(3), &json!(0)), "{now}");
        assert_eq!(wire::pages(bus.http(), "").await.len(), 6);
    }

    async fn a_paused_consumer_runs_nothing_until_it_is_resumed(mode: Mode) {
        let bus = Bus::start(mode).await;
        let http = bus.http();
        let first = bus.post(&["ok"]).await[0];
        bus.idle(first, 1).await;
        control(http, "pause").await;
        control(http, "pause").await;
        let now = consumer(http).await;
        assert_eq!(now["state"], "paused", "{now}");
        let before = bus.handler.lines();
        let seqs = bus.post(&["ok"; 20]).await;
        eventually_is(http, "it reports what is pending", |it| {
            // Messages fetched before the pause may count as in flight, but are not run.
            let counts = ["pending", "in_flight"].map(|name| it[name].as_u64().expect("a count"));
            counts[0] + counts[1] == 20 && it["lag"]["messages"] == 20
        }).await;
        eventually(ATTEMPTS, "the lag grows", async || {
            (consumer(http).await["lag"]["seconds"].as_f64()? >= 2.0).then_some(())
        }).await;
        assert_eq!(bus.handler.lines(), before, "nothing has run");
        // A restart does not resume the consumer.
        bus.deployment.agentbus().kill9();
        bus.deployment.agentbus().restart().await;
        assert_eq!(consumer(http).await["state"], "paused");
        let more = bus.post(&["ok"]).await[0];
        assert_eq!(bus.handler.lines(), before, "nothing has run");
        for _ in 0..2 {
            control(http, "resume").await;
            assert_eq!(consumer(http).await["state"], "running");
        }
        bus.idle(more, 22).await;
        for seq in seqs.iter().chain([&more]) {
            assert_eq!(bus.handler.of(*seq), ONCE, "{seq}");
        }
    }

    async fn a_reset_consumer_processes_again_from_its_position(mode: Mode) {
        let bus = Bus::start(mode).await;
        let http = bus.http();
        let seqs = bus.post(&["ok"; 30]).await;
        bus.idle(seqs[29], 30).await;
        let log = wire::pages(http, "").await;
        let answer = reset(http, &json!({"from": seqs[20]})).await;
        assert!(matches!(answer.status, 200 | 204), "{} {}", answer.status, answer.text());
        eventually(ATTEMPTS, "it runs again", async || (bus.handler.of(seqs[29]).done == 2).then_some(())).await;
        bus.settled().await;
        for (n, seq) in seqs.iter().enumerate() {
            let times = if n < 20 { 1 } else { 2 };
            assert_eq!(bus.handler.of(*seq), Runs { begun: times, done: times }, "{n}");
        }
        // After a reset to the start while paused, the consumer reports what is pending, and
        // processes it once resumed.
        control(http, "pause").await;
        reset(http, &json!({"from": 1})).await;
        eventually_is(http, "it reports what is pending", |it| it["pending"] == 31).await;
        control(http, "resume").await;
        eventually(ATTEMPTS, "all run again", async || {
            let runs = bus.handler.runs();
            seqs.iter().enumerate().all(|(n, seq)| runs[seq].done == if n < 20 { 2 } else { 3 }).then_some(())
        }).await;
        assert_eq!(wire::pages(http, "").await[..30], log, "nothing is republished");
    }

    async fn a_wrong_reset_gets_all_its_errors(mode: Mode) {
        let bus = Bus::start(mode).await;
        let http = bus.http();
        for (body, expected) in [
            (json!({}), &["/from"] as &[&str]), (json!({"from": -1}), &["/from"]), (json!({"from": "1"}), &["/from"]),
            (json!({"from": 1.5}), &["/from"]), (json!({"from": null, "to": 5}), &["/from", "/to"]), (json!({"from": 1, "x": 1}), &["/x"]),
        ] {
            let problem = wire::problem(&reset(http, &body).await, 422);
            let expected = expected.iter().map(|it| (*it).to_owned()).collect();
            assert_eq!(wire::named(&problem, "pointer"), expected, "{body}");
        }
        let path = format!("/v1/consumers/{NAME}/reset");
        wire::problem_code(&http.post(&path, JSON, "{").await, 400, "malformed_json");
        wire::problem_code(&http.post(&path, "text/plain", "{\"from\":1}").await, 415, "unsupported_media_type");
    }

    async fn without_a_handler_nothing_is_pending_and_the_first_handler_gets_all(mode: Mode) {
        let first = Deployment::start(mode).await;
        let messages: Vec<Value> = (0..50).map(|_| message("ok")).collect();
        let seqs = streams::publish(first.http(), &messages).await;
        wire::committed(first.http(), seqs[49]).await;
        let now = consumer(first.http()).await;
        assert_eq!((&now["state"], &now["pending"], &now["in_flight"]), (&json!("unhandled"), &json!(0), &json!(0)), "{now}");
        let data = first.agentbus().data_dir().display().to_string();
        let builder = first.agentbus().like().env("DATA_DIR", &data);
        first.agentbus().terminate().await;
        let handler = Handler::new();
        let second = builder.env("PROCESSOR_EXEC", &handler.command()).start().await;
        idle(&second.http(), seqs[49], ATTEMPTS).await;
        eventually_is(&second.http(), "all are counted", |it| it["processed"] == 50).await;
        assert!(seqs.iter().all(|seq| handler.of(*seq) == ONCE), "{:?}", handler.runs());
    }

    async fn a_wrong_request_gets_all_its_errors(mode: Mode) {
        let bus = Bus::start(mode).await;
        let http = bus.http();
        for (query, expected) in [
            ("/v1/dead-letters?limit=0&after=%20&colour=1", &["limit", "after", "colour"] as &[&str]),
            ("/v1/dead-letters?limit=1001", &["limit"]),
            ("/v1/dead-letters?source=x&limit=x&source=y", &["source", "limit"]),
            ("/v1/consumers?colour=1", &["colour"]),
        ] {
            let problem = wire::problem_code(&http.get(query).await, 422, "invalid_parameter");
            let expected = expected.iter().map(|it| (*it).to_owned()).collect();
            assert_eq!(wire::named(&problem, "parameter"), expected, "{query}");
        }
        let problem = wire::problem_code(&post(http, "/v1/dead-letters/redrive?source=x&limit=1&colour=1").await, 422, "invalid_parameter");
        assert_eq!(wire::named(&problem, "parameter"), wire::names(["limit", "colour"]));
        let missing = format!("/v1/dead-letters/{}", Uuid::now_v7());
        wire::problem_code(&http.get(&missing).await, 404, "not_found");
        wire::problem_code(&http.delete(&missing).await, 404, "not_found");
        wire::problem_code(&post(http, &format!("{missing}/redrive")).await, 404, "not_found");
        for path in ["/v1/dead-letters/x", "/v1/dead-letters/%00", "/v1/dead-letters/-1"] {
            wire::refused(&http.get(path).await, &[404, 422]);
            wire::refused(&http.delete(path).await, &[404, 422]);
        }
        for verb in ["pause", "resume", "reset"] {
            for name in ["nobody", "webhook-1", "a.b"] {
                let path = format!("/v1/consumers/{name}/{verb}");
                let answer = if verb == "reset" { http.post_json(&path, &json!({"from": 1})).await } else { post(http, &path).await };
                wire::refused(&answer, &[404]);
            }
        }
        wire::refused(&post(http, &format!("/v1/consumers/{NAME}/stop")).await, &[404]);
        for (method, path, allowed) in [
            (Method::POST, "/v1/consumers".to_owned(), "GET"), (Method::GET, format!("/v1/consumers/{NAME}/pause"), "POST"),
            (Method::GET, format!("/v1/consumers/{NAME}/resume"), "POST"), (Method::PUT, format!("/v1/consumers/{NAME}/reset"), "POST"),
            (Method::POST, "/v1/dead-letters".to_owned(), "GET"), (Method::PUT, missing.clone(), "DELETE"),
            (Method::GET, format!("{missing}/redrive"), "POST"),
        ] {
            let answer = http.request(method, &path, &[], "").await.expect("an answer");
            wire::problem_code(&answer, 405, "method_not_allowed");
            assert!(answer.header("allow").is_some_and(|it| it.contains(allowed)), "{path}");
        }
        wire::still_serves(&bus.deployment).await;
    }
}

#[tokio::test]
async fn the_durable_consumer_is_as_the_contract_has_it() {
    let bus = Bus::start(Mode::Nats).await;
    bus.settled().await;
    let jetstream = bus.deployment.nats().expect("a NATS server").jetstream().await;
    let stream = jetstream.get_stream("agent-messages").await.expect("the stream");
    let consumer = stream.get_consumer::<pull::Config>(NAME).await.expect("the consumer");
    let config = consumer.cached_info().config.clone();
    assert_eq!(config.durable_name.as_deref(), Some(NAME));
    assert_eq!(config.ack_policy, AckPolicy::Explicit);
    assert_eq!((config.ack_wait, config.max_deliver), (Duration::from_secs(30), 3));
    assert_eq!(config.filter_subject, "agent.>");
}

#[tokio::test]
async fn a_foreign_message_is_processed_too() {
    let bus = Bus::start(Mode::Nats).await;
    let client = bus.deployment.nats().expect("a NATS server").client().await;
    for payload in ["no envelope", "ok, in a way", r#"{"sender_id":5}"#] {
        client.publish("agent.task.t.note", payload.into()).await.expect("publish");
    }
    client.flush().await.expect("publish");
    let dead = bus.dead(2).await;
    assert_eq!(dead.iter().map(seq_of).collect::<BTreeSet<_>>(), BTreeSet::from([1, 3]));
    assert_eq!(bus.handler.of(2), ONCE);
}
