//! Work queues, section 8 of the contract: a job goes to one worker at a time, comes again when its lease runs out or its
//! worker says no, and is a dead letter after its last delivery; what was acknowledged outlives a kill; a wrong request
//! is told everything that is wrong with it. Every job that was taken in is accounted for at the end.

mod common;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use common::{Answer, Deployment, Http, Mode, eventually, for_each_mode, within};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;
use wire::{JSON, SOON};

/// For what comes at once, on a busy machine; far less than the waits that are asked for.
const WOKEN: Duration = Duration::from_secs(10);

async fn put(http: &Http, queue: &str, body: Value) -> Answer {
    http.put_json(&format!("/v1/queues/{queue}"), &body).await
}

async fn configure(http: &Http, queue: &str, lease_s: u64, max_deliver: u64) {
    let body = json!({"lease_s": lease_s, "max_deliver": max_deliver, "backoff_s": [1]});
    put(http, queue, body).await.expect(201);
}

async fn info(http: &Http, queue: &str) -> Value {
    http.get(&format!("/v1/queues/{queue}")).await.expect(200).json()
}

/// Enqueues a job, and gives its id.
async fn enqueue(http: &Http, queue: &str, job: &Value) -> String {
    let answer = http.post_json(&format!("/v1/queues/{queue}/jobs"), job).await.expect(201).json();
    assert!(answer["seq"].is_u64(), "{answer}");
    let id = answer["job_id"].as_str().unwrap_or_else(|| panic!("no job_id: {answer}"));
    Uuid::parse_str(id).expect("a UUID").to_string()
}

fn job(n: usize) -> Value {
    json!({"type": "build", "payload": {"n": n}})
}

async fn try_lease(http: &Http, queue: &str, max: usize, wait_s: u64) -> Answer {
    let body = json!({"max": max, "wait_s": wait_s, "worker": "w1"});
    http.post_json(&format!("/v1/queues/{queue}/lease"), &body).await
}

/// Leases up to `max` jobs; none is an empty list.
async fn lease(http: &Http, queue: &str, max: usize, wait_s: u64) -> Vec<Value> {
    let answer = try_lease(http, queue, max, wait_s).await;
    if answer.status == 204 {
        assert!(answer.bytes.is_empty(), "{}", answer.text());
        return Vec::new();
    }
    let jobs = answer.expect(200).json()["jobs"].as_array().expect("jobs").clone();
    assert!((1..=max).contains(&jobs.len()), "{} of {max}", jobs.len());
    jobs
}

/// Leases the one job that there is, or will be within 20 s.
async fn one(http: &Http, queue: &str) -> Value {
    let mut jobs = lease(http, queue, 1, 20).await;
    jobs.pop().unwrap_or_else(|| panic!("no job in {queue} for 20 s"))
}

/// Ends a lease, or extends it.
async fn end(http: &Http, job: &Value, verb: &str, body: Value) -> Answer {
    let token = job["lease_token"].as_str().unwrap_or_else(|| panic!("no token: {job}"));
    http.post_json(&format!("/v1/leases/{token}/{verb}"), &body).await
}

/// The same without a body.
async fn end_bare(http: &Http, job: &Value, verb: &str) -> Answer {
    let token = job["lease_token"].as_str().unwrap_or_else(|| panic!("no token: {job}"));
    http.request(Method::POST, &format!("/v1/leases/{token}/{verb}"), &[], "")
        .await
        .expect("an answer")
}

async fn dead_letters(http: &Http, source: &str) -> Vec<Value> {
    let list = http.get(&format!("/v1/dead-letters?source={source}")).await.expect(200).json();
    list["dead_letters"].as_array().unwrap_or_else(|| panic!("{list}")).clone()
}

/// Waits for the one dead letter of a queue.
async fn dead_letter(http: &Http, source: &str) -> Value {
    eventually(SOON, "a dead letter", async || {
        let mut all = dead_letters(http, source).await;
        assert!(all.len() < 2, "{all:?}");
        all.pop()
    })
    .await
}

/// Waits until the queue tells these counts.
async fn counts(http: &Http, queue: &str, waiting: u64, leased: u64, delayed: u64) -> Value {
    let what = format!("{queue} has {waiting} waiting, {leased} leased, {delayed} delayed");
    eventually(SOON, &what, async || {
        let told = info(http, queue).await;
        let counted = ["waiting", "leased", "delayed"].map(|it| told[it].as_u64());
        (counted == [Some(waiting), Some(leased), Some(delayed)]).then_some(told)
    })
    .await
}

