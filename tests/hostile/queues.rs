//! A lease request for an unknown queue creates no queue; and a queue can be deleted while clients use it,
//! without the loss of an acknowledged job.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::jobs::{
    counts, dead_letter, end, end_bare, enqueue, id, info, job, lease, one, put,
};
use crate::support::wire::{SOON, problem_code};
use crate::support::{Agentbus, Deployment, Http, Mode, Nats, eventually, for_each_mode, within};

/// How many unknown names a hostile client tries.
const MADE_UP: usize = 3_000;
const AT_ONCE: usize = 64;

async fn delete(http: &Http, queue: &str, query: &str) -> crate::support::Answer {
    http.delete(&format!("/v1/queues/{queue}{query}")).await
}

async fn queues(http: &Http) -> Vec<String> {
    let page = http.get("/v1/queues").await.expect(200).json();
    let names = page["queues"].as_array().expect("queues").iter();
    names.map(|queue| queue["queue"].as_str().expect("a name").to_owned()).collect()
}

/// The number of consumers of the stream of jobs; 0 while there is no such stream.
async fn consumers(nats: &Nats) -> usize {
    match nats.jetstream().await.get_stream("agent-jobs").await {
        Ok(stream) => stream.get_info().await.expect("its state").state.consumer_count,
        Err(_) => 0,
    }
}

/// A client of each server. On NATS there are two servers.
async fn servers(deployment: &Deployment) -> (Vec<Http>, Option<Agentbus>) {
    let second = match deployment.mode() {
        Mode::Nats => Some(deployment.second_server().await),
        Mode::MemorySqlite | Mode::MemoryPostgres => None,
    };
    let mut clients = vec![deployment.agentbus().http()];
    clients.extend(second.as_ref().map(Agentbus::http));
    (clients, second)
}

