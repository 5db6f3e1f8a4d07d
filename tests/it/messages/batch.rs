//! Many messages in one request: one result for each, in order, whatever the others are.

use std::collections::BTreeSet;

use crate::support::wire::{self, BATCH, JSON, NDJSON};
use crate::support::{Answer, Http, for_each_mode};
use futures_util::future::join_all;
use serde_json::{Value, json};

const ID: &str = "0f3a1b5c-7d2e-4f60-8a9b-c0d1e2f3a4b5";
const MAX_BYTES: usize = 8 * 1024 * 1024;

fn note(sender: &str, content: &str) -> Value {
    json!({"kind": "message", "type": "note", "sender_id": sender, "content": content})
}

/// The results of an accepted batch. Fails the test unless the counts agree with them.
#[track_caller]
fn results(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some(JSON));
    let body = answer.json();
    let members: Vec<&String> = body.as_object().expect("an object").keys().collect();
    assert_eq!(members, ["accepted", "rejected", "results"], "{body}");
    let results = body["results"].as_array().expect("results").clone();
    let (mut accepted, mut rejected) = (0, 0);
    for result in &results {
        let members: BTreeSet<&str> =
            result.as_object().expect("an object").keys().map(String::as_str).collect();
        let status = result["status"].as_u64().expect("a numeric status");
        if status < 300 {
            accepted += 1;
            let expected = ["durability", "duplicate", "id", "seq", "status"];
            assert_eq!(members, expected.into(), "{result}");
            assert_eq!(result["duplicate"], status == 200, "{result}");
            assert!(result["seq"].is_u64() && result["id"].is_string(), "{result}");
            let durability = result["durability"].as_str();
            assert!(matches!(durability, Some("stored" | "committed")), "{result}");
        } else {
            rejected += 1;
            assert_eq!(members, ["error", "status"].into(), "{result}");
            let error = &result["error"];
            assert!(error["code"].is_string() && error["detail"].is_string(), "{result}");
        }
    }
    assert_eq!((&body["accepted"], &body["rejected"]), (&json!(accepted), &json!(rejected)));
    results
}

fn statuses(results: &[Value]) -> Vec<u64> {
    results.iter().map(|result| result["status"].as_u64().expect("status")).collect()
}

/// The sequences of the results. Fails the test unless each has one.
fn seqs(results: &[Value]) -> Vec<u64> {
    let seq = |result: &Value| result["seq"].as_u64().unwrap_or_else(|| panic!("no seq: {result}"));
    results.iter().map(seq).collect()
}

fn rise(seqs: &[u64]) -> bool {
    seqs.is_sorted_by(|a, b| a < b)
}

async fn contents(http: &Http, query: &str) -> Vec<String> {
    let content = |body: String| {
        let body: Value = serde_json::from_str(&body).expect("JSON");
        body["content"].as_str().expect("content").to_owned()
    };
    wire::pages(http, query).await.into_iter().map(content).collect()
}

async fn is_empty(http: &Http) -> bool {
    wire::page(http, "").await.messages.is_empty()
}

