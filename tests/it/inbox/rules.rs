//! Messages for one agent: the inbox (contract, section 7), and request and reply (section 9). An inbox
//! returns the messages in history after the agent's position. An acknowledgement only moves the position
//! forward, and survives a kill. A long poll is woken through any server. A wrong request is refused with all
//! its errors.

use std::time::{Duration, Instant};

use crate::support::streams;
use crate::support::wire::{self, JSON, MESSAGES, SOON};
use crate::support::{Answer, Deployment, Http, Mode, for_each_mode, within};
use chrono::{TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

/// Time limit for a long poll to return once there is a message: far less than the requested wait.
const WOKEN: Duration = Duration::from_secs(10);

fn note(from: &str, to: &str) -> Value {
    json!({"kind": "message", "type": "note", "sender_id": from, "recipient_id": to})
}

fn broadcast(from: &str) -> Value {
    json!({"kind": "message", "type": "news", "sender_id": from})
}

async fn import(http: &Http, messages: &[Value]) -> Vec<u64> {
    let seqs = streams::publish(http, messages).await;
    wire::committed(http, seqs.iter().copied().max().expect("some")).await;
    seqs
}

/// The inbox of bob: its messages as they came.
async fn inbox(http: &Http, query: &str) -> Vec<String> {
    bodies(&http.get(&format!("/v1/agents/bob/inbox?{query}")).await)
}

/// The messages of a response, which must be a page like one of history.
fn bodies(answer: &Answer) -> Vec<String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Page {
        messages: Vec<Box<serde_json::value::RawValue>>,
        #[serde(rename = "next")]
        _next: Value,
        #[serde(rename = "committed_through")]
        _committed_through: u64,
    }
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some(JSON));
    let page: Page = serde_json::from_slice(&answer.bytes)
        .unwrap_or_else(|error| panic!("no page: {error}: {}", answer.text()));
    page.messages.iter().map(|it| it.get().to_owned()).collect()
}

async fn post_ack(http: &Http, body: &Value) -> Answer {
    http.post_json("/v1/agents/bob/inbox/ack", body).await
}

async fn ack(http: &Http, through: u64) {
    let answer = post_ack(http, &json!({"through": through})).await;
    assert!(matches!(answer.status, 200 | 204), "{}: {}", answer.status, answer.text());
}

async fn consumed_through(http: &Http) -> Value {
    http.get("/v1/agents/bob").await.expect(200).json()["inbox"]["consumed_through"].clone()
}

fn with_id() -> (Value, Uuid) {
    let id = Uuid::new_v4();
    let request = json!({"id": id, "kind": "message", "type": "question", "sender_id": "ann", "recipient_id": "bob"});
    (request, id)
}

fn reply_to(id: &Value, content: &str) -> Value {
    json!({"kind": "message", "type": "answer", "sender_id": "bob", "recipient_id": "ann", "in_reply_to": id, "content": content})
}

/// Replies `times` times to the next message of the stream, as a quick agent does.
async fn reply_once(http: &Http, stream: &mut crate::support::Sse, times: usize) {
    let asked = stream.collect_json(1, SOON).await.remove(0);
    for n in 0..times {
        let reply = reply_to(&asked["id"], &format!("reply {n}"));
        http.post_json(MESSAGES, &reply).await.expect(201);
    }
}

/// Fails the test unless the response is a whole exchange with this reply, both messages with the bytes of
/// history.
async fn assert_exchange(http: &Http, answer: Answer, content: &str) {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Exchange {
        request: Box<serde_json::value::RawValue>,
        reply: Box<serde_json::value::RawValue>,
    }
    let answer = answer.expect(200);
    assert_eq!(answer.header("content-type"), Some(JSON));
    let both: Exchange = serde_json::from_slice(&answer.bytes)
        .unwrap_or_else(|error| panic!("no exchange: {error}: {}", answer.text()));
    let reply = answer.json()["reply"].clone();
    assert_eq!(
        (&reply["content"], &reply["in_reply_to"]),
        (&json!(content), &answer.json()["request"]["id"])
    );
    for message in [both.request.get(), both.reply.get()] {
        let seq = wire::seq_of(message);
        wire::committed(http, seq).await;
        assert_eq!(
            wire::page(http, &format!("after={}&limit=1", seq - 1)).await.messages,
            [message]
        );
    }
}

