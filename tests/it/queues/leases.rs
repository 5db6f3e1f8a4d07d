//! Leases of jobs (contract, section 8): one worker at a time has a job; it is delivered again when its lease
//! expires or its worker nacks it, and is a dead letter after its last delivery. Acknowledged jobs survive a
//! kill. At the end every accepted job is accounted for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::support::jobs::{
    configure, counts, dead_letter, dead_letters, end, end_bare, enqueue, id, job, lease, members,
    one, time, try_lease, work,
};
use crate::support::wire::{self, SOON};
use crate::support::{Deployment, Mode, eventually, for_each_mode, within};
use chrono::Utc;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

/// Time limit for an immediate response on a busy machine: far less than the requested waits.
const WOKEN: Duration = Duration::from_secs(10);

for_each_mode! {
    async fn a_lease_returns_the_job_as_posted(d: &Deployment) {
        let http = d.http();
        let payloads = [json!({"n": 1, "deep": [{"a": null}]}), json!("text é 🚀"), json!([1, 2.5]), json!(7), json!(true), json!({})];
        let mut posted = Vec::new();
        for (n, payload) in payloads.iter().enumerate() {
            let own = Uuid::new_v4().to_string();
            let mut body = json!({"type": format!("t{n}"), "payload": payload, "priority": "normal"});
            if n % 2 == 0 {
                body["id"] = json!(own);
            }
            let id = enqueue(http, "builds", &body).await;
            assert!(n % 2 == 1 || id == own, "{id} for {own}");
            posted.push(id);
        }
        let before = Utc::now();
        let mut leased = Vec::new();
        while leased.len() < payloads.len() {
            leased.extend(lease(http, "builds", 4, 5).await);
        }
        for (n, job) in leased.iter().enumerate() {
            assert!(members(job).is_superset(&wire::names(["job_id", "type", "payload", "attempt", "enqueued_at",
                "lease_token", "lease_expires_at"])), "{job}");
            assert_eq!((&job["job_id"], &job["type"], &job["payload"], &job["attempt"]),
                (&json!(posted[n]), &json!(format!("t{n}")), &payloads[n], &json!(1)));
            let lease_s = (time(&job["lease_expires_at"]) - before).num_seconds();
            assert!((25..=45).contains(&lease_s), "{job}");
            assert!((Utc::now() - time(&job["enqueued_at"])).num_seconds() < 60, "{job}");
        }
        assert!(lease(http, "builds", 10, 0).await.is_empty(), "all are leased");
        counts(http, "builds", 0, 6, 0).await;
        for job in &leased {
            end_bare(http, job, "ack").await.expect(200);
            for verb in ["ack", "nack", "extend", "fail"] {
                wire::problem(&end(http, job, verb, json!({})).await, 410);
            }
        }
        counts(http, "builds", 0, 0, 0).await;
        assert!(dead_letters(http, "builds").await.is_empty());
    }

    async fn a_nacked_job_is_redelivered_until_it_is_a_dead_letter(d: &Deployment) {
        let http = d.http();
        configure(http, "builds", 30, 3).await;
        let posted = enqueue(http, "builds", &json!({"type": "build", "payload": {"n": 7}, "priority": "high"})).await;
        let first = one(http, "builds").await;
        // The job comes after the requested delay, and no sooner.
        let start = Instant::now();
        end(http, &first, "nack", json!({"delay_s": 3})).await.expect(200);
        assert!(lease(http, "builds", 1, 0).await.is_empty(), "it is delayed");
        counts(http, "builds", 0, 0, 1).await;
        wire::problem(&end_bare(http, &first, "ack").await, 410);
        let second = one(http, "builds").await;
        assert!(start.elapsed() >= Duration::from_millis(2_900), "{:?}", start.elapsed());
        assert_eq!((id(&second), &second["attempt"], &second["payload"]), (posted.clone(), &json!(2), &json!({"n": 7})));
        assert_ne!(first["lease_token"], second["lease_token"]);
        // Without a delay the backoff of a second applies.
        let start = Instant::now();
        end_bare(http, &second, "nack").await.expect(200);
        let third = one(http, "builds").await;
        assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
        assert_eq!((id(&third), &third["attempt"]), (posted.clone(), &json!(3)));
        end(http, &third, "nack", json!({"delay_s": 0})).await.expect(200);
        let dead = dead_letter(http, "builds").await;
        assert_eq!((&dead["kind"], &dead["source"]), (&json!("job"), &json!("builds")));
        let attempts = dead["attempts"].as_array().expect("attempts");
        assert_eq!(attempts.len(), 3, "{dead}");
        for (n, attempt) in attempts.iter().enumerate() {
            assert_eq!(attempt["attempt"], json!(n + 1), "{dead}");
            time(&attempt["at"]);
            assert!(attempt["error"].as_str().is_some_and(|it| !it.is_empty()), "{dead}");
        }
        let dead_job = &dead["job"];
        assert_eq!((&dead_job["job_id"], &dead_job["type"], &dead_job["payload"], &dead_job["priority"]),
            (&json!(posted), &json!("build"), &json!({"n": 7}), &json!("high")), "{dead}");
        assert_eq!(time(&dead_job["enqueued_at"]), time(&first["enqueued_at"]));
        assert!(lease(http, "builds", 1, 2).await.is_empty(), "the dead are not leased");
        assert_eq!(counts(http, "builds", 0, 0, 0).await["dead_letters"], 1);
    }

    async fn a_worker_can_fail_a_job_at_once(d: &Deployment) {
        let http = d.http();
        let posted = enqueue(http, "builds", &job(1)).await;
        let leased = one(http, "builds").await;
        end(http, &leased, "fail", json!({"reason": "the repository is gone"})).await.expect(200);
        wire::problem(&end_bare(http, &leased, "ack").await, 410);
        let dead = dead_letter(http, "builds").await;
        assert!(dead["reason"].as_str().is_some_and(|it| it.contains("the repository is gone")), "{dead}");
        assert_eq!((dead["job"]["job_id"].as_str(), dead["attempts"].as_array().map(Vec::len)), (Some(posted.as_str()), Some(1)));
        let path = format!("/v1/dead-letters/{}", dead["id"].as_str().expect("an id"));
        assert_eq!(http.get(&path).await.expect(200).json(), dead);
        // The job is in its queue again, as new.
        let answer = http.request(Method::POST, &format!("{path}/redrive"), &[], "").await.expect("an answer");
        assert_eq!(answer.expect(200).json(), json!({"redriven": 1}));
        wire::problem_code(&http.get(&path).await, 404, "not_found");
        let again = one(http, "builds").await;
        assert_eq!((id(&again), &again["payload"], &again["attempt"]), (posted, &json!({"n": 1}), &json!(1)));
        end_bare(http, &again, "ack").await.expect(200);
        counts(http, "builds", 0, 0, 0).await;
        assert!(dead_letters(http, "builds").await.is_empty());
    }

    async fn the_dead_letters_of_one_queue_are_redriven_only_there(d: &Deployment) {
        let http = d.http();
        let mut posted = BTreeMap::new();
        for (queue, count) in [("one", 12), ("two", 3)] {
            for n in 0..count {
                let id = enqueue(http, queue, &job(n)).await;
                posted.entry(queue).or_insert_with(BTreeSet::new).insert(id);
            }
            let mut given_up = 0;
            while given_up < count {
                for job in lease(http, queue, 5, 5).await {
                    end(http, &job, "fail", json!({"reason": "no"})).await.expect(200);
                    given_up += 1;
                }
            }
        }
        eventually(SOON, "the dead letters", async || {
            (dead_letters(http, "one").await.len() == 12 && dead_letters(http, "two").await.len() == 3).then_some(())
        }).await;
        let answer = http.request(Method::POST, "/v1/dead-letters/redrive?source=one", &[], "").await.expect("an answer");
        assert_eq!(answer.expect(200).json(), json!({"redriven": 12}));
        let again: BTreeSet<String> = work(http, "one", 5, 12).await.into_keys().collect();
        assert_eq!(again, posted["one"]);
        assert!(lease(http, "two", 1, 0).await.is_empty());
        assert_eq!((dead_letters(http, "one").await.len(), dead_letters(http, "two").await.len()), (0, 3));
    }

    async fn an_expired_lease_is_lost_and_the_job_goes_to_another(d: &Deployment) {
        let http = d.http();
        configure(http, "builds", 2, 2).await;
        let posted = enqueue(http, "builds", &job(1)).await;
        let first = one(http, "builds").await;
        let second = one(http, "builds").await;
        assert_eq!((id(&second), &second["attempt"]), (posted, &json!(2)));
        let slack = chrono::TimeDelta::milliseconds(100);
        assert!(Utc::now() >= time(&first["lease_expires_at"]) - slack, "leased twice at a time: {first}");
        for verb in ["ack", "nack", "extend", "fail"] {
            wire::problem(&end(http, &first, verb, json!({})).await, 410);
        }
        // The last lease expires too: the job is a dead letter with that reason.
        let dead = dead_letter(http, "builds").await;
        assert_eq!(dead["attempts"].as_array().map(Vec::len), Some(2), "{dead}");
        wire::problem(&end_bare(http, &second, "ack").await, 410);
        assert!(lease(http, "builds", 1, 0).await.is_empty());
    }

    async fn a_lease_that_is_extended_is_kept(d: &Deployment) {
        let http = d.http();
        configure(http, "builds", 5, 3).await;
        enqueue(http, "builds", &job(1)).await;
        let leased = one(http, "builds").await;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(8) {
            end_bare(http, &leased, "extend").await.expect(200);
            assert!(lease(http, "builds", 1, 1).await.is_empty(), "leased twice at a time");
        }
        end_bare(http, &leased, "ack").await.expect(200);
        counts(http, "builds", 0, 0, 0).await;
    }

    async fn a_waiting_lease_is_woken_and_otherwise_ends_empty_after_its_wait(d: &Deployment) {
        let http = d.http();
        let start = Instant::now();
        let answer = try_lease(http, "builds", 1, 1).await.expect(204);
        assert!(answer.bytes.is_empty() && (1..15).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        for n in 0..5 {
            let body = job(n);
            let both = async { tokio::join!(lease(http, "builds", 1, 20), enqueue(http, "builds", &body)) };
            let (leased, posted) = within(WOKEN, "a job wakes the waiting lease", both).await;
            assert_eq!(leased.iter().map(id).collect::<Vec<_>>(), [posted]);
            end_bare(http, &leased[0], "ack").await.expect(200);
        }
    }

    async fn many_workers_do_each_job_once(d: &Deployment) {
        let http = d.http();
        let mut posted = BTreeSet::new();
        let post = async {
            for chunk in 0..5 {
                let jobs: Vec<Value> = (0..60).map(|n| job(chunk * 60 + n)).collect();
                let answer = http.post_ndjson("/v1/queues/builds/jobs/batch", &jobs).await.expect(200).json();
                assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(60), &json!(0)), "{answer}");
                for result in answer["results"].as_array().expect("results") {
                    assert_eq!(result["status"], 201, "{result}");
                    posted.insert(result["job_id"].as_str().or(result["id"].as_str()).expect("an id").to_owned());
                }
            }
        };
        let workers = (0..8).map(|worker| work(http, "builds", 1 + worker * 3, usize::MAX));
        let (mut done, ()) = tokio::join!(join_all(workers), post);
        done.push(work(http, "builds", 10, usize::MAX).await);
        let mut times = BTreeMap::new();
        for (id, count) in done.into_iter().flatten() {
            *times.entry(id).or_insert(0) += count;
        }
        assert_eq!(posted.len(), 300);
        assert_eq!(times.keys().cloned().collect::<BTreeSet<_>>(), posted);
        assert!(times.values().all(|count| *count == 1), "{times:?}");
        counts(http, "builds", 0, 0, 0).await;
    }

    async fn jobs_and_leases_survive_a_kill(d: &Deployment) {
        let http = d.http();
        let mut posted = BTreeSet::new();
        for n in 0..20 {
            let mut body = job(n);
            body["delay_s"] = json!(if n < 5 { 2 } else { 0 });
            posted.insert(enqueue(http, "builds", &body).await);
        }
        let mut leased = Vec::new();
        while leased.len() < 6 {
            leased.extend(lease(http, "builds", 6 - leased.len(), 5).await);
        }
        d.agentbus().kill9();
        d.agentbus().restart().await;
        let http = d.http();
        let mut done = BTreeSet::new();
        for job in &leased {
            end_bare(http, job, "ack").await.expect(200);
            done.insert(id(job));
        }
        let rest = eventually(SOON, "every other job", async || {
            for (id, count) in work(http, "builds", 5, 20).await {
                assert_eq!(count, 1);
                assert!(done.insert(id), "leased again: {done:?}");
            }
            (done.len() == 20).then(|| done.clone())
        }).await;
        assert_eq!(rest, posted);
        counts(http, "builds", 0, 0, 0).await;
    }
}

