//! Posting one message: the response, the stored bytes, what is refused, and that an id stands for one
//! message only.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::wire::{self, JSON, MESSAGES, SOON};
use crate::support::{Answer, Deployment, Frame, Http, Mode, Sse, eventually, for_each_mode};
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::{Uuid, Version};

const UPPER: &str = "0F3A1B5C-7D2E-4F60-8A9B-C0D1E2F3A4B5";
const LOWER: &str = "0f3a1b5c-7d2e-4f60-8a9b-c0d1e2f3a4b5";
const OTHER: &str = "11111111-2222-4333-8444-555555555555";

/// Metadata with numbers, escapes and an order that a JSON parser would not preserve.
const METADATA: &str = r#"{ "zeta" : 1.50e3 , "alpha":[ 1.0, -0, 1E+2, 1e400, 0.1000 ],
    "big": 123456789012345678901234567890123456789, "esc":"\u0041\/\n\t\"\\\u00e9 two  spaces",
    "\u006bey" : { "b": null, "a" : true , "":"" }, "pair":"\ud83d\ude80", "text":"日本 🚀 é {[, ]}" }"#;

async fn post(http: &Http, body: impl Into<String>) -> Answer {
    http.post(MESSAGES, JSON, body.into()).await
}

async fn post_with(http: &Http, key: &str, body: &Value) -> Answer {
    let headers = [("content-type", JSON), ("idempotency-key", key)];
    http.request(Method::POST, MESSAGES, &headers, body.to_string()).await.expect("an answer")
}

fn seq(answer: &Value) -> u64 {
    answer["seq"].as_u64().unwrap_or_else(|| panic!("no seq: {answer}"))
}

/// The body of `GET /v1/messages/{id}`, once the message is stored.
async fn read_back(http: &Http, id: &str) -> String {
    let answer = eventually(SOON, "the message can be read", async || {
        let answer = http.get(&format!("{MESSAGES}/{id}")).await;
        (answer.status != 404).then_some(answer)
    });
    let answer = answer.await.expect(200);
    assert_eq!(answer.header("content-type"), Some(JSON));
    answer.text()
}

async fn one_message(stream: &mut Sse) -> Frame {
    stream.collect_messages(1, SOON).await.remove(0)
}

/// Fails the test unless the time is in UTC with microseconds and `Z`; returns it.
fn created_at(value: &Value) -> DateTime<Utc> {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    assert!(text.len() == 27 && text.as_bytes()[19] == b'.' && text.ends_with('Z'), "{text}");
    text.parse().expect("an RFC 3339 time")
}