for_each_mode! {
    async fn an_inbox_has_what_history_has_for_the_agent(d: &Deployment) {
        let http = d.http();
        assert!(inbox(http, "").await.is_empty(), "no message yet");
        let messages: Vec<Value> = (0..60).map(|n| match n % 4 {
            0 => note("ann", "bob"),
            1 => note("ann", "cid"),
            2 => broadcast("cid"),
            _ => json!({"kind": "task", "type": "task_assignment", "task_id": "t", "sender_id": "ann", "recipient_id": "bob"}),
        }).collect();
        import(http, &messages).await;
        let own = wire::pages(http, "recipient=bob").await;
        assert_eq!(own.len(), 30);
        assert_eq!(inbox(http, "").await, own);
        assert_eq!(inbox(http, "broadcast=false").await, own);
        let all = wire::pages(http, "recipient=bob&broadcast=true").await;
        assert_eq!(all.len(), 45);
        assert_eq!(inbox(http, "broadcast=true&limit=1000").await, all);
        // Pages can be read by their `next`, without consuming.
        let (mut paged, mut after) = (Vec::new(), String::new());
        loop {
            let answer = http.get(&format!("/v1/agents/bob/inbox?limit=7{after}")).await;
            assert!(bodies(&answer).len() <= 7);
            paged.extend(bodies(&answer));
            let Some(next) = answer.json()["next"].as_u64() else { break };
            after = format!("&after={next}");
        }
        assert_eq!(paged, own);
        let after = wire::seq_of(&own[9]);
        assert_eq!(inbox(http, &format!("after={after}")).await, own[10..]);
        // Reading does not consume: a second read returns the same.
        assert_eq!(inbox(http, "").await, own);
    }

    async fn an_acknowledgement_only_moves_forward_and_survives_a_kill(d: &Deployment) {
        let http = d.http();
        let mut messages = vec![note("ann", "bob"); 9];
        messages.push(json!({"kind": "status", "type": "online", "sender_id": "bob"}));
        let seqs = import(http, &messages).await;
        let all = inbox(http, "").await;
        assert_eq!(all.len(), 9);
        assert_eq!(consumed_through(http).await, 0);
        ack(http, seqs[4]).await;
        for through in [seqs[4], seqs[1], 0, seqs[4]] {
            ack(http, through).await;
            assert_eq!(consumed_through(http).await, seqs[4], "after {through}");
            assert_eq!(inbox(http, "").await, all[5..]);
        }
        let bob = http.get("/v1/agents/bob").await.expect(200).json();
        assert_eq!(bob["inbox"]["waiting"], 4, "{bob}");
        // Consumed messages can be read by position. Messages that were read but not acknowledged are
        // returned again after a crash.
        assert_eq!(inbox(http, "after=0").await, all);
        d.agentbus().kill9();
        d.agentbus().restart().await;
        let http = d.http();
        assert_eq!(inbox(http, "").await, all[5..]);
        ack(http, seqs[9]).await;
        assert!(inbox(http, "").await.is_empty());
        // An acknowledgement counts for one agent only.
        let other = http.get("/v1/agents/cid/inbox?after=0").await;
        assert!(bodies(&other).is_empty());
        let late = import(http, &[note("ann", "bob")]).await;
        assert_eq!(wire::seqs_of(&inbox(http, "").await), late);
    }

    async fn what_cannot_be_acknowledged_is_refused(d: &Deployment) {
        let http = d.http();
        let seqs = import(http, &[note("ann", "bob"), note("ann", "bob")]).await;
        let committed = wire::page(http, "limit=1").await.committed_through;
        for (body, expected) in [
            (json!({"through": committed + 1}), &["/through"] as &[&str]),
            (json!({"through": 9_007_199_254_740_991_u64}), &["/through"]),
            (json!({"through": -1}), &["/through"]),
            (json!({"through": 1.5}), &["/through"]),
            (json!({"through": "1"}), &["/through"]),
            (json!({"through": null}), &["/through"]),
            (json!({}), &["/through"]),
            (json!({"through": [], "to": 1, "Through": 1}), &["/through", "/to", "/Through"]),
            (json!({"through": 1, "extra": 1}), &["/extra"]),
        ] {
            let problem = wire::problem(&post_ack(http, &body).await, 422);
            let expected = expected.iter().map(|it| (*it).to_owned()).collect();
            assert_eq!(wire::named(&problem, "pointer"), expected, "{body}");
        }
        for body in ["", "{", "{\"through\":1", "{\"through\":01}"] {
            let answer = http.post("/v1/agents/bob/inbox/ack", JSON, body).await;
            wire::problem_code(&answer, 400, "malformed_json");
        }
        for body in ["[]", "1", "null"] {
            wire::refused(&http.post("/v1/agents/bob/inbox/ack", JSON, body).await, &[400, 422]);
        }
        let answer = http.post("/v1/agents/bob/inbox/ack", "text/plain", "{\"through\":1}").await;
        wire::problem_code(&answer, 415, "unsupported_media_type");
        let answer = http.post_json("/v1/agents/bob/inbox/ack?x=1", &json!({"through": 1})).await;
        assert_eq!(wire::named(&wire::problem(&answer, 422), "parameter"), wire::names(["x"]));
        assert_eq!(wire::seqs_of(&inbox(http, "").await), seqs, "nothing of it counted");
        wire::still_serves(d).await;
    }

    async fn a_wrong_request_to_an_inbox_gets_all_its_errors(d: &Deployment) {
        let http = d.http();
        for (query, expected) in [
            ("after=x&limit=0&wait=61&broadcast=maybe&colour=1", &["after", "limit", "wait", "broadcast", "colour"] as &[&str]),
            ("wait=-1&limit=1001", &["wait", "limit"]),
            ("wait=soon", &["wait"]),
            ("after=-1&order=desc", &["after", "order"]),
            ("after=9007199254740993", &["after"]),
            ("limit=1&limit=2", &["limit"]),
        ] {
            let problem = wire::problem_code(&http.get(&format!("/v1/agents/bob/inbox?{query}")).await, 422, "invalid_parameter");
            let expected = expected.iter().map(|it| (*it).to_owned()).collect();
            assert_eq!(wire::named(&problem, "parameter"), expected, "{query}");
        }
        for path in ["/v1/agents/a.b/inbox", "/v1/agents/%20/inbox", "/v1/agents/%ff/inbox", "/v1/agents/bob/inbox/x"] {
            wire::refused(&http.get(path).await, &[404, 422]);
        }
        let answer = http.post_json("/v1/agents/a.b/inbox/ack", &json!({"through": 0})).await;
        wire::refused(&answer, &[404, 422]);
        for (method, path, allowed) in [
            (Method::POST, "/v1/agents/bob/inbox", "GET"), (Method::DELETE, "/v1/agents/bob/inbox", "GET"),
            (Method::GET, "/v1/agents/bob/inbox/ack", "POST"), (Method::PUT, "/v1/agents/bob/inbox/ack", "POST"),
        ] {
            let answer = http.request(method, path, &[], "").await.expect("an answer");
            wire::problem_code(&answer, 405, "method_not_allowed");
            assert!(answer.header("allow").is_some_and(|it| it.contains(allowed)), "{path}");
        }
        wire::still_serves(d).await;
    }

    async fn a_long_poll_is_woken_and_otherwise_ends_empty_after_its_wait(d: &Deployment) {
        let http = d.http();
        let start = Instant::now();
        let answer = http.get("/v1/agents/bob/inbox?wait=1").await;
        assert_eq!((answer.status, answer.bytes.len()), (204, 0), "{}", answer.text());
        assert!((1..15).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        // Twenty polls wait for different agents. A message for one agent wakes that poll, whatever
        // else is published.
        let wait = async |n: usize| http.get(&format!("/v1/agents/w{n}/inbox?wait=60")).await;
        let waiting = async {
            let mut all = Vec::new();
            for n in 0..20 {
                all.push(wait(n));
            }
            futures_util::future::join_all(all).await
        };
        let post = async {
            // Some polls may not wait yet, which must not matter.
            for n in (0..20).rev() {
                http.post_json(MESSAGES, &broadcast("ann")).await.expect(201);
                http.post_json(MESSAGES, &note("ann", &format!("w{n}"))).await.expect(201);
            }
        };
        let (answers, ()) = within(WOKEN, "every poll is woken", async { tokio::join!(waiting, post) }).await;
        for (n, answer) in answers.iter().enumerate() {
            let own = wire::pages(http, &format!("recipient=w{n}")).await;
            assert_eq!(bodies(answer), own, "w{n}");
        }
        // A message that is there already is returned at once.
        let there = within(WOKEN, "what is there", http.get("/v1/agents/w3/inbox?wait=60")).await;
        assert_eq!(bodies(&there).len(), 1);
        // Broadcasts wake the polls that ask for them.
        let waiting = http.get("/v1/agents/bob/inbox?wait=60&broadcast=true&after=40");
        let post = async { http.post_json(MESSAGES, &broadcast("ann")).await.expect(201) };
        let (answer, _) = within(WOKEN, "a broadcast wakes", async { tokio::join!(waiting, post) }).await;
        assert_eq!(wire::seqs_of(&bodies(&answer)), [41]);
    }

    async fn expired_messages_are_skipped_and_stay_in_history(d: &Deployment) {
        let http = d.http();
        let with_expiry = |seconds: i64| {
            let mut message = note("ann", "bob");
            message["expires_at"] = json!((Utc::now() + TimeDelta::seconds(seconds)).to_rfc3339());
            message
        };
        let seqs = import(http, &[with_expiry(-1), note("ann", "bob"), with_expiry(3_600), with_expiry(-3_600)]).await;
        assert_eq!(wire::seqs_of(&inbox(http, "").await), seqs[1..3]);
        assert_eq!(wire::seqs_of(&inbox(http, "limit=1").await), seqs[1..2]);
        assert_eq!(wire::pages(http, "recipient=bob").await.len(), 4);
    }

    async fn the_first_reply_is_the_answer_in_the_bytes_of_history(d: &Deployment) {
        let http = d.http();
        let mut asked = http.stream("recipient=bob", None).await;
        asked.expect_ready().await;
        for kind in ["message", "task"] {
            let request = json!({"kind": kind, "type": "question", "task_id": "t", "sender_id": "ann", "recipient_id": "bob"});
            let ask = http.post_json("/v1/messages?reply_within=60", &request);
            let both = async { tokio::join!(ask, reply_once(http, &mut asked, 3)) };
            let (answer, ()) = within(WOKEN, "the reply", both).await;
            assert_exchange(http, answer, "reply 0").await;
        }
        // Many requests at the same time: each gets its own reply.
        let asks = (0..20).map(async |n| {
            let mut request = with_id().0;
            request["content"] = json!(n.to_string());
            http.post_json("/v1/messages?reply_within=60&ack=committed", &request).await.expect(200).json()
        });
        let answer_all = async {
            for request in asked.collect_json(20, SOON).await.into_iter().rev() {
                let content = request["content"].as_str().expect("content");
                http.post_json(MESSAGES, &reply_to(&request["id"], content)).await.expect(201);
            }
        };
        let both = async { tokio::join!(futures_util::future::join_all(asks), answer_all) };
        let (answers, ()) = within(WOKEN, "the replies", both).await;
        for (n, answer) in answers.iter().enumerate() {
            assert_eq!(answer["request"]["content"], json!(n.to_string()));
            assert_eq!(answer["reply"]["content"], json!(n.to_string()));
        }
    }

    async fn without_a_reply_the_message_stays_and_a_repeat_finds_a_late_one(d: &Deployment) {
        let http = d.http();
        let (request, id) = with_id();
        let start = Instant::now();
        let answer = http.post_json("/v1/messages?reply_within=1", &request).await;
        assert!((1..15).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        let problem = wire::problem_code(&answer, 504, "no_reply");
        assert_eq!(problem["id"], json!(id));
        let seq = problem["seq"].as_u64().unwrap_or_else(|| panic!("no seq: {problem}"));
        wire::committed(http, seq).await;
        assert_eq!(wire::seqs_of(&wire::pages(http, "sender=ann").await), [seq]);
        // A reply to another message is not a reply to this one.
        import(http, &[reply_to(&json!(Uuid::new_v4()), "to another")]).await;
        wire::problem_code(&http.post_json("/v1/messages?reply_within=1", &request).await, 504, "no_reply");
        import(http, &[reply_to(&json!(id), "late"), reply_to(&json!(id), "later")]).await;
        let again = within(WOKEN, "what is in history", http.post_json("/v1/messages?reply_within=60", &request)).await;
        assert_exchange(http, again, "late").await;
        assert_eq!(wire::pages(http, "sender=ann").await.len(), 1, "one message, however often it is asked");
        let mut other = request;
        other["content"] = json!("other");
        let conflict = http.post_json("/v1/messages?reply_within=60", &other).await;
        wire::problem_code(&conflict, 409, "idempotency_conflict");
        // If the client gives no id, the problem document names the id that the message got.
        let begun = Instant::now();
        let question = json!({"kind": "message", "type": "question", "sender_id": "eve", "recipient_id": "bob"});
        let answer = http.post_json("/v1/messages?reply_within=1", &question).await;
        let problem = wire::problem_code(&answer, 504, "no_reply");
        assert!(begun.elapsed() >= Duration::from_secs(1));
        wire::committed(http, problem["seq"].as_u64().expect("a sequence")).await;
        let path = format!("{MESSAGES}/{}", problem["id"].as_str().expect("an id"));
        let stored = http.get(&path).await.expect(200).json();
        assert_eq!((&stored["seq"], &stored["type"]), (&problem["seq"], &json!("question")));
    }

    async fn a_wrong_request_for_a_reply_publishes_nothing(d: &Deployment) {
        let http = d.http();
        for value in ["0", "61", "-1", "soon", "", "1.5", "x", "1&reply_within=2"] {
            let answer = http.post_json(&format!("/v1/messages?reply_within={value}&ack=never&x=1"), &with_id().0).await;
            let named = wire::named(&wire::problem_code(&answer, 422, "invalid_parameter"), "parameter");
            assert_eq!(named, wire::names(["reply_within", "ack", "x"]), "{value}");
        }
        let answer = http.post_json("/v1/messages?reply_within=1&reply_within=2", &with_id().0).await;
        assert_eq!(wire::named(&wire::problem(&answer, 422), "parameter"), wire::names(["reply_within"]));
        let answer = http.post_json("/v1/messages?reply_within=5", &json!({"kind": "x", "sender_id": "a b"})).await;
        let named = wire::named(&wire::problem_code(&answer, 422, "invalid_message"), "pointer");
        assert_eq!(named, wire::names(["/kind", "/type", "/sender_id"]));
        let answer = http.post_ndjson("/v1/messages/batch?reply_within=5", &[with_id().0]).await;
        assert_eq!(wire::named(&wire::problem(&answer, 422), "parameter"), wire::names(["reply_within"]));
        http.post_json("/v1/messages/batch?reply_within=1", &json!([with_id().0])).await.expect(422);
        assert!(wire::page(http, "").await.messages.is_empty());
        wire::still_serves(d).await;
    }
}

#[tokio::test]
async fn a_message_through_any_server_ends_a_wait() {
    let d = Deployment::start(Mode::Nats).await;
    let second = d.second_server().await;
    let (here, there) = (d.http(), &second.http());
    for round in 0..5 {
        let (agent, message) = (format!("w{round}"), note("ann", &format!("w{round}")));
        let path = format!("/v1/agents/{agent}/inbox?wait=60");
        let both = async { tokio::join!(here.get(&path), there.post_json(MESSAGES, &message)) };
        let (answer, posted) = within(WOKEN, "a message at the other server wakes", both).await;
        let seq = posted.expect(201).json()["seq"].as_u64().expect("seq");
        assert_eq!(wire::seqs_of(&bodies(&answer)), [seq]);
        let answer = there
            .post_json(&format!("/v1/agents/{agent}/inbox/ack"), &json!({"through": seq}))
            .await;
        assert!(matches!(answer.status, 200 | 204), "{}", answer.text());
        assert!(bodies(&here.get(&format!("/v1/agents/{agent}/inbox")).await).is_empty());
    }
    let mut asked = there.stream("recipient=bob", None).await;
    asked.expect_ready().await;
    for _ in 0..5 {
        let request = with_id().0;
        let ask = here.post_json("/v1/messages?reply_within=60", &request);
        let both = async { tokio::join!(ask, reply_once(there, &mut asked, 2)) };
        let (answer, ()) = within(WOKEN, "the reply", both).await;
        assert_exchange(here, answer, "reply 0").await;
    }
    // The reply may come from any NATS client.
    let (request, id) = with_id();
    let nats = d.nats().expect("a NATS server").client().await;
    let publish = async {
        let asked = asked.collect_json(1, SOON).await.remove(0);
        let reply = reply_to(&asked["id"], "from NATS").to_string();
        nats.publish("agent.message.agent.answer", reply.into()).await.expect("publish");
        nats.flush().await.expect("publish");
    };
    let ask = here.post_json("/v1/messages?reply_within=60", &request);
    let (answer, ()) = within(WOKEN, "the reply", async { tokio::join!(ask, publish) }).await;
    assert_eq!(answer.json()["request"]["id"], json!(id));
    assert_exchange(here, answer, "from NATS").await;
}
