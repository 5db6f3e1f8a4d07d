//! Agents and tasks (contract, section 6): every response agrees with the log up to its `as_of`, through any
//! server and while others post. A list continues where its page ended. A status that lapses is reported
//! once. A wrong request is refused with all its errors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::streams;
use crate::support::wire::{self, MESSAGES, SOON};
use crate::support::{Agentbus, Deployment, Http, Mode, eventually, for_each_mode};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

/// How long to wait for a lapse to be published: the shortest time to live is a second, and the machine may
/// be busy.
const LAPSE: Duration = Duration::from_secs(40);

async fn commit(http: &Http, message: &Value) -> Value {
    let ack = http.post_json("/v1/messages?ack=committed", message).await.expect(201).json();
    wire::committed(http, ack["seq"].as_u64().expect("seq")).await;
    ack
}

async fn get(http: &Http, path: &str) -> Value {
    let answer = http.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
    answer.json()
}

fn status(agent: &str, kind: &str, metadata: Value) -> Value {
    json!({"kind": "status", "type": kind, "sender_id": agent, "sender_role": "coder", "metadata": metadata})
}

fn note(from: &str, to: &str) -> Value {
    json!({"kind": "message", "type": "note", "sender_id": from, "sender_role": "coder", "recipient_id": to})
}

fn event(task: &str, kind: &str, agent: &str) -> Value {
    json!({"kind": "task", "type": kind, "task_id": task, "sender_id": agent})
}