for_each_mode! {
    async fn leases_of_made_up_names_leave_nothing_behind(d: &Deployment) {
        let http = d.http();
        let before = http.get("/metrics").await.expect(200).text().lines().count();
        let tries = stream::iter(0..MADE_UP).map(|n| async move {
            let body = json!({"max": 1, "wait_s": u8::from(n % 50 == 0)});
            http.post_json(&format!("/v1/queues/madeup-{n}/lease"), &body).await.expect(204);
        });
        tries.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
        assert_eq!(queues(http).await, Vec::<String>::new());
        problem_code(&http.get("/v1/queues/madeup-1").await, 404, "not_found");
        if let Some(nats) = d.nats() {
            assert_eq!(consumers(nats).await, 0);
        }
        let metrics = http.get("/metrics").await.expect(200).text();
        assert!(!metrics.contains("madeup"), "{metrics}");
        // The new series are those of the requests, not of the names.
        assert!(metrics.lines().count() < before + 100, "{before} before: {metrics}");
    }

    async fn a_lease_waits_for_a_queue_that_is_filled_meanwhile(d: &Deployment) {
        let (servers, _second) = servers(d).await;
        let filler = servers.last().expect("one at least");
        for n in 0..5 {
            let queue = format!("later-{n}");
            let (leased, enqueued) = tokio::join!(one(&servers[0], &queue), async {
                // A round trip, after which the lease request waits in the server.
                filler.get("/v1/queues").await.expect(200);
                enqueue(filler, &queue, &job(n)).await
            });
            assert_eq!(id(&leased), enqueued);
            end_bare(&servers[0], &leased, "ack").await.expect(200);
        }
    }

    async fn a_queue_is_deleted_with_all_but_its_leases_and_dead_letters(d: &Deployment) {
        let http = d.http();
        problem_code(&delete(http, "builds", "").await, 404, "not_found");
        problem_code(&delete(http, "builds", "?force=perhaps").await, 422, "invalid_parameter");
        problem_code(&delete(http, "builds", "?if=empty").await, 422, "invalid_parameter");
        put(http, "builds", json!({"lease_s": 60, "max_deliver": 2, "backoff_s": [600]})).await.expect(201);
        let answer = delete(http, "builds", "").await.expect(204);
        assert!(answer.bytes.is_empty());
        problem_code(&http.get("/v1/queues/builds").await, 404, "not_found");
        problem_code(&delete(http, "builds", "").await, 404, "not_found");

        put(http, "builds", json!({"lease_s": 60, "max_deliver": 2, "backoff_s": [600]})).await.expect(201);
        let failing = enqueue(http, "builds", &job(0)).await;
        end(http, &one(http, "builds").await, "fail", json!({"reason": "no"})).await.expect(200);
        let letter = dead_letter(http, "builds").await;
        let posted = enqueue(http, "builds", &job(1)).await;
        let leased = one(http, "builds").await;
        assert_eq!(id(&leased), posted);
        enqueue(http, "builds", &job(2)).await;
        enqueue(http, "builds", &json!({"type": "build", "payload": 3, "delay_s": 600})).await;
        counts(http, "builds", 1, 1, 1).await;
        problem_code(&delete(http, "builds", "").await, 409, "queue_leased");
        problem_code(&delete(http, "builds", "?force=true").await, 409, "queue_leased");
        counts(http, "builds", 1, 1, 1).await;
        // The lease is still valid.
        end_bare(http, &leased, "extend").await.expect(200);
        end(http, &leased, "nack", json!({"delay_s": 600})).await.expect(200);
        counts(http, "builds", 1, 0, 2).await;
        problem_code(&delete(http, "builds", "").await, 409, "queue_not_empty");
        problem_code(&delete(http, "builds", "?force=false").await, 409, "queue_not_empty");
        delete(http, "builds", "?force=true").await.expect(204);
        problem_code(&http.get("/v1/queues/builds").await, 404, "not_found");
        assert_eq!(queues(http).await, Vec::<String>::new());
        problem_code(&end_bare(http, &leased, "ack").await, 410, "lease_lost");
        assert_eq!(lease(http, "builds", 10, 1).await, Vec::<Value>::new());
        assert_eq!(queues(http).await, Vec::<String>::new(), "its leases make it not again");
        if let Some(nats) = d.nats() {
            assert_eq!(consumers(nats).await, 0);
        }
        assert_eq!(dead_letter(http, "builds").await, letter);
        let path = format!("/v1/dead-letters/{}/redrive", letter["id"].as_str().expect("an id"));
        assert_eq!(http.post(&path, "", "").await.expect(200).json(), json!({"redriven": 1}));
        let again = one(http, "builds").await;
        assert_eq!((id(&again), &again["attempt"]), (failing, &json!(1)));
        assert_eq!(info(http, "builds").await["max_deliver"], 3, "with default rules");
    }

    async fn a_deleted_queue_forgets_its_ids(d: &Deployment) {
        let http = d.http();
        let named = json!({"type": "build", "payload": 1, "id": "0f3a1b5c-7d2e-4f60-8a9b-c0d1e2f3a4b5"});
        for _ in 0..3 {
            enqueue(http, "builds", &named).await;
            let again = http.post_json("/v1/queues/builds/jobs", &named).await.expect(200).json();
            assert_eq!(again["duplicate"], true);
            delete(http, "builds", "?force=true").await.expect(204);
        }
        let other = json!({"type": "build", "payload": 2, "id": named["id"]});
        enqueue(http, "builds", &other).await;
        assert_eq!(one(http, "builds").await["payload"], 2);
    }

    async fn what_is_acknowledged_after_a_deletion_is_leased(d: &Deployment) {
        let (servers, _second) = servers(d).await;
        let other = servers.last().expect("one at least");
        let named = json!({"type": "build", "payload": 1, "id": "0f3a1b5c-7d2e-4f60-8a9b-c0d1e2f3a4b5"});
        for n in 0..10 {
            // The other server knows the queue now, and keeps its config in the cache for a
            // while.
            enqueue(other, "builds", &job(n)).await;
            if n % 2 == 0 {
                enqueue(other, "builds", &named).await;
            }
            delete(&servers[0], "builds", "?force=true").await.expect(204);
            // Here too, the id of a deleted job is not a repeat.
            let expected = if n % 2 == 0 {
                enqueue(other, "builds", &named).await
            } else {
                enqueue(other, "builds", &job(100 + n)).await
            };
            let leased = one(&servers[n % servers.len()], "builds").await;
            assert_eq!(id(&leased), expected, "round {n}");
            end_bare(&servers[0], &leased, "ack").await.expect(200);
            assert_eq!(info(&servers[0], "builds").await["waiting"], 0);
        }
    }

    async fn deletions_beside_producers_and_workers_lose_and_duplicate_nothing(d: &Deployment) {
        const JOBS: usize = 300;
        let (servers, _second) = servers(d).await;
        let (at, over) = (|n: usize| &servers[n % servers.len()], AtomicBool::new(false));
        let produce = async {
            let mut made = BTreeSet::new();
            for n in 0..JOBS {
                made.insert(enqueue(at(1), "busy", &job(n)).await);
                if n % 20 == 0 {
                    // Until the queue is empty; another client may have deleted it.
                    eventually(SOON, "all is processed", async || {
                        let answer = at(n).get("/v1/queues/busy").await;
                        let state = answer.json();
                        let is_empty = || ["waiting", "leased"].iter().all(|it| state[*it] == 0);
                        (answer.status == 404 || is_empty()).then_some(())
                    })
                    .await;
                }
            }
            over.store(true, Ordering::Relaxed);
            made
        };
        let work = async |server: usize| {
            let mut done = BTreeMap::<String, usize>::new();
            loop {
                let last = over.load(Ordering::Relaxed);
                let jobs = lease(at(server), "busy", 3, 1).await;
                if last && jobs.is_empty() {
                    return done;
                }
                for job in jobs {
                    assert_eq!(job["attempt"], 1, "each is leased once");
                    end_bare(at(server), &job, "ack").await.expect(200);
                    *done.entry(id(&job)).or_default() += 1;
                }
            }
        };
        let delete_all = async {
            let mut deleted = 0;
            while !over.load(Ordering::Relaxed) {
                let answer = delete(at(0), "busy", "").await;
                assert!(matches!(answer.status, 204 | 404 | 409), "{answer:?}");
                deleted += u32::from(answer.status == 204);
            }
            deleted
        };
        let all = async { tokio::join!(produce, work(0), work(1), delete_all) };
        let (made, mut done, more, deleted) = within(Duration::from_secs(120), "all is done", all).await;
        for (id, times) in more {
            *done.entry(id).or_default() += times;
        }
        assert!(done.values().all(|times| *times == 1), "{done:?}");
        assert_eq!(done.into_keys().collect::<BTreeSet<_>>(), made);
        assert!(deleted > 3, "{deleted} deletions");
    }

    async fn created_and_deleted_queues_leave_room_for_others(d: &Deployment) {
        let http = d.http();
        for n in 0..30 {
            let queue = format!("passing-{n}");
            enqueue(http, &queue, &job(n)).await;
            end_bare(http, &one(http, &queue).await, "ack").await.expect(200);
            // JetStream may still be applying the last ack.
            eventually(SOON, "it is empty", async || {
                let answer = delete(http, &queue, "").await;
                assert!(matches!(answer.status, 204 | 409), "{answer:?}");
                (answer.status == 204).then_some(())
            })
            .await;
        }
        assert_eq!(queues(http).await, Vec::<String>::new());
        if let Some(nats) = d.nats() {
            assert_eq!(consumers(nats).await, 0);
        }
    }
}