for_each_mode! {
    async fn a_new_message_is_answered_with_201_and_its_location(d: &Deployment) {
        let answer = post(d.http(), wire::good().to_string()).await.expect(201);
        assert_eq!(answer.header("content-type"), Some(JSON));
        let ack = answer.json();
        let members: Vec<&String> = ack.as_object().expect("an object").keys().collect();
        assert_eq!(members, ["created_at", "duplicate", "durability", "id", "seq", "subject"]);
        let order = ["{\"seq\":", "\"id\":", "\"subject\":", "\"created_at\":", "\"duplicate\":", "\"durability\":"];
        let at = order.map(|member| answer.text().find(member).expect(member));
        assert!(at.is_sorted(), "{}", answer.text());
        assert!(seq(&ack) >= 1);
        assert_eq!(ack["subject"], "agent.message.agent.note");
        assert_eq!(ack["duplicate"], false);
        let id = ack["id"].as_str().expect("id");
        let uuid = Uuid::parse_str(id).expect("a UUID");
        assert_eq!((uuid.get_version(), uuid.to_string().as_str()), (Some(Version::SortRand), id));
        let age = Utc::now() - created_at(&ack["created_at"]);
        assert!(age.num_seconds().abs() < 60, "{ack}");
        match (d.nats().is_some(), ack["durability"].as_str()) {
            (_, Some("committed")) | (true, Some("stored")) => {}
            _ => panic!("durability: {ack}"),
        }
        assert_eq!(answer.header("location"), Some(format!("{MESSAGES}/{id}").as_str()));
        let body: Value = serde_json::from_str(&read_back(d.http(), id).await).expect("JSON");
        for member in ["seq", "id", "subject", "created_at"] {
            assert_eq!(body[member], ack[member], "{member}");
        }
    }

    async fn every_member_survives_byte_for_byte_in_the_contracts_order(d: &Deployment) {
        let content = r#"plain 日本 🚀 é, nothing to escape"#;
        let body = format!(
            "\n{{ \"metadata\": {METADATA}, \"content\":\"{content}\", \"expires_at\" : \"2031-05-06T07:08:09.120+02:00\",
            \"in_reply_to\":\"{OTHER}\", \"conversation_id\": \"c_1\", \"task_id\":\"T-9\", \"recipient_id\":\"bob\",
            \"sender_role\":\"planner\", \"sender_id\":\"ann\", \"type\":\"task_assignment\", \"kind\":\"message\", \"id\":\"{UPPER}\" }}\n"
        );
        let answer = post(d.http(), body).await.expect(201);
        let ack = answer.json();
        assert_eq!(ack["id"], LOWER);
        assert_eq!(answer.header("location"), Some(format!("{MESSAGES}/{LOWER}").as_str()));
        let expected = format!(
            r#"{{"seq":{},"id":"{LOWER}","kind":"message","type":"task_assignment","subject":"agent.message.planner.task_assignment","sender_id":"ann","sender_role":"planner","recipient_id":"bob","task_id":"T-9","conversation_id":"c_1","in_reply_to":"{OTHER}","expires_at":"2031-05-06T07:08:09.120+02:00","content":"{content}","metadata":{},"created_at":{}}}"#,
            seq(&ack), wire::compact(METADATA), ack["created_at"],
        );
        assert_eq!(read_back(d.http(), LOWER).await, expected);
        assert_eq!(read_back(d.http(), UPPER).await, expected, "an id is the same in either case");
    }

    async fn one_message_is_the_same_bytes_wherever_it_is_read(d: &Deployment) {
        let mut live = d.http().stream("", None).await;
        live.expect_ready().await;
        let body = format!(r#"{{"kind":"task","type":"started","task_id":"t1","sender_id":"ann",
            "content":"two\nlines \"quoted\" \\ \/ \u0001 \u00e9 \u2028 \ud83d\ude80 \r\n","metadata":{METADATA}}}"#);
        let ack = post(d.http(), body).await.expect(201).json();
        let (id, n) = (ack["id"].as_str().expect("id"), seq(&ack));
        let bytes = read_back(d.http(), id).await;
        assert!(bytes.starts_with(&format!("{{\"seq\":{n},\"id\":\"{id}\",\"kind\":\"task\",")), "{bytes}");
        assert!(bytes.contains(&format!("\"metadata\":{},\"created_at\":", wire::compact(METADATA))), "{bytes}");
        let read: Value = serde_json::from_str(&bytes.replace("1e400", "1")).expect("JSON");
        assert_eq!(read["content"], "two\nlines \"quoted\" \\ / \u{1} é \u{2028} 🚀 \r\n");
        assert_eq!(wire::page(d.http(), &format!("after={}", n - 1)).await.messages, vec![bytes.clone()]);
        let mut replay = d.http().stream(&format!("from={n}"), None).await;
        replay.expect_ready().await;
        for stream in [&mut live, &mut replay] {
            let frame = one_message(stream).await;
            assert_eq!((frame.seq(), frame.event.as_deref()), (n, Some("task")));
            assert_eq!(frame.data.expect("data"), bytes);
        }
    }

    async fn absent_members_are_left_out_or_have_their_default(d: &Deployment) {
        let cases = [
            (r#"{"kind":"message","type":"note","sender_id":"a","content":""}"#,
             r#""kind":"message","type":"note","subject":"agent.message.agent.note","sender_id":"a","sender_role":"agent","content":"","metadata":{}"#),
            (r#"{"kind":"status","type":"online","sender_id":"a","content":"x"}"#,
             r#""kind":"status","type":"online","subject":"agent.status.a.online","sender_id":"a","content":"x","metadata":{}"#),
            (r#"{"kind":"task","type":"completed","task_id":"0b4ddf3c-8a52-4b6e-9c83-1f4f4a0e6d11","sender_id":"_-9","sender_role":"r","content":"","metadata":{ }}"#,
             r#""kind":"task","type":"completed","subject":"agent.task.0b4ddf3c-8a52-4b6e-9c83-1f4f4a0e6d11.completed","sender_id":"_-9","sender_role":"r","task_id":"0b4ddf3c-8a52-4b6e-9c83-1f4f4a0e6d11","content":"","metadata":{}"#),
        ];
        for (body, members) in cases {
            let ack = post(d.http(), body).await.expect(201).json();
            let id = ack["id"].as_str().expect("id");
            let (seq, created_at) = (&ack["seq"], &ack["created_at"]);
            let expected = format!(r#"{{"seq":{seq},"id":"{id}",{members},"created_at":{created_at}}}"#);
            assert_eq!(read_back(d.http(), id).await, expected);
        }
    }

    async fn every_error_of_a_message_is_named_at_once(d: &Deployment) {
        let wrong = json!({"id": "zz", "kind": "bogus", "type": "bad type!", "sender_id": "", "sender_role": "a.b",
            "recipient_id": "é", "task_id": "x".repeat(65), "conversation_id": 7, "in_reply_to": "nope",
            "expires_at": "tomorrow", "content": 5, "metadata": []});
        let mut expected: BTreeSet<String> =
            wrong.as_object().expect("an object").keys().map(|name| format!("/{name}")).collect();
        let problem = wire::problem(&post(d.http(), wrong.to_string()).await, 422);
        assert_eq!(wire::named(&problem, "pointer"), expected);
        // Adds members that the server sets, and unknown ones.
        let mut worse = wrong;
        for name in ["seq", "subject", "created_at", "extra", "Kind", "a/b~c"] {
            worse[name] = json!(1);
        }
        for pointer in ["/seq", "/subject", "/created_at", "/extra", "/Kind", "/a~1b~0c"] {
            expected.insert(pointer.to_owned());
        }
        let problem = wire::problem(&post(d.http(), worse.to_string()).await, 422);
        assert_eq!(wire::named(&problem, "pointer"), expected);
        assert!(wire::page(d.http(), "").await.messages.is_empty());
    }

    async fn server_and_unknown_members_are_refused_by_name_in_a_good_message(d: &Deployment) {
        let unknown = [("seq", json!(1)), ("subject", json!("agent.message.agent.note")),
            ("created_at", json!("2026-01-01T00:00:00.000000Z")), ("priority", Value::Null), ("SENDER_ID", json!("x"))];
        for (name, value) in unknown {
            let mut body = wire::good();
            body[name] = value;
            let problem = wire::problem(&post(d.http(), body.to_string()).await, 422);
            assert_eq!(wire::named(&problem, "pointer"), wire::names([&format!("/{name}")]));
        }
        let problem = wire::problem(&post(d.http(), "{}").await, 422);
        assert!(wire::named(&problem, "pointer").is_superset(&wire::names(["/kind", "/type", "/sender_id"])));
        let task = r#"{"kind":"task","type":"x","sender_id":"a","content":""}"#;
        let problem = wire::problem(&post(d.http(), task).await, 422);
        assert_eq!(wire::named(&problem, "pointer"), wire::names(["/task_id"]));
        let problem = wire::problem(&d.http().post_json("/v1/messages?ack=soon", &wire::good()).await, 422);
        assert_eq!(wire::named(&problem, "parameter"), wire::names(["ack"]));
        assert!(wire::page(d.http(), "").await.messages.is_empty());
    }

    async fn a_posted_id_is_one_message(d: &Deployment) {
        let body = format!(
            r#"{{"id":"{UPPER}","kind":"message","type":"note","sender_id":"a","content":"x","metadata":{METADATA}}}"#
        );
        let first = post(d.http(), body.as_str()).await.expect(201).json();
        // The same message except for white space, the order of members, and the case of the id.
        let again = format!(
            r#"{{"metadata":{},"content":"\u0078","sender_id":"a","sender_role":"agent","type":"note","kind":"message","id":"{LOWER}"}}"#,
            wire::compact(METADATA),
        );
        for repeated in [body.as_str(), again.as_str()] {
            let answer = post(d.http(), repeated).await.expect(200).json();
            assert_eq!((&answer["seq"], &answer["id"]), (&first["seq"], &json!(LOWER)));
            assert_eq!(answer["duplicate"], true);
            assert_eq!((&answer["created_at"], &answer["subject"]), (&first["created_at"], &first["subject"]));
        }
        d.agentbus().restart().await;
        let answer = post(d.http(), again).await.expect(200).json();
        assert_eq!((&answer["seq"], &answer["duplicate"]), (&first["seq"], &json!(true)));
        for (this, other) in [("\"x\"", "\"y\""), ("1.50e3", "1.5e3"), ("message", "status")] {
            let other = body.replace(this, other);
            wire::problem_code(&post(d.http(), other).await, 409, "idempotency_conflict");
        }
        wire::committed(d.http(), seq(&first)).await;
        assert_eq!(wire::page(d.http(), "").await.messages.len(), 1);
    }

    async fn an_idempotency_key_is_an_id(d: &Deployment) {
        let (ann, bob) = (wire::good(), json!({"kind": "message", "type": "note", "sender_id": "bob", "content": ""}));
        let longest = "k".repeat(255);
        let mut seqs = BTreeSet::new();
        for (sender, key, body) in [("ann", "order 66/x", &ann), ("bob", "order 66/x", &bob), ("ann", &longest, &ann)] {
            let first = post_with(d.http(), key, body).await.expect(201).json();
            let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{sender}\0{key}").as_bytes());
            assert_eq!(first["id"], id.to_string(), "{sender} {key}");
            let again = post_with(d.http(), key, body).await.expect(200).json();
            assert_eq!((&again["seq"], &again["id"], &again["duplicate"]), (&first["seq"], &first["id"], &json!(true)));
            seqs.insert(seq(&first));
        }
        assert_eq!(seqs.len(), 3);
        let other = json!({"kind": "message", "type": "note", "sender_id": "ann", "content": "other"});
        wire::problem_code(&post_with(d.http(), &longest, &other).await, 409, "idempotency_conflict");
        let mut both = wire::good();
        both["id"] = json!(OTHER);
        for (key, body) in [("k", &both), ("", &ann), (&"k".repeat(256), &ann)] {
            wire::problem(&post_with(d.http(), key, body).await, 422);
        }
        let headers = [("content-type", wire::NDJSON), ("idempotency-key", "k")];
        let batch = d.http().request(Method::POST, wire::BATCH, &headers, ann.to_string()).await;
        wire::problem(&batch.expect("an answer"), 422);
        wire::committed(d.http(), *seqs.last().expect("three")).await;
        assert_eq!(wire::page(d.http(), "").await.messages.len(), 3);
    }

    async fn a_hundred_concurrent_posts_of_one_id_are_one_message(d: &Deployment) {
        let bodies: Vec<Value> = (0..100).map(|n| {
            let id = if n % 2 == 0 { LOWER } else { OTHER };
            // Repeats of the same message under one id, different messages under the other.
            let content = if n % 2 == 0 { "same".to_owned() } else { format!("other {n}") };
            json!({"id": id, "kind": "message", "type": "note", "sender_id": "ann", "content": content})
        }).collect();
        let answers = join_all(bodies.iter().map(|body| d.http().post_json(MESSAGES, body))).await;
        let (same, others): (Vec<_>, Vec<_>) = answers.iter().enumerate().partition(|(n, _)| n % 2 == 0);
        let statuses = |of: &[(usize, &Answer)], status| of.iter().filter(|(_, it)| it.status == status).count();
        assert_eq!((statuses(&same, 201), statuses(&same, 200)), (1, 49), "{same:?}");
        assert_eq!((statuses(&others, 201), statuses(&others, 409)), (1, 49), "{others:?}");
        let seqs: BTreeSet<u64> = same.iter().map(|(_, it)| seq(&it.json())).collect();
        assert_eq!(seqs.len(), 1, "{same:?}");
        assert!(same.iter().all(|(_, it)| it.json()["duplicate"] == (it.status == 200)), "{same:?}");
        let (n, won) = others.iter().find(|(_, it)| it.status == 201).expect("one");
        let both: BTreeSet<u64> = seqs.into_iter().chain([seq(&won.json())]).collect();
        wire::committed(d.http(), *both.last().expect("two")).await;
        let history = wire::page(d.http(), "").await.messages;
        assert_eq!(wire::seqs_of(&history), both.into_iter().collect::<Vec<_>>());
        assert!(read_back(d.http(), OTHER).await.contains(&format!("\"other {n}\"")));
    }

    async fn a_committed_message_is_in_history_at_once(d: &Deployment) {
        let mut last = 0;
        for n in 0..20 {
            let query = if n % 2 == 0 { "?ack=committed" } else { "?ack=stored" };
            let ack = d.http().post_json(&format!("{MESSAGES}{query}"), &wire::good()).await.expect(201).json();
            assert!(seq(&ack) > last, "after {last}: {ack}");
            last = seq(&ack);
            if n % 2 == 1 {
                continue;
            }
            assert_eq!(ack["durability"], "committed");
            let page = wire::page(d.http(), &format!("after={}", last - 1)).await;
            assert_eq!(wire::seqs_of(&page.messages), [last]);
            assert!(page.committed_through >= last, "{page:?}");
            let location = format!("{MESSAGES}/{}", ack["id"].as_str().expect("id"));
            assert_eq!(d.http().get(&location).await.expect(200).text(), page.messages[0]);
        }
        // A repeat of a committed message is reported as committed.
        let body = json!({"id": OTHER, "kind": "status", "type": "online", "sender_id": "a", "content": ""});
        for status in [201, 200] {
            let answer = d.http().post_json("/v1/messages?ack=committed", &body).await.expect(status).json();
            assert_eq!(answer["durability"], "committed");
        }
    }

    async fn the_sequences_that_one_client_sees_rise_while_others_post(d: &Deployment) {
        let clients = (0..8).map(async |client| {
            let mut seqs = Vec::new();
            for n in 0..25 {
                let (sender, content) = (format!("c{client}"), n.to_string());
                let body = json!({"kind": "status", "type": "busy", "sender_id": sender, "content": content});
                seqs.push(seq(&d.http().post_json(MESSAGES, &body).await.expect(201).json()));
            }
            seqs
        });
        let seqs = join_all(clients).await;
        assert!(seqs.iter().all(|seqs| seqs.is_sorted_by(|a, b| a < b)), "{seqs:?}");
        let all: BTreeSet<u64> = seqs.iter().flatten().copied().collect();
        assert_eq!(all.len(), 200);
        wire::committed(d.http(), *all.last().expect("some")).await;
        for (client, seqs) in seqs.iter().enumerate() {
            let history = wire::page(d.http(), &format!("sender=c{client}")).await.messages;
            assert_eq!(&wire::seqs_of(&history), seqs);
            for (n, body) in history.iter().enumerate() {
                assert!(body.contains(&format!("\"content\":\"{n}\",")), "{body}");
            }
        }
    }
}

#[tokio::test]
async fn an_id_is_one_message_through_any_server() {
    let d = Deployment::start(Mode::Nats).await;
    let second = d.second_server().await;
    let servers = [d.http().clone(), second.http()];
    let body =
        json!({"id": LOWER, "kind": "message", "type": "note", "sender_id": "a", "content": "x"});
    let posts = (0..40).map(|n| servers[n % 2].post_json(MESSAGES, &body));
    let answers = join_all(posts).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    assert!(created == 1 && answers.iter().all(|it| matches!(it.status, 200 | 201)), "{answers:?}");
    let seqs: BTreeSet<u64> = answers.iter().map(|answer| seq(&answer.json())).collect();
    assert_eq!(seqs.len(), 1, "{answers:?}");
    let mut other = body;
    other["content"] = json!("y");
    for http in &servers {
        let answer = http.post_json(MESSAGES, &other).await;
        wire::problem_code(&answer, 409, "idempotency_conflict");
        wire::committed(http, seqs.iter().next().copied().expect("one")).await;
        assert_eq!(wire::page(http, "").await.messages.len(), 1);
    }
}

#[tokio::test]
async fn an_id_is_one_message_beyond_the_duplicate_window_too() {
    let d = Deployment::tuned(Mode::Nats, |it| it.env("NATS_DUPLICATE_WINDOW_S", "1")).await;
    let mut body = json!({"id": LOWER, "kind": "task", "type": "x", "task_id": "t", "sender_id": "a", "content": ""});
    let first = d.http().post_json("/v1/messages?ack=committed", &body).await.expect(201).json();
    let posted = Instant::now();
    let window = Duration::from_secs(3);
    eventually(SOON, "the window is past", async || (posted.elapsed() > window).then_some(()))
        .await;
    let again = d.http().post_json(MESSAGES, &body).await.expect(200).json();
    assert_eq!((&again["seq"], &again["duplicate"]), (&first["seq"], &json!(true)));
    body["content"] = json!("other");
    wire::problem_code(&d.http().post_json(MESSAGES, &body).await, 409, "idempotency_conflict");
    assert_eq!(wire::page(d.http(), "").await.messages.len(), 1);
}