for_each_mode! {
    async fn lines_and_arrays_are_accepted_alike(d: &Deployment) {
        let messages = [note("a", "1"), json!({"kind": "status", "type": "online", "sender_id": "b", "content": "2"}),
            json!({"kind": "task", "type": "started", "task_id": "t", "sender_id": "c", "content": "3"})];
        let array = Value::from(messages.to_vec()).to_string();
        let lines = messages.each_ref().map(Value::to_string).join("\n");
        let requests = [(NDJSON, lines.clone()), (NDJSON, lines + "\n"), (JSON, array.clone()),
            ("application/json; charset=utf-8", array.clone()), (JSON, array.replace(",{", "\r\n ,\t{"))];
        let mut all = Vec::new();
        for (content_type, body) in requests {
            let results = results(&d.http().post(BATCH, content_type, body).await);
            assert_eq!(statuses(&results), [201, 201, 201]);
            all.extend(seqs(&results));
        }
        assert!(rise(&all), "{all:?}");
        wire::committed(d.http(), all[14]).await;
        assert_eq!(contents(d.http(), "limit=2").await, ["1", "2", "3"].repeat(5));
        let alike = wire::page(d.http(), "kind=task").await.messages;
        let subjects = alike.iter().filter(|body| body.contains(r#""subject":"agent.task.t.started""#));
        assert_eq!(subjects.count(), 5);
    }

    async fn a_bad_item_does_not_affect_the_others(d: &Deployment) {
        let lines = [
            r#"{"kind":"message","type":"note","sender_id":"a","content":"1","metadata":{"n":1.50e3}}"#, "", "   ",
            r#"{"kind":"messag","sender_id":"a b","content":"","extra":1}"#, "\r",
            r#"{"kind":"message","#, r#"[1,2]"#,
            r#"{"kind":"message","type":"note","sender_id":"a","content":"2"}"#, "\t",
            r#"{"seq":9,"kind":"message","type":"note","sender_id":"a","content":""}"#,
        ];
        let results = results(&d.http().post(BATCH, NDJSON, lines.join("\n")).await);
        assert_eq!(statuses(&results), [201, 422, 400, 422, 201, 422]);
        let pointers = |result: &Value| wire::named(&result["error"], "pointer");
        assert_eq!(pointers(&results[1]), wire::names(["/kind", "/type", "/sender_id", "/extra"]));
        assert_eq!(pointers(&results[5]), wire::names(["/seq"]));
        let detail = results[2]["error"]["detail"].as_str().expect("detail");
        assert!(detail.contains("line 6") && detail.contains("column"), "blank lines count too: {detail}");
        let last = results[4]["seq"].as_u64().expect("seq");
        assert!(results[0]["seq"].as_u64() < Some(last));
        wire::committed(d.http(), last).await;
        assert_eq!(contents(d.http(), "").await, ["1", "2"]);
        assert!(wire::page(d.http(), "").await.messages[0].contains(r#""metadata":{"n":1.50e3}"#));
    }

    async fn a_batch_of_only_bad_items_gets_a_result_for_each(d: &Deployment) {
        let answer = d.http().post(BATCH, JSON, r#"[{}, null, "x", {"kind":"task"}]"#).await;
        let results = results(&answer);
        assert_eq!(statuses(&results), [422; 4]);
        assert!(is_empty(d.http()).await);
    }

    async fn a_malformed_array_is_refused_as_a_whole(d: &Deployment) {
        let good = wire::good();
        for body in [format!("[{good},"), format!("[{good}\n{good}]"), format!("[{good}]]"), String::new()] {
            let problem = wire::problem(&d.http().post(BATCH, JSON, body).await, 400);
            let detail = problem["detail"].as_str().expect("detail");
            assert!(detail.contains("line") && detail.contains("column"), "{detail}");
        }
        let answer = d.http().post(BATCH, JSON, good.to_string()).await;
        assert!(matches!(answer.status, 400 | 422), "one object is no array: {answer:?}");
        wire::problem(&answer, answer.status);
        assert!(is_empty(d.http()).await);
    }

    async fn an_empty_batch_does_nothing(d: &Deployment) {
        for (content_type, body) in [(JSON, "[]"), (JSON, " [ ] "), (NDJSON, ""), (NDJSON, "\n\r\n  \n")] {
            let answer = d.http().post(BATCH, content_type, body).await;
            assert!(results(&answer).is_empty(), "{body:?}");
        }
        assert!(is_empty(d.http()).await);
    }

    async fn a_thousand_messages_are_accepted_and_one_more_refuses_all(d: &Deployment) {
        let mut messages: Vec<Value> = (0..1_001).map(|n| note("a", &n.to_string())).collect();
        let lines = |messages: &[Value]| messages.iter().map(|it| it.to_string() + "\n\n").collect::<String>();
        wire::problem(&d.http().post(BATCH, NDJSON, lines(&messages)).await, 413);
        wire::problem(&d.http().post(BATCH, JSON, Value::from(messages.clone()).to_string()).await, 413);
        assert!(is_empty(d.http()).await);
        messages.pop();
        let results = results(&d.http().post(BATCH, NDJSON, lines(&messages)).await);
        assert_eq!(statuses(&results), [201; 1_000]);
        let seqs = seqs(&results);
        assert!(rise(&seqs));
        wire::committed(d.http(), seqs[999]).await;
        let expected: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
        assert_eq!(contents(d.http(), "limit=1000").await, expected);
    }

    async fn eight_mebibytes_are_accepted_and_one_byte_more_refuses_all(d: &Deployment) {
        let mut body = String::new();
        for n in 0..8 {
            body += &format!("{}\n", note("a", &format!("{n}{}", "x".repeat(1_000_000))));
        }
        body += &"\n".repeat(MAX_BYTES + 1 - body.len());
        wire::problem(&d.http().post(BATCH, NDJSON, body.clone()).await, 413);
        assert!(is_empty(d.http()).await);
        body.pop();
        let results = results(&d.http().post(BATCH, NDJSON, body).await);
        assert_eq!(statuses(&results), [201; 8]);
        let seqs = seqs(&results);
        assert!(rise(&seqs), "{seqs:?}");
        wire::committed(d.http(), seqs[7]).await;
        let firsts: Vec<String> = contents(d.http(), "").await.iter().map(|it| it[..1].to_owned()).collect();
        assert_eq!(firsts, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    }

    async fn one_message_too_large_is_refused_alone(d: &Deployment) {
        let messages = [note("a", "1"), note("a", &"x".repeat(1_048_576 - 4_096)), note("a", "2")];
        let results = results(&d.http().post_ndjson(BATCH, &messages).await);
        assert_eq!(statuses(&results), [201, 413, 201]);
        wire::committed(d.http(), results[2]["seq"].as_u64().expect("seq")).await;
        assert_eq!(contents(d.http(), "").await, ["1", "2"]);
    }

    async fn an_id_twice_in_a_batch_is_one_message(d: &Deployment) {
        let with_id = |content: &str| {
            let mut message = note("a", content);
            message["id"] = json!(ID);
            message
        };
        let messages = [note("a", "0"), with_id("x"), with_id("x"), with_id("y"), note("a", "1")];
        let results = results(&d.http().post_ndjson(BATCH, &messages).await);
        assert_eq!(statuses(&results), [201, 201, 200, 409, 201]);
        assert_eq!((&results[2]["seq"], &results[2]["id"]), (&results[1]["seq"], &json!(ID)));
        assert_eq!(results[3]["error"]["code"], "idempotency_conflict");
        let accepted = [0, 1, 4].map(|n| results[n]["seq"].as_u64().expect("seq"));
        assert!(rise(&accepted), "{accepted:?}");
        // The whole batch again, as after a lost response.
        let again = self::results(&d.http().post_ndjson(BATCH, &messages[1..4]).await);
        assert_eq!(statuses(&again), [200, 200, 409]);
        assert_eq!(again[0]["seq"], results[1]["seq"]);
        wire::committed(d.http(), accepted[2]).await;
        assert_eq!(contents(d.http(), "").await, ["0", "x", "1"]);
    }

    async fn sequences_rise_in_input_order_while_other_batches_run(d: &Deployment) {
        let batches = (0..8).map(async |batch| {
            let mut found = Vec::new();
            for part in 0..3 {
                let messages: Vec<Value> =
                    (0..100).map(|n| note(&format!("b{batch}"), &(part * 100 + n).to_string())).collect();
                let results = results(&d.http().post_ndjson(BATCH, &messages).await);
                assert_eq!(statuses(&results), [201; 100]);
                found.extend(seqs(&results));
            }
            found
        });
        let single = async {
            let mut seqs = Vec::new();
            for _ in 0..50 {
                let ack = d.http().post_json("/v1/messages", &note("single", "")).await.expect(201).json();
                seqs.push(ack["seq"].as_u64().expect("seq"));
            }
            seqs
        };
        let (mut all, single) = tokio::join!(join_all(batches), single);
        all.push(single);
        assert!(all.iter().all(|seqs| rise(seqs)), "{all:?}");
        let distinct: BTreeSet<u64> = all.iter().flatten().copied().collect();
        assert_eq!(distinct.len(), 8 * 300 + 50);
        wire::committed(d.http(), *distinct.last().expect("some")).await;
        let expected: Vec<String> = (0..300).map(|n| n.to_string()).collect();
        for (batch, seqs) in all[..8].iter().enumerate() {
            let history = wire::pages(d.http(), &format!("sender=b{batch}")).await;
            assert_eq!(&wire::seqs_of(&history), seqs);
            assert_eq!(contents(d.http(), &format!("sender=b{batch}")).await, expected);
        }
    }
}