fn time(value: &Value) -> DateTime<Utc> {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn id(job: &Value) -> String {
    job["job_id"].as_str().unwrap_or_else(|| panic!("no job_id: {job}")).to_owned()
}

fn members(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().cloned().collect()
}

/// Leases and acknowledges until nothing is left; gives how often each job was leased.
async fn work(http: &Http, queue: &str, max: usize, until: usize) -> BTreeMap<String, usize> {
    let mut done = BTreeMap::new();
    let start = Instant::now();
    while done.len() < until && start.elapsed() < SOON {
        let jobs = lease(http, queue, max, 1).await;
        if jobs.is_empty() {
            break;
        }
        for job in jobs {
            end_bare(http, &job, "ack").await.expect(200);
            *done.entry(id(&job)).or_default() += 1;
        }
    }
    done
}

/// Fails the test unless exactly these members are named as wrong.
#[track_caller]
fn assert_wrong(answer: &Answer, expected: &[&str]) {
    let problem = wire::problem(answer, 422);
    // A fault inside a list may be told at its place.
    let named: BTreeSet<String> = wire::named(&problem, "pointer")
        .into_iter()
        .map(|it| it.split('/').take(2).collect::<Vec<_>>().join("/"))
        .collect();
    assert_eq!(named, expected.iter().map(|it| (*it).to_owned()).collect(), "{problem}");
}

for_each_mode! {
    async fn a_queue_is_made_and_changed(d: &Deployment) {
        let http = d.http();
        wire::problem_code(&http.get("/v1/queues/builds").await, 404, "not_found");
        assert_eq!(http.get("/v1/queues").await.expect(200).json()["queues"], json!([]));
        let set = json!({"lease_s": 60, "max_deliver": 5, "backoff_s": [2, 4]});
        put(http, "builds", set.clone()).await.expect(201);
        put(http, "builds", set.clone()).await.expect(200);
        let told = info(http, "builds").await;
        for member in ["lease_s", "max_deliver", "backoff_s"] {
            assert_eq!(told[member], set[member], "{told}");
        }
        assert_eq!((&told["queue"], &told["waiting"], &told["leased"], &told["delayed"], &told["dead_letters"]),
            (&json!("builds"), &json!(0), &json!(0), &json!(0), &json!(0)), "{told}");
        let changed = json!({"lease_s": 10, "max_deliver": 2, "backoff_s": [7]});
        put(http, "builds", changed).await.expect(200);
        assert_eq!(info(http, "builds").await["backoff_s"], json!([7]));
        // Without a word about it, or in use before it was made.
        put(http, "plain", json!({})).await.expect(201);
        enqueue(http, "used", &job(1)).await;
        for queue in ["plain", "used"] {
            let told = info(http, queue).await;
            let defaults = (&told["lease_s"], &told["max_deliver"], &told["backoff_s"]);
            assert_eq!(defaults, (&json!(30), &json!(3), &json!([1, 5, 30])), "{queue}: {told}");
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

    async fn a_lease_hands_out_the_job_as_it_was_posted(d: &Deployment) {
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

    async fn high_goes_before_normal_before_low_and_first_in_goes_first(d: &Deployment) {
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
    }

    async fn a_worker_that_says_no_gets_it_again_until_it_is_dead(d: &Deployment) {
        let http = d.http();
        configure(http, "builds", 30, 3).await;
        let posted = enqueue(http, "builds", &json!({"type": "build", "payload": {"n": 7}, "priority": "high"})).await;
        let first = one(http, "builds").await;
        // After the delay that was asked for, and no sooner.
        let start = Instant::now();
        end(http, &first, "nack", json!({"delay_s": 3})).await.expect(200);
        assert!(lease(http, "builds", 1, 0).await.is_empty(), "it is delayed");
        counts(http, "builds", 0, 0, 1).await;
        wire::problem(&end_bare(http, &first, "ack").await, 410);
        let second = one(http, "builds").await;
        assert!(start.elapsed() >= Duration::from_millis(2_900), "{:?}", start.elapsed());
        assert_eq!((id(&second), &second["attempt"], &second["payload"]), (posted.clone(), &json!(2), &json!({"n": 7})));
        assert_ne!(first["lease_token"], second["lease_token"]);
        // Without a delay: the backoff of a second.
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
        let told = &dead["job"];
        assert_eq!((&told["job_id"], &told["type"], &told["payload"], &told["priority"]),
            (&json!(posted), &json!("build"), &json!({"n": 7}), &json!("high")), "{dead}");
        assert_eq!(time(&told["enqueued_at"]), time(&first["enqueued_at"]));
        assert!(lease(http, "builds", 1, 2).await.is_empty(), "the dead are not leased");
        assert_eq!(counts(http, "builds", 0, 0, 0).await["dead_letters"], 1);
    }

    async fn a_worker_can_give_a_job_up_at_once(d: &Deployment) {
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
        // Again at its queue, as new.
        let answer = http.request(Method::POST, &format!("{path}/redrive"), &[], "").await.expect("an answer");
        assert_eq!(answer.expect(200).json(), json!({"redriven": 1}));
        wire::problem_code(&http.get(&path).await, 404, "not_found");
        let again = one(http, "builds").await;
        assert_eq!((id(&again), &again["payload"], &again["attempt"]), (posted, &json!({"n": 1}), &json!(1)));
        end_bare(http, &again, "ack").await.expect(200);
        counts(http, "builds", 0, 0, 0).await;
        assert!(dead_letters(http, "builds").await.is_empty());
    }

    async fn the_dead_of_one_queue_are_redriven_there_alone(d: &Deployment) {
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

    async fn a_lease_that_runs_out_is_lost_and_the_job_goes_to_another(d: &Deployment) {
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
        // The last delivery runs out too: dead, and told why.
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

    async fn a_worker_that_waits_is_woken_and_else_hears_nothing_after_the_wait(d: &Deployment) {
        let http = d.http();
        let start = Instant::now();
        let answer = try_lease(http, "builds", 1, 1).await.expect(204);
        assert!(answer.bytes.is_empty() && (1..15).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        for n in 0..5 {
            let body = job(n);
            let both = async { tokio::join!(lease(http, "builds", 1, 20), enqueue(http, "builds", &body)) };
            let (leased, posted) = within(WOKEN, "a job wakes who waits", both).await;
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

    async fn jobs_and_leases_outlive_a_kill(d: &Deployment) {
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

    async fn a_wrong_request_is_told_all_that_is_wrong(d: &Deployment) {
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

    async fn the_age_of_the_oldest_is_told(d: &Deployment) {
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

#[tokio::test]
async fn any_server_ends_a_lease_that_another_gave() {
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
    // Each lease ends at the server that did not give it: done, given back, given up.
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
