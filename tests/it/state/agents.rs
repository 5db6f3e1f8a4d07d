//! `/v1/agents` and `/v1/tasks`: computed from the log, exact at their `as_of`.

use std::time::Duration;

use crate::support::{Deployment, Http, eventually, for_each_mode};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

/// Posts a message; returns its sequence once it is stored.
async fn post(http: &Http, message: &Value) -> u64 {
    let answer = http.post_json("/v1/messages?ack=committed", message).await.expect(201).json();
    answer["seq"].as_u64().expect("a sequence")
}

async fn get(http: &Http, path: &str) -> Value {
    http.get(path).await.expect(200).json()
}

fn status(agent: &str, type_: &str) -> Value {
    json!({"kind": "status", "type": type_, "sender_id": agent})
}

fn event(task: &str, agent: &str, type_: &str) -> Value {
    json!({"kind": "task", "type": type_, "sender_id": agent, "task_id": task})
}

for_each_mode! {
    async fn an_agent_has_its_last_status(deployment: &Deployment) {
        let http = deployment.http();
        assert_eq!(get(http, "/v1/agents").await, json!({"as_of": 0, "agents": [], "next": null}));
        post(http, &json!({"kind": "status", "type": "online", "sender_id": "alice", "sender_role": "coder"})).await;
        let first = get(http, "/v1/agents/alice").await;
        assert_eq!((&first["as_of"], &first["status"], &first["role"]), (&json!(1), &json!("online"), &json!("coder")));
        assert_eq!(first["since"], first["last_seen"]);
        assert_eq!(first["expires_at"], Value::Null);
        assert_eq!(first["inbox"], json!({"consumed_through": 0, "waiting": 0}));
        post(http, &status("alice", "online")).await;
        let second = get(http, "/v1/agents/alice").await;
        assert_eq!((&second["since"], &second["role"]), (&first["since"], &json!("coder")));
        assert_ne!(second["last_seen"], first["last_seen"]);
        post(http, &status("alice", "busy")).await;
        let third = get(http, "/v1/agents/alice").await;
        assert_eq!(third["since"], third["last_seen"]);
        // A message updates `last_seen` but is no status; an event of a task changes neither.
        let shown = json!({"kind": "message", "type": "note", "sender_id": "bob", "recipient_id": "alice", "sender_role": "tester"});
        post(http, &shown).await;
        post(http, &event("t", "carol", "begun")).await;
        let list = get(http, "/v1/agents").await;
        assert_eq!((&list["as_of"], &list["next"]), (&json!(5), &Value::Null));
        let names: Vec<_> = list["agents"].as_array().expect("a list").iter().map(|a| a["agent_id"].clone()).collect();
        assert_eq!(names, ["alice", "bob"]);
        assert_eq!(list["agents"][0]["inbox"]["waiting"], 1);
        assert_eq!((&list["agents"][1]["status"], &list["agents"][1]["role"]), (&Value::Null, &json!("tester")));
        let page = get(http, "/v1/agents?limit=1").await;
        assert_eq!((&page["agents"][0], &page["next"]), (&list["agents"][0], &json!("alice")));
        let page = get(http, "/v1/agents?limit=1&after=alice").await;
        assert_eq!((&page["agents"][0], &page["next"]), (&list["agents"][1], &Value::Null));
        for missing in ["/v1/agents/carol", "/v1/agents/a%20b", "/v1/agents/%ff", "/v1/tasks/none"] {
            let problem = http.get(missing).await.expect(404).json();
            assert_eq!(problem["code"], "not_found", "{missing}");
        }
        for bad in ["/v1/agents?limit=0", "/v1/agents?after=a%20b", "/v1/agents/alice?x=1", "/v1/tasks?state=ended"] {
            assert_eq!(http.get(bad).await.expect(422).json()["code"], "invalid_parameter", "{bad}");
        }
    }

    async fn the_first_end_of_a_task_is_its_outcome(deployment: &Deployment) {
        let http = deployment.http();
        let first = post(http, &event("t-1", "alice", "begun")).await;
        post(http, &event("t-2", "alice", "begun")).await;
        let remark = json!({"kind": "message", "type": "note", "sender_id": "bob", "task_id": "t-1"});
        post(http, &remark).await;
        let open = get(http, "/v1/tasks?state=open").await;
        assert_eq!(open["tasks"].as_array().map(Vec::len), Some(2));
        post(http, &event("t-1", "carol", "completed")).await;
        let last = post(http, &event("t-1", "alice", "failed")).await;
        assert_eq!(get(http, "/v1/tasks/t-1").await, json!({
            "as_of": last, "task_id": "t-1", "state": "done", "outcome": "completed", "last_event": "failed",
            "agents": ["alice", "bob", "carol"], "messages": 4, "late_events": 1, "first_seq": first, "last_seq": last,
        }));
        let ids = async |query: &str| {
            let list = get(http, &format!("/v1/tasks{query}")).await;
            let tasks = list["tasks"].as_array().expect("a list").clone();
            tasks.iter().map(|task| task["task_id"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids("?state=done").await, ["t-1"]);
        assert_eq!(ids("?state=open").await, ["t-2"]);
        assert_eq!(ids("?after=t-1").await, ["t-2"]);
    }

    async fn a_stream_continues_from_a_response_without_a_gap(deployment: &Deployment) {
        let http = deployment.http();
        for n in 0..20 {
            http.post_json("/v1/messages", &status(&format!("a-{n}"), "online")).await.expect(201);
        }
        let list = eventually(LIMIT, "the agents are computed", async || {
            let list = get(http, "/v1/agents").await;
            (list["as_of"].as_u64()? > 0).then_some(list)
        })
        .await;
        let as_of = list["as_of"].as_u64().expect("a sequence");
        assert_eq!(list["agents"].as_array().map(Vec::len), usize::try_from(as_of).ok(), "exact as of {as_of}");
        let mut stream = http.stream(&format!("from={}", as_of + 1), None).await;
        post(http, &status("a-20", "online")).await;
        let rest = 21 - usize::try_from(as_of).expect("a count");
        let came = stream.collect_json(rest, LIMIT).await;
        assert_eq!(came[0]["seq"], as_of + 1);
    }
}

#[tokio::test]
async fn a_bad_ttl_is_named() {
    let deployment = Deployment::start(crate::support::Mode::MemorySqlite).await;
    for bad in [json!(0), json!(86_401), json!(1.5), json!("60"), json!(null)] {
        let mut message = status("alice", "online");
        message["metadata"] = json!({"ttl_s": bad});
        let problem =
            deployment.http().post_json("/v1/messages", &message).await.expect(422).json();
        assert_eq!(problem["errors"][0]["pointer"], "/metadata/ttl_s", "{problem}");
        message["kind"] = json!("message");
        deployment.http().post_json("/v1/messages", &message).await.expect(201);
    }
}
