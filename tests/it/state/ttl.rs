//! Statuses that lapse are reported once, however many servers run, and a lapse never replaces a newer
//! status.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::support::{Deployment, Http, Mode, eventually, for_each_mode};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

fn online(agent: &str, ttl_s: u64) -> Value {
    json!({"kind": "status", "type": "online", "sender_id": agent, "metadata": {"ttl_s": ttl_s}})
}

async fn post(http: &Http, message: &Value) -> u64 {
    let answer = http.post_json("/v1/messages?ack=committed", message).await.expect(201).json();
    answer["seq"].as_u64().expect("a sequence")
}

async fn agent(http: &Http, id: &str) -> Value {
    http.get(&format!("/v1/agents/{id}")).await.expect(200).json()
}

async fn wait_offline(http: &Http, id: &str) -> Value {
    eventually(LIMIT, "the agent is offline", async || {
        Some(agent(http, id).await).filter(|agent| agent["status"] == "offline")
    })
    .await
}

/// Every status of the log, in order.
async fn statuses(http: &Http) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let path = format!("/v1/messages?kind=status&limit=1000&after={after}");
        let page = http.get(&path).await.expect(200).json();
        all.extend(page["messages"].as_array().expect("messages").iter().cloned());
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => return all,
        }
    }
}

/// Fails the test unless each lapse directly follows the status that it ends and is reported once. Returns
/// the number of lapses.
fn assert_lapses(log: &[Value]) -> usize {
    let mut latest: HashMap<&str, &Value> = HashMap::new();
    let (mut ended, mut ids) = (HashSet::new(), HashSet::new());
    for status in log {
        let sender = status["sender_id"].as_str().expect("a sender");
        if status["metadata"]["reason"] == "ttl" {
            let before = latest.get(sender).expect("a status before");
            assert_eq!(status["metadata"], json!({"reason": "ttl", "expired_seq": before["seq"]}));
            assert_eq!(status["subject"], format!("agent.status.{sender}.offline"));
            assert!(ended.insert(before["seq"].as_u64()), "reported twice: {status}");
            assert!(ids.insert(status["id"].clone()), "an id twice: {status}");
        }
        latest.insert(sender, status);
    }
    ended.len()
}

for_each_mode! {
    async fn a_status_lapses_once(deployment: &Deployment) {
        let http = deployment.http();
        post(http, &online("lasting", 3_600)).await;
        post(http, &json!({"kind": "status", "type": "online", "sender_id": "endless"})).await;
        let seq = post(http, &online("alice", 1)).await;
        let before = agent(http, "alice").await;
        assert_ne!(before["expires_at"], Value::Null);
        let after = wait_offline(http, "alice").await;
        assert_eq!((&after["last_seen"], &after["expires_at"]), (&before["last_seen"], &Value::Null));
        let mut stream = http.stream(&format!("from={}&sender=alice", seq + 1), None).await;
        let lapse = &stream.collect_json(1, LIMIT).await[0];
        assert_eq!((&lapse["type"], &lapse["content"]), (&json!("offline"), &json!("")));
        assert_eq!(lapse["metadata"], json!({"reason": "ttl", "expired_seq": seq}));
        // The agent comes online, and lapses again.
        post(http, &online("alice", 1)).await;
        assert_eq!(agent(http, "alice").await["status"], "online");
        wait_offline(http, "alice").await;
        assert_eq!(assert_lapses(&statuses(http).await), 2);
        for id in ["lasting", "endless"] {
            assert_eq!(agent(http, id).await["status"], "online");
        }
    }

    async fn a_lapse_while_the_server_was_down_is_reported_when_it_is_back(deployment: &Deployment) {
        let http = deployment.http();
        post(http, &online("alice", 1)).await;
        deployment.agentbus().kill9();
        deployment.agentbus().restart().await;
        wait_offline(http, "alice").await;
        assert_eq!(assert_lapses(&statuses(http).await), 1);
    }
}

/// Agents renew their statuses just when these lapse, through several servers.
async fn race(servers: &[&Http]) {
    const AGENTS: usize = 40;
    const SIGNS: usize = 6;
    let mut agents = tokio::task::JoinSet::new();
    for n in 0..AGENTS {
        let servers: Vec<Http> = servers.iter().map(|http| (*http).clone()).collect();
        agents.spawn(async move {
            let name = format!("agent-{n}");
            for sign in 0..SIGNS {
                let http = &servers[(n + sign) % servers.len()];
                http.post_json("/v1/messages", &online(&name, 1)).await.expect(201);
                // The pause ends around the end of the second, when the status lapses.
                let pause = Duration::from_millis(950 + fastrand::u64(0..400));
                tokio::time::sleep(pause).await;
            }
        });
    }
    while let Some(done) = agents.join_next().await {
        done.expect("no panic");
    }
    for n in 0..AGENTS {
        wait_offline(servers[0], &format!("agent-{n}")).await;
    }
    let log = statuses(servers[0]).await;
    let lapses = assert_lapses(&log);
    assert_eq!(log.len(), AGENTS * SIGNS + lapses);
    assert!(lapses >= AGENTS);
    let mut by_agent: BTreeMap<&str, usize> = BTreeMap::new();
    for status in &log {
        *by_agent.entry(status["sender_id"].as_str().expect("a sender")).or_default() += 1;
    }
    assert_eq!(by_agent.len(), AGENTS);
    eprintln!("{lapses} lapses among {} signs of life", AGENTS * SIGNS);
}

#[tokio::test]
async fn one_server_never_overwrites_a_newer_status() {
    let deployment = Deployment::start(Mode::MemorySqlite).await;
    race(&[deployment.http()]).await;
}

#[tokio::test]
async fn two_servers_report_a_lapse_once() {
    let deployment = Deployment::start(Mode::Nats).await;
    let second = deployment.second_server().await;
    race(&[deployment.http(), &second.http()]).await;
}

#[tokio::test]
async fn three_servers_report_a_lapse_once() {
    let deployment = Deployment::start(Mode::Nats).await;
    let (second, third) = (deployment.second_server().await, deployment.second_server().await);
    race(&[deployment.http(), &second.http(), &third.http()]).await;
}

/// The stream has dropped the status; only the store has it.
#[tokio::test]
async fn a_status_that_the_stream_has_dropped_lapses_too() {
    let deployment =
        Deployment::tuned(Mode::Nats, |builder| builder.env("NATS_MAX_MSGS", "100")).await;
    let http = deployment.http();
    post(http, &online("alice", 4)).await;
    for n in 0..150 {
        post(http, &json!({"kind": "message", "type": "note", "sender_id": "bob", "content": n.to_string()})).await;
    }
    wait_offline(http, "alice").await;
    assert_eq!(assert_lapses(&statuses(http).await), 1);
}
