//! Work queues: one worker at a time has a job, the job comes again when its lease expires, and no job is
//! lost; the same on every bus.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::jobs::{end, end_bare, info, one, put};
use crate::support::wire::{self, NDJSON};
use crate::support::{Http, for_each_mode};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

/// Enqueues a job, and returns the response.
async fn push(http: &Http, queue: &str, job: Value) -> Value {
    let answer = http.post_json(&format!("/v1/queues/{queue}/jobs"), &job).await;
    answer.expect(201).json()
}

/// Leases with this request body, which must be accepted; an empty list if there is no job.
async fn lease_now(http: &Http, queue: &str, request: Value) -> Vec<Value> {
    let answer = http.post_json(&format!("/v1/queues/{queue}/lease"), &request).await;
    if answer.status == 204 {
        return Vec::new();
    }
    let answer = answer.expect(200).json();
    answer["jobs"].as_array().expect("jobs").clone()
}

fn token(job: &Value) -> &str {
    job["lease_token"].as_str().expect("a token")
}

/// Creates or changes a queue, which must succeed.
async fn configured(http: &Http, queue: &str, config: Value) {
    let answer = put(http, queue, config).await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
}

/// The state of the queue once it has this many dead letters.
async fn with_letters(http: &Http, queue: &str, count: u64) -> Value {
    crate::support::eventually(SOON, "dead letters", async || {
        let state = info(http, queue).await;
        (state["dead_letters"] == count).then_some(state)
    })
    .await
}

fn payloads(jobs: &[Value]) -> Vec<i64> {
    jobs.iter().map(|job| job["payload"].as_i64().expect("a number")).collect()
}