fn time(value: &Value) -> DateTime<Utc> {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn members(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().cloned().collect()
}

/// Every entry of a list, read in pages. Fails the test if a page is longer than `limit`, or one before the
/// last has no `next`.
async fn list(http: &Http, path: &str, name: &str, limit: usize) -> Vec<Value> {
    let (mut found, mut after) = (Vec::new(), String::new());
    let mark = if path.contains('?') { '&' } else { '?' };
    loop {
        let page = get(http, &format!("{path}{mark}limit={limit}{after}")).await;
        assert_eq!(members(&page), wire::names(["as_of", name, "next"]), "{path}");
        let items = page[name].as_array().expect("a list");
        assert!(items.len() <= limit, "{path}: {} of {limit}", items.len());
        found.extend(items.iter().cloned());
        match &page["next"] {
            Value::Null => return found,
            Value::String(next) => after = format!("&after={next}"),
            next => after = format!("&after={next}"),
        }
        assert!(found.len() < 10_000, "{path} has no end");
    }
}

/// The state of a task, computed from the log as the contract defines it.
fn folded_task(log: &[Value], task: &str) -> Value {
    let of_it: Vec<&Value> = log.iter().filter(|message| message["task_id"] == task).collect();
    let ends = ["completed", "failed", "cancelled"];
    let end = of_it.iter().position(|it| ends.iter().any(|end| it["type"] == *end));
    let agents: BTreeSet<&str> = of_it.iter().filter_map(|it| it["sender_id"].as_str()).collect();
    json!({
        "task_id": task,
        "state": if end.is_some() { "done" } else { "open" },
        "outcome": end.map(|at| &of_it[at]["type"]),
        "agents": agents,
        "messages": of_it.len(),
        "late_events": end.map_or(0, |at| of_it.len() - at - 1),
        "first_seq": of_it[0]["seq"],
        "last_seq": of_it[of_it.len() - 1]["seq"],
    })
}

/// The members of a response that `folded_task` computes.
fn told_task(answer: &Value) -> Value {
    let mut shown = answer.clone();
    let task = shown.as_object_mut().expect("an object");
    task.remove("as_of");
    assert!(task.remove("last_event").is_some(), "no last_event: {answer}");
    let agents = task["agents"].as_array().expect("agents").iter();
    let agents: BTreeSet<&str> = agents.map(|it| it.as_str().expect("an agent")).collect();
    task["agents"] = json!(agents);
    shown
}

/// The state of an agent that sends only notes and statuses of changing types, computed from the log.
fn folded_agent(log: &[Value], agent: &str) -> Value {
    let sent = log.iter().filter(|it| it["sender_id"] == agent && it["kind"] != "task");
    let sent: Vec<&Value> = sent.collect();
    let status = sent.iter().rfind(|it| it["kind"] == "status");
    json!({
        "agent_id": agent,
        "role": "coder",
        "status": status.map(|it| &it["type"]),
        "since": status.map(|it| time(&it["created_at"])),
        "last_seen": sent.last().map(|it| time(&it["created_at"])),
        "expires_at": null,
        "inbox": {"consumed_through": 0, "waiting": log.iter().filter(|it| it["recipient_id"] == agent).count()},
    })
}

fn told_agent(answer: &Value) -> Value {
    let mut shown = answer.clone();
    shown.as_object_mut().expect("an object").remove("as_of");
    for member in ["since", "last_seen"] {
        if !shown[member].is_null() {
            shown[member] = json!(time(&shown[member]));
        }
    }
    shown
}

/// Every message of the log.
async fn log(http: &Http) -> Vec<Value> {
    let bodies = wire::pages(http, "limit=1000").await;
    bodies.iter().map(|body| serde_json::from_str(body).expect("JSON")).collect()
}

/// The messages that report a lapse of the status of `agent`.
async fn lapses(http: &Http, agent: &str) -> Vec<Value> {
    let query = format!("subject=agent.status.{agent}.offline");
    let bodies = wire::pages(http, &query).await;
    bodies.iter().map(|body| serde_json::from_str(body).expect("JSON")).collect()
}

async fn lapse(http: &Http, agent: &str) -> Value {
    eventually(LAPSE, &format!("{agent} lapses"), async || lapses(http, agent).await.pop()).await
}

for_each_mode! {
    async fn an_agent_is_any_sender_of_a_status_or_a_message(d: &Deployment) {
        let http = d.http();
        assert_eq!(get(http, "/v1/agents").await["agents"], json!([]));
        wire::problem_code(&http.get("/v1/agents/ann").await, 404, "not_found");
        let online = commit(http, &status("ann", "online", json!({"ttl_s": 86_400}))).await;
        let ann = get(http, "/v1/agents/ann").await;
        assert_eq!(members(&ann), wire::names(
            ["as_of", "agent_id", "role", "status", "since", "last_seen", "expires_at", "inbox"]));
        assert_eq!(members(&ann["inbox"]), wire::names(["consumed_through", "waiting"]));
        let at = time(&online["created_at"]);
        assert_eq!((&ann["agent_id"], &ann["role"], &ann["status"]), (&json!("ann"), &json!("coder"), &json!("online")));
        assert_eq!((time(&ann["since"]), time(&ann["last_seen"])), (at, at));
        assert_eq!(time(&ann["expires_at"]), at + TimeDelta::days(1));
        assert_eq!(ann["inbox"], json!({"consumed_through": 0, "waiting": 0}));
        assert!(ann["as_of"].as_u64() >= online["seq"].as_u64(), "{ann}");

        // A message updates `last_seen` but is no status.
        let sent = commit(http, &json!({"kind": "message", "type": "note", "sender_id": "bob", "recipient_id": "ann"})).await;
        let bob = get(http, "/v1/agents/bob").await;
        assert_eq!((&bob["role"], &bob["status"], &bob["since"], &bob["expires_at"]),
            (&json!("agent"), &Value::Null, &Value::Null, &Value::Null), "{bob}");
        assert_eq!(time(&bob["last_seen"]), time(&sent["created_at"]));
        commit(http, &note("ann", "bob")).await;
        let ann = get(http, "/v1/agents/ann").await;
        assert_eq!((time(&ann["since"]), &ann["status"]), (at, &json!("online")));
        assert!(time(&ann["last_seen"]) > at, "{ann}");
        assert_eq!(ann["inbox"]["waiting"], 1);

        // A newer status without a time to live cancels the lapse of the older one.
        let busy = commit(http, &status("ann", "busy", json!({}))).await;
        let ann = get(http, "/v1/agents/ann").await;
        assert_eq!((&ann["status"], &ann["expires_at"]), (&json!("busy"), &Value::Null));
        assert_eq!(time(&ann["since"]), time(&busy["created_at"]));
        // An agent does not come to exist by being a recipient.
        commit(http, &note("ann", "ghost")).await;
        wire::problem_code(&http.get("/v1/agents/ghost").await, 404, "not_found");
        let ids: BTreeSet<String> = list(http, "/v1/agents", "agents", 100).await.iter()
            .map(|it| it["agent_id"].as_str().expect("an id").to_owned()).collect();
        assert_eq!(ids, wire::names(["ann", "bob"]));
    }

    async fn a_task_ends_once_and_what_comes_later_is_late(d: &Deployment) {
        let http = d.http();
        wire::problem_code(&http.get("/v1/tasks/t1").await, 404, "not_found");
        let first = commit(http, &event("t1", "task_assignment", "ann")).await;
        let t1 = get(http, "/v1/tasks/t1").await;
        assert_eq!(members(&t1), wire::names(["as_of", "task_id", "state", "outcome", "last_event", "agents",
            "messages", "late_events", "first_seq", "last_seq"]));
        assert_eq!((&t1["state"], &t1["outcome"], &t1["last_event"]), (&json!("open"), &Value::Null, &json!("task_assignment")));
        assert_eq!((&t1["first_seq"], &t1["last_seq"]), (&first["seq"], &first["seq"]));
        for end in ["completed", "failed", "cancelled"] {
            let task = format!("to-{end}");
            commit(http, &event(&task, "started", "ann")).await;
            commit(http, &event(&task, end, "bob")).await;
            let shown = get(http, &format!("/v1/tasks/{task}")).await;
            assert_eq!((&shown["state"], &shown["outcome"], &shown["late_events"]), (&json!("done"), &json!(end), &json!(0)));
            for late in ["failed", "completed", "cancelled"] {
                commit(http, &event(&task, late, "cid")).await;
            }
            let shown = get(http, &format!("/v1/tasks/{task}")).await;
            assert_eq!((&shown["outcome"], &shown["late_events"], &shown["messages"]), (&json!(end), &json!(3), &json!(5)));
        }
        let log = log(http).await;
        for task in ["t1", "to-completed", "to-failed", "to-cancelled"] {
            assert_eq!(told_task(&get(http, &format!("/v1/tasks/{task}")).await), folded_task(&log, task));
        }
        let ids = async |query: &str| -> BTreeSet<String> {
            let found = list(http, &format!("/v1/tasks{query}"), "tasks", 2).await;
            found.iter().map(|it| it["task_id"].as_str().expect("an id").to_owned()).collect()
        };
        assert_eq!(ids("?state=open").await, wire::names(["t1"]));
        assert_eq!(ids("?state=done").await, wire::names(["to-completed", "to-failed", "to-cancelled"]));
        assert_eq!(ids("").await.len(), 4);
    }

    async fn every_response_is_exact_at_its_as_of_while_others_post(d: &Deployment) {
        let http = d.http();
        let posting = AtomicBool::new(true);
        let post = async |n: usize| {
            let (me, other) = (format!("a{n}"), format!("a{}", (n + 1) % 4));
            for round in 0..40 {
                let task = format!("t{}", round % 5);
                let kind = match round { 20..25 => "completed", 30..35 => "failed", _ => "progress" };
                let messages = [status(&me, &format!("s{round}"), json!({})), note(&me, &other), event(&task, kind, &me)];
                for message in messages {
                    let answer = http.post_json(MESSAGES, &message).await.expect(201).json();
                    // Waits for the store sometimes, so that states in between are
                    // checked too.
                    if round % 8 == 7 {
                        wire::committed(http, answer["seq"].as_u64().expect("a sequence")).await;
                    }
                }
            }
        };
        let post_all = async {
            join_all((0..4).map(post)).await;
            posting.store(false, Ordering::Relaxed);
        };
        let ask = async {
            let (mut tasks, mut agents) = (Vec::new(), Vec::new());
            let mut last = false;
            while !last {
                last = !posting.load(Ordering::Relaxed);
                tasks.push(get(http, "/v1/tasks").await);
                agents.push(get(http, "/v1/agents").await);
                for n in 0..4 {
                    for (path, to) in [(format!("/v1/tasks/t{n}"), &mut tasks), (format!("/v1/agents/a{n}"), &mut agents)] {
                        let answer = http.get(&path).await;
                        if answer.status != 404 {
                            to.push(answer.expect(200).json());
                        }
                    }
                }
            }
            (tasks, agents)
        };
        let ((), (tasks, agents)) = tokio::join!(post_all, ask);
        wire::committed(http, 480).await;
        let log = log(http).await;
        assert_eq!(log.len(), 480);
        let mut seen = BTreeMap::new();
        for (name, answers, fold, shown) in [
            ("tasks", tasks, folded_task as fn(&[Value], &str) -> Value, told_task as fn(&Value) -> Value),
            ("agents", agents, folded_agent, told_agent),
        ] {
            let id = if name == "tasks" { "task_id" } else { "agent_id" };
            for answer in answers {
                let as_of = answer["as_of"].as_u64().expect("as_of");
                let until = &log[..log.iter().take_while(|it| it["seq"].as_u64() <= Some(as_of)).count()];
                let one = std::slice::from_ref(&answer);
                for item in answer[name].as_array().map_or(one, Vec::as_slice) {
                    let item_id = item[id].as_str().unwrap_or_else(|| panic!("no {id}: {item}"));
                    assert_eq!(shown(item), fold(until, item_id), "at {as_of}");
                }
                if answer[name].is_array() {
                    let expected: BTreeSet<&str> = match name {
                        "tasks" => until.iter().filter_map(|it| it["task_id"].as_str()).collect(),
                        _ => until.iter().filter(|it| it["kind"] != "task").filter_map(|it| it["sender_id"].as_str()).collect(),
                    };
                    let shown: BTreeSet<&str> = answer[name].as_array().expect("a list").iter()
                        .filter_map(|it| it[id].as_str()).collect();
                    assert_eq!(shown, expected, "{name} at {as_of}");
                }
                seen.entry(name).or_insert_with(BTreeSet::new).insert(as_of);
            }
        }
        assert!(seen.values().all(|it| it.len() > 3), "no request came in between: {seen:?}");
    }

    async fn a_stream_continues_from_a_response_without_a_gap(d: &Deployment) {
        let http = d.http();
        for n in 0..5 {
            commit(http, &status("ann", &format!("s{n}"), json!({}))).await;
        }
        let as_of = get(http, "/v1/agents").await["as_of"].as_u64().expect("as_of");
        let of_task = get(http, "/v1/tasks").await["as_of"].as_u64();
        assert_eq!((as_of, of_task), (5, Some(5)));
        commit(http, &status("ann", "later", json!({}))).await;
        let mut stream = http.stream(&format!("from={}", as_of + 1), None).await;
        stream.expect_ready().await;
        let next = stream.collect_messages(1, SOON).await.remove(0);
        assert_eq!((next.seq(), &next.json()["type"]), (as_of + 1, &json!("later")));
    }

    async fn a_list_continues_where_its_page_ended(d: &Deployment) {
        let http = d.http();
        let messages: Vec<Value> = (0..120).flat_map(|n| {
            let agent = format!("agent-{n:03}");
            [status(&agent, "online", json!({})), event(&format!("task-{n:03}"), "started", &agent)]
        }).collect();
        let last = streams::publish(http, &messages).await.pop().expect("a sequence");
        wire::committed(http, last).await;
        for (path, name, id) in [("/v1/agents", "agents", "agent_id"), ("/v1/tasks", "tasks", "task_id")] {
            let ids = |items: &[Value]| -> BTreeSet<String> {
                items.iter().map(|it| it[id].as_str().expect("an id").to_owned()).collect()
            };
            let whole = list(http, path, name, 1_000).await;
            assert_eq!((whole.len(), ids(&whole).len()), (120, 120), "{path}");
            for limit in [1, 7, 40, 120] {
                let paged = list(http, path, name, limit).await;
                assert_eq!((paged.len(), ids(&paged)), (120, ids(&whole)), "{path} by {limit}");
            }
            let page = get(http, path).await;
            assert_eq!(page[name].as_array().map(Vec::len), Some(100), "{path}: the default");
            assert!(!page["next"].is_null());
        }
    }

    async fn a_wrong_request_gets_all_its_errors(d: &Deployment) {
        let http = d.http();
        for (query, expected) in [
            ("/v1/agents?limit=0&colour=red", &["limit", "colour"] as &[&str]),
            ("/v1/agents?limit=1001", &["limit"]),
            ("/v1/agents?limit=ten&state=open", &["limit", "state"]),
            ("/v1/agents?limit=1&limit=2", &["limit"]),
            ("/v1/tasks?state=late&limit=-1&x=1", &["state", "limit", "x"]),
            ("/v1/tasks?state=&limit=", &["state", "limit"]),
            ("/v1/tasks?State=open", &["State"]),
        ] {
            let problem = wire::problem_code(&http.get(query).await, 422, "invalid_parameter");
            let expected: BTreeSet<String> = expected.iter().map(|it| (*it).to_owned()).collect();
            assert_eq!(wire::named(&problem, "parameter"), expected, "{query}");
        }
        commit(http, &status("ann", "online", json!({}))).await;
        commit(http, &event("t", "started", "ann")).await;
        for path in ["/v1/agents/ann", "/v1/tasks/t"] {
            let problem = wire::problem_code(&http.get(&format!("{path}?limit=1")).await, 422, "invalid_parameter");
            assert_eq!(wire::named(&problem, "parameter"), wire::names(["limit"]), "{path}");
        }
        for path in ["/v1/agents/a.b", "/v1/agents/%20", "/v1/tasks/%00", "/v1/tasks/%ff", "/v1/agents/", "/v1/tasks/t/x"] {
            wire::refused(&http.get(path).await, &[404, 422]);
        }
        let long = "x".repeat(65);
        wire::refused(&http.get(&format!("/v1/agents/{long}")).await, &[404, 422]);
        for path in ["/v1/agents", "/v1/agents/ann", "/v1/tasks", "/v1/tasks/t"] {
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
                let answer = http.request(method, path, &[], "").await.expect("an answer");
                wire::problem_code(&answer, 405, "method_not_allowed");
                assert!(answer.header("allow").is_some_and(|it| it.contains("GET")), "{path}");
            }
        }
        wire::still_serves(d).await;
    }

    async fn a_status_lapses_once_and_never_over_a_newer_one(d: &Deployment) {
        let http = d.http();
        let short = json!({"ttl_s": 1});
        let lapsing = commit(http, &status("ann", "online", short.clone())).await;
        // A message is no status, so it does not extend the time to live. A newer status replaces it,
        // with a time to live of its own or none.
        http.post_json(MESSAGES, &note("ann", "bob")).await.expect(201);
        let long = json!({"ttl_s": 3_600});
        for (agent, newer) in [("bob", json!({})), ("cid", long)] {
            let both = [status(agent, "online", short.clone()), status(agent, "busy", newer)];
            streams::publish(http, &both).await;
        }
        let offline = lapse(http, "ann").await;
        assert_eq!((&offline["kind"], &offline["type"], &offline["sender_id"]),
            (&json!("status"), &json!("offline"), &json!("ann")));
        assert_eq!(offline["metadata"], json!({"reason": "ttl", "expired_seq": lapsing["seq"]}));
        let due = time(&lapsing["created_at"]) + TimeDelta::seconds(1);
        assert!(time(&offline["created_at"]) >= due, "before its time: {offline}");
        let ann = get(http, "/v1/agents/ann").await;
        assert_eq!((&ann["status"], &ann["expires_at"]), (&json!("offline"), &Value::Null), "{ann}");
        assert_eq!(time(&ann["since"]), time(&offline["created_at"]));
        // A later status has lapsed, so an earlier lapse would have been reported by now: neither the
        // other statuses nor the first lapse again.
        commit(http, &status("dot", "online", short.clone())).await;
        lapse(http, "dot").await;
        assert_eq!(lapses(http, "ann").await.len(), 1);
        assert_eq!((lapses(http, "bob").await.len(), lapses(http, "cid").await.len()), (0, 0));
        for agent in ["bob", "cid"] {
            assert_eq!(get(http, &format!("/v1/agents/{agent}")).await["status"], "busy");
        }
        // A status after the lapse can lapse too, and the report names its sequence.
        let again = commit(http, &status("ann", "online", short)).await;
        eventually(LAPSE, "ann lapses again", async || (lapses(http, "ann").await.len() == 2).then_some(())).await;
        assert_eq!(lapse(http, "ann").await["metadata"]["expired_seq"], again["seq"]);
    }

    async fn a_status_lapses_though_the_server_was_killed(d: &Deployment) {
        let sent = commit(d.http(), &status("ann", "online", json!({"ttl_s": 2}))).await;
        d.agentbus().kill9();
        d.agentbus().restart().await;
        let offline = lapse(d.http(), "ann").await;
        assert_eq!(offline["metadata"], json!({"reason": "ttl", "expired_seq": sent["seq"]}));
        // After a restart, a reported lapse is not reported again.
        d.agentbus().restart().await;
        commit(d.http(), &status("dot", "online", json!({"ttl_s": 1}))).await;
        lapse(d.http(), "dot").await;
        assert_eq!(lapses(d.http(), "ann").await.len(), 1);
    }

    async fn a_time_to_live_out_of_bounds_sets_no_expiry(d: &Deployment) {
        let http = d.http();
        for (n, ttl) in [json!(0), json!(86_401), json!(-1), json!(1.5), json!("5"), json!(null)].into_iter().enumerate() {
            let agent = format!("a{n}");
            let answer = http.post_json("/v1/messages?ack=committed", &status(&agent, "online", json!({"ttl_s": ttl}))).await;
            if answer.status == 422 {
                let problem = wire::problem(&answer, 422);
                assert_eq!(wire::named(&problem, "pointer"), wire::names(["/metadata/ttl_s"]), "{ttl}");
            } else {
                answer.expect(201);
                assert_eq!(get(http, &format!("/v1/agents/{agent}")).await["expires_at"], Value::Null, "{ttl}");
            }
        }
        for (n, ttl) in [1, 86_400].into_iter().enumerate() {
            let (agent, metadata) = (format!("good{n}"), json!({"ttl_s": ttl}));
            let ack = commit(http, &status(&agent, "online", metadata)).await;
            let shown = get(http, &format!("/v1/agents/{agent}")).await;
            if shown["status"] == "online" {
                let ends = time(&ack["created_at"]) + TimeDelta::seconds(ttl);
                assert_eq!(time(&shown["expires_at"]), ends);
            }
        }
    }
}

#[tokio::test]
async fn a_status_lapses_once_however_many_servers_run() {
    const AGENTS: usize = 20;
    let d = Deployment::start(Mode::Nats).await;
    let servers = [d.second_server().await, d.second_server().await];
    let http = d.http();
    let statuses: Vec<Value> = (0..AGENTS)
        .map(|n| status(&format!("a{n}"), "online", json!({"ttl_s": 1 + n % 2})))
        .collect();
    let sent = streams::publish(http, &statuses).await;
    for n in 0..AGENTS {
        lapse(http, &format!("a{n}")).await;
    }
    // Waits for a later lapse on each server: the earlier ones have been checked by then.
    for (n, server) in servers.iter().map(Agentbus::http).chain([http.clone()]).enumerate() {
        let sentinel = format!("sentinel{n}");
        commit(&server, &status(&sentinel, "online", json!({"ttl_s": 2}))).await;
        lapse(&server, &sentinel).await;
    }
    for (n, seq) in sent.iter().enumerate() {
        let shown = lapses(http, &format!("a{n}")).await;
        assert_eq!(shown.len(), 1, "{shown:?}");
        assert_eq!(shown[0]["metadata"], json!({"reason": "ttl", "expired_seq": seq}));
    }
}