#[tokio::test]
async fn jobs_of_another_nats_client_create_their_queue() {
    let d = Deployment::start(Mode::Nats).await;
    let (http, nats) = (d.http(), d.nats().expect("NATS"));
    assert_eq!(lease(http, "foreign", 1, 0).await, Vec::<Value>::new());
    let jetstream = nats.jetstream().await;
    let publish = async || {
        let job = r#"{"type":"build","payload":7}"#;
        let sent = jetstream.publish("jobs.foreign.normal", job.into()).await;
        sent.expect("sent").await.expect("stored");
    };
    let (leased, ()) = tokio::join!(one(http, "foreign"), publish());
    assert_eq!(leased["payload"], 7);
    end_bare(http, &leased, "ack").await.expect(200);
    eventually(SOON, "it is empty", async || {
        (delete(http, "foreign", "").await.status == 204).then_some(())
    })
    .await;
    publish().await;
    assert_eq!(info(http, "foreign").await["queue"], "foreign");
    problem_code(&delete(http, "foreign", "").await, 409, "queue_not_empty");
    delete(http, "foreign", "?force=true").await.expect(204);
    problem_code(&http.get("/v1/queues/foreign").await, 404, "not_found");
    assert_eq!(consumers(nats).await, 0);
}

#[tokio::test]
async fn the_command_line_deletes_a_queue() {
    let d = Deployment::start(Mode::MemorySqlite).await;
    let run = async |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentbus"));
        command.args(["queues", "delete"]).args(args).env_clear().env("AGENTBUS_URL", d.bus());
        command.stdin(Stdio::null()).kill_on_drop(true);
        within(SOON, "the command ends", command.output()).await.expect("it runs")
    };
    enqueue(d.http(), "builds", &job(1)).await;
    let refused = run(&["builds"]).await;
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && error.contains("holds jobs"), "{error}");
    let done = run(&["builds", "--force"]).await;
    assert!(done.status.success() && done.stdout.is_empty(), "{done:?}");
    assert!(!run(&["builds"]).await.status.success(), "there is none any more");
}
