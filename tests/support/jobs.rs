//! A client of work queues: creates queues, enqueues, leases, ends leases, and reads their state.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::wire::SOON;
use super::{Answer, Http, eventually};

pub async fn put(http: &Http, queue: &str, body: Value) -> Answer {
    http.put_json(&format!("/v1/queues/{queue}"), &body).await
}

pub async fn configure(http: &Http, queue: &str, lease_s: u64, max_deliver: u64) {
    let body = json!({"lease_s": lease_s, "max_deliver": max_deliver, "backoff_s": [1]});
    put(http, queue, body).await.expect(201);
}

pub async fn info(http: &Http, queue: &str) -> Value {
    http.get(&format!("/v1/queues/{queue}")).await.expect(200).json()
}

/// Enqueues a job, and returns its id.
pub async fn enqueue(http: &Http, queue: &str, job: &Value) -> String {
    let answer = http.post_json(&format!("/v1/queues/{queue}/jobs"), job).await.expect(201).json();
    assert!(answer["seq"].is_u64(), "{answer}");
    let id = answer["job_id"].as_str().unwrap_or_else(|| panic!("no job_id: {answer}"));
    Uuid::parse_str(id).expect("a UUID").to_string()
}

pub fn job(n: usize) -> Value {
    json!({"type": "build", "payload": {"n": n}})
}

pub async fn try_lease(http: &Http, queue: &str, max: usize, wait_s: u64) -> Answer {
    let body = json!({"max": max, "wait_s": wait_s, "worker": "w1"});
    http.post_json(&format!("/v1/queues/{queue}/lease"), &body).await
}

/// Leases up to `max` jobs; returns an empty list if there is none.
pub async fn lease(http: &Http, queue: &str, max: usize, wait_s: u64) -> Vec<Value> {
    let answer = try_lease(http, queue, max, wait_s).await;
    if answer.status == 204 {
        assert!(answer.bytes.is_empty(), "{}", answer.text());
        return Vec::new();
    }
    let jobs = answer.expect(200).json()["jobs"].as_array().expect("jobs").clone();
    assert!((1..=max).contains(&jobs.len()), "{} of {max}", jobs.len());
    jobs
}

/// Leases one job, for which it waits up to 20 s.
pub async fn one(http: &Http, queue: &str) -> Value {
    let mut jobs = lease(http, queue, 1, 20).await;
    jobs.pop().unwrap_or_else(|| panic!("no job in {queue} for 20 s"))
}

/// Ends or extends a lease: `verb` is the last part of the path.
pub async fn end(http: &Http, job: &Value, verb: &str, body: Value) -> Answer {
    let token = job["lease_token"].as_str().unwrap_or_else(|| panic!("no token: {job}"));
    http.post_json(&format!("/v1/leases/{token}/{verb}"), &body).await
}

/// Like [`end`], without a body.
pub async fn end_bare(http: &Http, job: &Value, verb: &str) -> Answer {
    let token = job["lease_token"].as_str().unwrap_or_else(|| panic!("no token: {job}"));
    http.request(Method::POST, &format!("/v1/leases/{token}/{verb}"), &[], "")
        .await
        .expect("an answer")
}

pub async fn dead_letters(http: &Http, source: &str) -> Vec<Value> {
    let list = http.get(&format!("/v1/dead-letters?source={source}")).await.expect(200).json();
    list["dead_letters"].as_array().unwrap_or_else(|| panic!("{list}")).clone()
}

/// Waits for the one dead letter of a queue.
pub async fn dead_letter(http: &Http, source: &str) -> Value {
    eventually(SOON, "a dead letter", async || {
        let mut all = dead_letters(http, source).await;
        assert!(all.len() < 2, "{all:?}");
        all.pop()
    })
    .await
}

/// Waits until the queue reports these counts.
pub async fn counts(http: &Http, queue: &str, waiting: u64, leased: u64, delayed: u64) -> Value {
    let what = format!("{queue} has {waiting} waiting, {leased} leased, {delayed} delayed");
    eventually(SOON, &what, async || {
        let now = info(http, queue).await;
        let counted = ["waiting", "leased", "delayed"].map(|it| now[it].as_u64());
        (counted == [Some(waiting), Some(leased), Some(delayed)]).then_some(now)
    })
    .await
}

pub fn time(value: &Value) -> DateTime<Utc> {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub fn id(job: &Value) -> String {
    job["job_id"].as_str().unwrap_or_else(|| panic!("no job_id: {job}")).to_owned()
}

pub fn members(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().cloned().collect()
}

/// Leases and acks jobs until nothing is left; returns how often each job was leased.
pub async fn work(http: &Http, queue: &str, max: usize, until: usize) -> BTreeMap<String, usize> {
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