for_each_mode! {
    async fn a_job_is_leased_once_and_removed_when_it_is_acked(d: &Deployment) {
        let http = d.http();
        let made = push(http, "q", json!({"type": "resize", "payload": {"n": 1}})).await;
        let members: Vec<&String> = made.as_object().expect("an object").keys().collect();
        assert_eq!(members, ["job_id", "seq"]);
        let job = one(http, "q").await;
        assert_eq!((&job["job_id"], &job["type"], &job["payload"], &job["priority"], &job["attempt"]),
            (&made["job_id"], &json!("resize"), &json!({"n": 1}), &json!("normal"), &json!(1)));
        assert!(job["enqueued_at"].is_string() && job["lease_expires_at"].is_string(), "{job}");
        assert!(lease_now(http, "q", json!({})).await.is_empty(), "leased to one worker at a time");
        let now = info(http, "q").await;
        assert_eq!((&now["leased"], &now["waiting"]), (&json!(1), &json!(0)), "{now}");
        end_bare(http, &job, "ack").await.expect(200);
        let problem = wire::problem(&end(http, &job, "ack", json!({})).await, 410);
        assert_eq!(problem["code"], "lease_lost");
        for action in ["nack", "extend", "fail"] {
            wire::problem(&end_bare(http, &job, action).await, 410);
        }
        let now = info(http, "q").await;
        assert_eq!((&now["leased"], &now["oldest_age_s"], &now["dead_letters"]), (&json!(0), &Value::Null, &json!(0)), "{now}");
    }

    async fn a_payload_keeps_its_bytes(d: &Deployment) {
        let body = r#"{ "type":"x", "payload": {"b": 1.50e3, "a":"\u00e9", "n":12345678901234567890123} }"#;
        d.http().post("/v1/queues/q/jobs", "application/json", body).await.expect(201);
        let answer = d.http().post("/v1/queues/q/lease", "application/json", r#"{"wait_s":10}"#).await.expect(200);
        let text = answer.text();
        assert!(text.contains(r#""payload":{"b":1.50e3,"a":"\u00e9","n":12345678901234567890123}"#), "{text}");
    }

    async fn a_nacked_job_is_leased_again_after_its_delay(d: &Deployment) {
        let http = d.http();
        configured(http, "q", json!({"backoff_s": [0.2, 600], "max_deliver": 5})).await;
        push(http, "q", json!({"type": "x", "payload": 1})).await;
        let first = one(http, "q").await;
        end(http, &first, "nack", json!({"reason":"busy"})).await.expect(200);
        wire::problem(&end_bare(http, &first, "ack").await, 410);
        let second = one(http, "q").await;
        assert_eq!((&second["attempt"], &second["job_id"]), (&json!(2), &first["job_id"]));
        let begun = Instant::now();
        end(http, &second, "nack", json!({"delay_s":1.5})).await.expect(200);
        assert!(lease_now(http, "q", json!({})).await.is_empty());
        let third = one(http, "q").await;
        assert!(begun.elapsed() >= Duration::from_millis(1_450), "{:?}", begun.elapsed());
        assert_eq!(third["attempt"], 3);
        end_bare(http, &third, "ack").await.expect(200);
    }

    async fn an_expired_lease_is_lost_and_another_worker_gets_the_job(d: &Deployment) {
        let http = d.http();
        configured(http, "q", json!({"lease_s": 1})).await;
        push(http, "q", json!({"type": "x", "payload": 1})).await;
        let first = one(http, "q").await;
        let second = one(http, "q").await;
        let time = |text: &Value| chrono::DateTime::parse_from_rfc3339(text.as_str().expect("a time")).expect("a time");
        assert!(chrono::Utc::now() >= time(&first["lease_expires_at"]), "not before it was over");
        assert_eq!((&second["attempt"], &second["job_id"]), (&json!(2), &first["job_id"]));
        for action in ["ack", "nack", "fail", "extend"] {
            let problem = wire::problem(&end_bare(http, &first, action).await, 410);
            assert_eq!(problem["code"], "lease_lost", "{action}");
        }
        end_bare(http, &second, "ack").await.expect(200);
    }

    async fn an_extended_lease_lasts_and_its_first_token_stays_valid(d: &Deployment) {
        let http = d.http();
        configured(http, "q", json!({"lease_s": 2})).await;
        push(http, "q", json!({"type": "x", "payload": 1})).await;
        let job = one(http, "q").await;
        let begun = Instant::now();
        let mut longer = Value::Null;
        while begun.elapsed() < Duration::from_secs(4) {
            longer = end_bare(http, &job, "extend").await.expect(200).json();
            assert!(longer["lease_token"].is_string() && longer["lease_expires_at"].is_string(), "{longer}");
            // This long poll, which must return no job, lets the time pass.
            assert!(lease_now(http, "q", json!({"wait_s": 0.7})).await.is_empty());
        }
        end_bare(http, &job, "ack").await.expect(200);
        wire::problem(&end_bare(http, &longer, "ack").await, 410);
        assert!(lease_now(http, "q", json!({})).await.is_empty());
    }

    async fn after_its_last_attempt_a_job_is_a_dead_letter(d: &Deployment) {
        let http = d.http();
        configured(http, "q", json!({"max_deliver": 2, "backoff_s": [0]})).await;
        push(http, "q", json!({"type": "x", "payload": 1})).await;
        for reason in ["first", "second"] {
            let job = one(http, "q").await;
            end(http, &job, "nack", json!({"reason": reason})).await.expect(200);
        }
        let now = with_letters(http, "q", 1).await;
        assert_eq!((&now["waiting"], &now["leased"], &now["delayed"]), (&json!(0), &json!(0), &json!(0)));
        assert!(lease_now(http, "q", json!({})).await.is_empty());
    }

    async fn expired_leases_use_up_attempts_without_any_request(d: &Deployment) {
        let http = d.http();
        configured(http, "q", json!({"max_deliver": 2, "lease_s": 1})).await;
        push(http, "q", json!({"type": "x", "payload": 1})).await;
        one(http, "q").await;
        assert_eq!(one(http, "q").await["attempt"], 2);
        let begun = Instant::now();
        with_letters(http, "q", 1).await;
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        // The dead letter is stored before the job is removed.
        crate::support::eventually(SOON, "the job is no longer leased", async || {
            (info(http, "q").await["leased"] == 0).then_some(())
        })
        .await;
    }

    async fn a_job_that_fails_is_a_dead_letter_at_once(d: &Deployment) {
        let http = d.http();
        push(http, "q", json!({"type": "x", "payload": 1})).await;
        let job = one(http, "q").await;
        end(http, &job, "fail", json!({"reason":"no such file"})).await.expect(200);
        assert_eq!(info(http, "q").await["dead_letters"], 1);
        assert!(lease_now(http, "q", json!({})).await.is_empty());
    }

    async fn a_delayed_job_waits_until_it_is_due(d: &Deployment) {
        let http = d.http();
        let begun = Instant::now();
        push(http, "q", json!({"type": "x", "payload": 1, "delay_s": 2.5})).await;
        push(http, "q", json!({"type": "x", "payload": 2})).await;
        assert_eq!(payloads(&lease_now(http, "q", json!({"max": 10, "wait_s": 1})).await), [2]);
        assert_eq!(info(http, "q").await["delayed"], 1);
        let job = one(http, "q").await;
        assert!(begun.elapsed() >= Duration::from_millis(2_450), "{:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        assert_eq!((&job["payload"], &job["attempt"]), (&json!(1), &json!(1)));
        end_bare(http, &job, "ack").await.expect(200);
        assert_eq!(info(http, "q").await["delayed"], 0);
    }

    async fn a_batch_answers_each_job_and_settling_each_lease(d: &Deployment) {
        let http = d.http();
        let lines = [r#"{"type":"x","payload":0}"#, "", r#"{"type":"x"}"#, r#"{"type":"x","payload":1,"priority":"low"}"#, "nonsense"];
        let answer = http.post("/v1/queues/q/jobs/batch", NDJSON, lines.join("\n")).await.expect(200).json();
        let statuses: Vec<u64> = answer["results"].as_array().expect("results").iter().map(|r| r["status"].as_u64().expect("status")).collect();
        assert_eq!((statuses, &answer["accepted"], &answer["rejected"]), (vec![201, 422, 201, 400], &json!(2), &json!(2)));
        let jobs = lease_now(http, "q", json!({"max": 10})).await;
        assert_eq!(payloads(&jobs), [0, 1]);
        let items = [
            json!({"lease_token": token(&jobs[0]), "action": "ack"}), json!({"lease_token": token(&jobs[0]), "action": "ack"}),
            json!({"lease_token": "nonsense", "action": "ack"}), json!({"lease_token": token(&jobs[1]), "action": "steal"}),
            json!({"lease_token": token(&jobs[1]), "action": "nack", "delay_s": 600, "reason": "later"}),
        ];
        let answer = http.post_ndjson("/v1/leases/settle", &items).await.expect(200).json();
        let results = answer["results"].as_array().expect("results");
        let statuses: Vec<u64> = results.iter().map(|r| r["status"].as_u64().expect("status")).collect();
        assert_eq!(statuses, [200, 410, 422, 422, 200], "{answer}");
        assert_eq!(results[2]["error"]["code"], "invalid_token");
        let now = info(http, "q").await;
        assert_eq!((&now["waiting"], &now["leased"], &now["delayed"]), (&json!(0), &json!(0), &json!(1)), "{now}");
    }

    async fn bad_input_is_named(d: &Deployment) {
        let http = d.http();
        let job = r#"{"type":"a b","priority":"urgent","delay_s":2592001,"id":"7","extra":1}"#;
        let problem = wire::problem(&http.post("/v1/queues/q/jobs", "application/json", job).await, 422);
        assert_eq!(wire::named(&problem, "pointer"), wire::names(["/type", "/payload", "/priority", "/delay_s", "/id", "/extra"]));
        let rules = r#"{"lease_s":0,"max_deliver":0,"backoff_s":7,"x":1}"#;
        let answer = http.request(reqwest::Method::PUT, "/v1/queues/q", &[("content-type", "application/json")], rules).await.expect("an answer");
        let problem = wire::problem(&answer, 422);
        assert_eq!(wire::named(&problem, "pointer"), wire::names(["/lease_s", "/max_deliver", "/backoff_s", "/x"]));
        let problem = wire::problem(&http.post("/v1/queues/q/lease", "application/json", r#"{"max":1001,"wait_s":61,"worker":"a b"}"#).await, 422);
        assert_eq!(wire::named(&problem, "pointer"), wire::names(["/max", "/wait_s", "/worker"]));
        wire::problem(&http.post("/v1/queues/q/jobs", "application/json", "{").await, 400);
        wire::problem(&http.post("/v1/queues/q/jobs", "text/plain", "{}").await, 415);
        wire::problem(&http.post_json("/v1/queues/a.b/jobs", &json!({"type": "x", "payload": 1})).await, 422);
        let large = json!({"type": "x", "payload": "x".repeat(1_048_576)});
        wire::problem(&http.post_json("/v1/queues/q/jobs", &large).await, 413);
        let problem = wire::problem(&http.post_json("/v1/leases/nonsense/ack", &json!({})).await, 422);
        assert_eq!(problem["code"], "invalid_token");
        wire::problem(&http.post_json("/v1/leases/nonsense/steal", &json!({})).await, 404);
        wire::problem(&http.get("/v1/queues/nobody").await, 404);
    }

    async fn queues_are_listed_with_their_config(d: &Deployment) {
        let http = d.http();
        let rules = json!({"lease_s": 7, "max_deliver": 4, "backoff_s": [0.5, 2]});
        configured(http, "b", rules.clone()).await;
        configured(http, "b", rules).await;
        push(http, "a", json!({"type": "x", "payload": 1})).await;
        let all = http.get("/v1/queues").await.expect(200).json();
        let names: BTreeSet<&str> = all["queues"].as_array().expect("queues").iter().map(|q| q["queue"].as_str().expect("name")).collect();
        assert_eq!(names, ["a", "b"].into());
        assert_eq!(all["queues"][0]["backoff_s"], json!([1, 5, 30]));
        assert_eq!((&all["queues"][1]["lease_s"], &all["queues"][1]["backoff_s"]), (&json!(7), &json!([0.5, 2])));
        let first = http.get("/v1/queues?limit=1").await.expect(200).json();
        assert_eq!((&first["next"], first["queues"].as_array().map(Vec::len)), (&json!("a"), Some(1)));
        let rest = http.get("/v1/queues?after=a").await.expect(200).json();
        assert_eq!((&rest["queues"][0]["queue"], &rest["next"]), (&json!("b"), &Value::Null));
    }

    async fn a_waiting_lease_gets_the_next_job(d: &Deployment) {
        let http = d.http();
        configured(http, "q", json!({})).await;
        let waiting = async {
            let begun = Instant::now();
            let job = one(http, "q").await;
            (job, begun.elapsed())
        };
        let pushing = async {
            assert!(lease_now(http, "other", json!({"wait_s": 0.5})).await.is_empty());
            push(http, "q", json!({"type": "x", "payload": 9})).await;
        };
        let ((job, waited), ()) = tokio::join!(waiting, pushing);
        assert_eq!(job["payload"], 9);
        assert!(waited < Duration::from_secs(5), "{waited:?}");
    }

    async fn jobs_survive_the_server(d: &Deployment) {
        let http = d.http();
        push(http, "q", json!({"type": "x", "payload": 1})).await;
        push(http, "q", json!({"type": "x", "payload": 2})).await;
        let leased = one(http, "q").await;
        d.agentbus().kill9();
        d.agentbus().restart().await;
        end_bare(http, &leased, "ack").await.expect(200);
        wire::problem(&end_bare(http, &leased, "ack").await, 410);
        assert_eq!(payloads(&lease_now(http, "q", json!({"max": 10, "wait_s": 10})).await), [2]);
    }
}
