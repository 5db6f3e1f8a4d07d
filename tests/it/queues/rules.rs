//! Work queues (contract, section 8): how they are created, in which order they lease jobs, what they count.
//! A wrong request is refused with all its errors.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::support::jobs::{
    counts, end, end_bare, enqueue, id, info, job, lease, one, put, try_lease, work,
};
use crate::support::wire::{self, JSON, SOON};
use crate::support::{Answer, eventually, for_each_mode};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

const ID: &str = "0f3a1b5c-7d2e-4f60-8a9b-c0d1e2f3a4b5";

/// Fails the test unless the errors name exactly these members.
#[track_caller]
fn assert_wrong(answer: &Answer, expected: &[&str]) {
    let problem = wire::problem(answer, 422);
    // An error inside a list may name the element.
    let named: BTreeSet<String> = wire::named(&problem, "pointer")
        .into_iter()
        .map(|it| it.split('/').take(2).collect::<Vec<_>>().join("/"))
        .collect();
    assert_eq!(named, expected.iter().map(|it| (*it).to_owned()).collect(), "{problem}");
}

for_each_mode! {
    async fn a_queue_is_created_and_changed(d: &Deployment) {
        let http = d.http();
        wire::problem_code(&http.get("/v1/queues/builds").await, 404, "not_found");
        assert_eq!(http.get("/v1/queues").await.expect(200).json()["queues"], json!([]));
        let set = json!({"lease_s": 60, "max_deliver": 5, "backoff_s": [2, 4]});
        put(http, "builds", set.clone()).await.expect(201);
        put(http, "builds", set.clone()).await.expect(200);
        let now = info(http, "builds").await;
        for member in ["lease_s", "max_deliver", "backoff_s"] {
            assert_eq!(now[member], set[member], "{now}");
        }
        assert_eq!((&now["queue"], &now["waiting"], &now["leased"], &now["delayed"], &now["dead_letters"]),
            (&json!("builds"), &json!(0), &json!(0), &json!(0), &json!(0)), "{now}");
        let changed = json!({"lease_s": 10, "max_deliver": 2, "backoff_s": [7]});
        put(http, "builds", changed).await.expect(200);
        assert_eq!(info(http, "builds").await["backoff_s"], json!([7]));
        // One queue with default settings, one in use before it was created.
        put(http, "plain", json!({})).await.expect(201);
        enqueue(http, "used", &job(1)).await;
        for queue in ["plain", "used"] {
            let now = info(http, queue).await;
            let defaults = (&now["lease_s"], &now["max_deliver"], &now["backoff_s"]);
            assert_eq!(defaults, (&json!(30), &json!(3), &json!([1, 5, 30])), "{queue}: {now}");
        }
        put(http, "used", json!({})).await.expect(200);
        let list = http.get("/v1/queues").await.expect(200).json();
        let names: BTreeSet<&str> = list["queues"].as_array().expect("queues").iter().filter_map(|it| it["queue"].as_str()).collect();
        assert_eq!(names, BTreeSet::from(["builds", "plain", "used"]));
        d.agentbus().kill9();
        d.agentbus().restart().await;
        assert_eq!(info(d.http(), "builds").await["backoff_s"], json!([7]));
        counts(d.http(), "used", 1, 0, 0).await;
    }

    async fn high_precedes_normal_precedes_low_and_first_in_is_first_out(d: &Deployment) {
        let http = d.http();
        let mut expected = BTreeMap::new();
        for n in 0..5 {
            for (rank, priority) in [(2, Some("low")), (1, Some("normal")), (0, Some("high")), (1, None)] {
                let mut body = job(n);
                if let Some(priority) = priority {
                    body["priority"] = json!(priority);
                }
                let id = enqueue(http, "builds", &body).await;
                expected.entry(rank).or_insert_with(Vec::new).push(id);
            }
        }
        let expected: Vec<String> = expected.into_values().flatten().collect();
        let mut order = Vec::new();
        for _ in 0..expected.len() {
            let job = one(http, "builds").await;
            order.push(id(&job));
            end_bare(http, &job, "ack").await.expect(200);
        }
        assert_eq!(order, expected);
        // The order is the same within one lease of several jobs.
        for (n, priority) in ["low", "normal", "high", "low", "high", "normal"].iter().enumerate() {
            enqueue(http, "q", &json!({"type": "x", "payload": n, "priority": priority})).await;
        }
        let payloads = |jobs: Vec<Value>| jobs.iter().map(|job| job["payload"].as_u64()).collect::<Option<Vec<_>>>();
        assert_eq!(payloads(lease(http, "q", 3, 0).await), Some(vec![2, 4, 1]));
        assert_eq!(payloads(lease(http, "q", 1_000, 0).await), Some(vec![5, 0, 3]));
    }

    async fn a_job_of_one_id_is_one_job(d: &Deployment) {
        let http = d.http();
        let id = Uuid::new_v4().to_string();
        let body = json!({"id": id, "type": "build", "payload": {"n": 1}});
        enqueue(http, "builds", &body).await;
        for _ in 0..3 {
            let again = http.post_json("/v1/queues/builds/jobs", &body).await;
            assert!(matches!(again.status, 200 | 201), "{}: {}", again.status, again.text());
            assert_eq!(again.json()["job_id"], json!(id));
        }
        let at_once = join_all((0..20).map(|_| http.post_json("/v1/queues/builds/jobs", &body))).await;
        assert!(at_once.iter().all(|it| matches!(it.status, 200 | 201)), "{at_once:?}");
        assert_eq!(work(http, "builds", 10, 2).await, BTreeMap::from([(id, 1)]));

        // A repeat gets the first response, also when the job is done. Another job under the id is
        // refused; in another queue the id names another job.
        let job = json!({"type": "x", "payload": {"a": 1}, "id": ID});
        let first = http.post_json("/v1/queues/q/jobs", &job).await.expect(201).json();
        assert_eq!(first["job_id"], ID);
        let again = http.post_json("/v1/queues/q/jobs", &job).await.expect(200).json();
        assert_eq!(again, json!({"job_id": ID, "seq": first["seq"], "duplicate": true}));
        let other = json!({"type": "x", "payload": {"a": 2}, "id": ID});
        wire::problem_code(&http.post_json("/v1/queues/q/jobs", &other).await, 409, "idempotency_conflict");
        enqueue(http, "other", &job).await;
        end_bare(http, &one(http, "q").await, "ack").await.expect(200);
        let after = http.post_json("/v1/queues/q/jobs", &job).await.expect(200).json();
        assert_eq!(after["duplicate"], true);
        assert!(lease(http, "q", 1, 0).await.is_empty());
    }

    async fn a_delayed_job_is_leased_when_it_is_due(d: &Deployment) {
        let http = d.http();
        let mut delayed = job(1);
        delayed["delay_s"] = json!(3);
        let start = Instant::now();
        let late = enqueue(http, "builds", &delayed).await;
        let soon = enqueue(http, "builds", &job(2)).await;
        counts(http, "builds", 1, 0, 1).await;
        let job = one(http, "builds").await;
        assert_eq!(id(&job), soon);
        end_bare(http, &job, "ack").await.expect(200);
        assert!(lease(http, "builds", 1, 0).await.is_empty());
        let job = one(http, "builds").await;
        assert!(start.elapsed() >= Duration::from_millis(2_900), "{:?}", start.elapsed());
        assert_eq!((id(&job), &job["attempt"]), (late, &json!(1)));
        end_bare(http, &job, "ack").await.expect(200);
        counts(http, "builds", 0, 0, 0).await;
    }

    async fn a_wrong_request_gets_all_its_errors(d: &Deployment) {
        let http = d.http();
        assert_wrong(&put(http, "q", json!({"lease_s": 0, "max_deliver": 0, "backoff_s": "soon", "colour": 1})).await,
            &["/lease_s", "/max_deliver", "/backoff_s", "/colour"]);
        assert_wrong(&put(http, "q", json!({"lease_s": "30", "max_deliver": 1.5, "backoff_s": [1, -1]})).await,
            &["/lease_s", "/max_deliver", "/backoff_s"]);
        assert_wrong(&put(http, "q", json!({"lease_s": null, "max_deliver": -1})).await, &["/lease_s", "/max_deliver"]);
        wire::problem_code(&http.get("/v1/queues/q").await, 404, "not_found");

        let jobs = "/v1/queues/q/jobs";
        let wrong = json!({"type": "a b", "payload": 1, "priority": "urgent", "delay_s": -1, "id": "zz", "extra": 1});
        assert_wrong(&http.post_json(jobs, &wrong).await, &["/type", "/priority", "/delay_s", "/id", "/extra"]);
        let wrong = json!({"type": 5, "payload": {}, "priority": 1, "delay_s": "1", "id": 7});
        assert_wrong(&http.post_json(jobs, &wrong).await, &["/type", "/priority", "/delay_s", "/id"]);
        assert_wrong(&http.post_json(jobs, &json!({"type": "", "payload": 1})).await, &["/type"]);
        assert_wrong(&http.post_json(jobs, &json!({"payload": 1})).await, &["/type"]);
        let large = json!({"type": "x", "payload": "x".repeat(1_048_576)});
        wire::problem_code(&http.post_json(jobs, &large).await, 413, "payload_too_large");
        let batch = "/v1/queues/q/jobs/batch";
        wire::problem_code(&http.post_ndjson(batch, &vec![job(1); 1_001]).await, 413, "payload_too_large");

        let path = "/v1/queues/q/lease";
        let wrong = json!({"max": 0, "wait_s": -1, "worker": "a b", "extra": 1});
        assert_wrong(&http.post_json(path, &wrong).await, &["/max", "/wait_s", "/worker", "/extra"]);
        let wrong = json!({"max": "1", "wait_s": "1", "worker": 5});
        assert_wrong(&http.post_json(path, &wrong).await, &["/max", "/wait_s", "/worker"]);
        let wrong = json!({"max": 1_000_000_000, "wait_s": 1_000_000_000, "worker": "x".repeat(65)});
        assert_wrong(&http.post_json(path, &wrong).await, &["/max", "/wait_s", "/worker"]);

        enqueue(http, "r", &job(1)).await;
        let leased = one(http, "r").await;
        assert_wrong(&end(http, &leased, "nack", json!({"delay_s": -1, "x": 1})).await, &["/delay_s", "/x"]);
        assert_wrong(&end(http, &leased, "nack", json!({"delay_s": "1"})).await, &["/delay_s"]);
        assert_wrong(&end(http, &leased, "fail", json!({"reason": 1, "x": 1})).await, &["/reason", "/x"]);
        end_bare(http, &leased, "ack").await.expect(200);

        for (method, path) in [(Method::PUT, "/v1/queues/q"), (Method::POST, jobs), (Method::POST, path)] {
            let send = async |kind: &str, body: &str| {
                let headers = [("content-type", kind)];
                http.request(method.clone(), path, &headers, body.to_owned()).await.expect("an answer")
            };
            for body in ["{", "{\"a\":01}", "{}{}"] {
                wire::problem_code(&send(JSON, body).await, 400, "malformed_json");
            }
            for body in ["[]", "1", "null"] {
                wire::refused(&send(JSON, body).await, &[400, 422]);
            }
            wire::problem_code(&send("text/plain", "{}").await, 415, "unsupported_media_type");
        }
        for query in ["/v1/queues?colour=1", "/v1/queues/r?colour=1"] {
            let problem = wire::problem_code(&http.get(query).await, 422, "invalid_parameter");
            assert_eq!(wire::named(&problem, "parameter"), wire::names(["colour"]));
        }
        for queue in ["a.b", "%20", "a%3E", "%ff", &"x".repeat(65)] {
            wire::refused(&put(http, queue, json!({})).await, &[404, 422]);
            wire::refused(&http.get(&format!("/v1/queues/{queue}")).await, &[404, 422]);
            wire::refused(&http.post_json(&format!("/v1/queues/{queue}/jobs"), &job(1)).await, &[404, 422]);
            wire::refused(&try_lease(http, queue, 1, 0).await, &[404, 422]);
        }
        for token in ["x", "AAAA", &"x".repeat(2_000), "%00", "a.b.c"] {
            let answer = http.request(Method::POST, &format!("/v1/leases/{token}/ack"), &[], "").await;
            wire::refused(&answer.expect("an answer"), &[404, 410, 422]);
        }
        for (method, path, allowed) in [
            (Method::DELETE, "/v1/queues", "GET"), (Method::POST, "/v1/queues/r", "PUT"), (Method::GET, "/v1/queues/r/jobs", "POST"),
            (Method::GET, "/v1/queues/r/jobs/batch", "POST"), (Method::GET, "/v1/queues/r/lease", "POST"), (Method::GET, "/v1/leases/x/ack", "POST"),
        ] {
            let answer = http.request(method, path, &[], "").await.expect("an answer");
            wire::problem_code(&answer, 405, "method_not_allowed");
            assert!(answer.header("allow").is_some_and(|it| it.contains(allowed)), "{path}");
        }
        counts(http, "r", 0, 0, 0).await;
        wire::still_serves(d).await;
    }

    async fn a_batch_answers_for_each_job_in_order(d: &Deployment) {
        let http = d.http();
        let own = Uuid::new_v4();
        let lines = format!("{}\n\n{}\n{{\"type\":\n{}\n", job(1), json!({"type": "a b", "priority": "urgent", "payload": 1}),
            json!({"id": own, "type": "x", "payload": 1}));
        let answer = http.post("/v1/queues/builds/jobs/batch", wire::NDJSON, lines).await.expect(200).json();
        assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(2), &json!(2)), "{answer}");
        let results = answer["results"].as_array().expect("results");
        let statuses: Vec<u64> = results.iter().filter_map(|it| it["status"].as_u64()).collect();
        assert_eq!(statuses, [201, 422, 400, 201], "{answer}");
        assert_eq!(wire::named(&results[1]["error"], "pointer"), wire::names(["/type", "/priority"]));
        assert_eq!(results[2]["error"]["code"], "malformed_json");
        let ids = [0, 3].map(|n| results[n]["job_id"].as_str().or(results[n]["id"].as_str()).expect("an id").to_owned());
        assert_eq!(ids[1], own.to_string());
        let seqs = [0, 3].map(|n| results[n]["seq"].as_u64().expect("a sequence"));
        assert!(seqs[0] < seqs[1], "{answer}");
        assert_eq!(work(http, "builds", 10, 3).await.into_keys().collect::<BTreeSet<_>>(), BTreeSet::from(ids));
        assert_eq!(http.post("/v1/queues/builds/jobs/batch", wire::NDJSON, "").await.expect(200).json()["accepted"], 0);
    }

    async fn stats_count_what_goes_in_and_out(d: &Deployment) {
        let http = d.http();
        for n in 0..3 {
            enqueue(http, if n == 0 { "one" } else { "two" }, &job(n)).await;
        }
        let leased = one(http, "one").await;
        end_bare(http, &leased, "ack").await.expect(200);
        let expected = json!({"total_enqueued": 3, "total_dequeued": 1, "current_size": 2});
        eventually(SOON, "stats count", async || {
            (http.get("/v1/stats").await.expect(200).json()["queue"] == expected).then_some(())
        }).await;
    }

    async fn the_age_of_the_oldest_job_is_reported(d: &Deployment) {
        let http = d.http();
        put(http, "builds", json!({})).await.expect(201);
        let age = async || info(http, "builds").await["oldest_age_s"].as_f64().unwrap_or(0.0);
        assert!(age().await < 0.5);
        enqueue(http, "builds", &job(1)).await;
        eventually(SOON, "it ages", async || (age().await >= 1.0).then_some(())).await;
        let leased = one(http, "builds").await;
        end_bare(http, &leased, "ack").await.expect(200);
        eventually(SOON, "nothing is old", async || (age().await < 0.5).then_some(())).await;
    }
}