#[tokio::test]
async fn any_server_ends_a_lease_of_another() {
    let d = Deployment::start(Mode::Nats).await;
    let second = d.second_server().await;
    let (here, there) = (d.http(), &second.http());
    let mut posted = BTreeSet::new();
    for n in 0..20 {
        posted.insert(enqueue(if n % 2 == 0 { here } else { there }, "builds", &job(n)).await);
    }
    let mut leased = Vec::new();
    while leased.len() < 20 {
        let http = if leased.len() % 2 == 0 { here } else { there };
        leased.extend(lease(http, "builds", 1, 10).await);
    }
    assert_eq!(leased.iter().map(id).collect::<BTreeSet<_>>(), posted);
    for http in [here, there] {
        assert!(lease(http, "builds", 1, 0).await.is_empty(), "all are leased");
    }
    // Each lease is ended through the other server: ack, nack, fail.
    let mut expected = BTreeSet::new();
    for (n, job) in leased.iter().enumerate() {
        let other = if n % 2 == 0 { there } else { here };
        end_bare(other, job, "extend").await.expect(200);
        match n % 4 {
            0 => end(other, job, "nack", json!({"delay_s": 0})).await.expect(200),
            1 => end(other, job, "fail", json!({"reason": "no"})).await.expect(200),
            _ => end_bare(other, job, "ack").await.expect(200),
        };
        wire::problem(&end_bare(here, job, "ack").await, 410);
        if n % 4 == 0 {
            expected.insert(id(job));
        }
    }
    assert_eq!(work(there, "builds", 10, 5).await.into_keys().collect::<BTreeSet<_>>(), expected);
    eventually(SOON, "the dead letters", async || {
        (dead_letters(here, "builds").await.len() == 5).then_some(())
    })
    .await;
    // A worker that waits at one server is woken by a job at the other.
    for n in 0..5 {
        let body = job(n);
        let both =
            async { tokio::join!(lease(here, "builds", 1, 20), enqueue(there, "builds", &body)) };
        let (leased, posted) = within(WOKEN, "a job at the other server wakes", both).await;
        assert_eq!(leased.iter().map(id).collect::<Vec<_>>(), [posted]);
        end_bare(there, &leased[0], "ack").await.expect(200);
    }
}
