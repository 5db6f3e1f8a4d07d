//! Leases, delays and retries in SQLite do not follow the wall clock, which may be set to anything.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::clock::Clock;
use crate::support::jobs::{
    configure, counts, end, end_bare, enqueue, id, job, lease, one, put, time,
};
use crate::support::wire::SOON;
use crate::support::{Deployment, Mode, eventually};

async fn sqlite(clock: &Clock) -> Deployment {
    Deployment::tuned(Mode::MemorySqlite, |builder| clock.seen_by(builder)).await
}

#[tokio::test]
async fn a_clock_set_back_delays_no_lease_and_no_retry() {
    let clock = Clock::new();
    let d = sqlite(&clock).await;
    let http = d.http();
    put(http, "builds", json!({"lease_s": 2, "max_deliver": 5, "backoff_s": [1]}))
        .await
        .expect(201);
    let (leased, refused) =
        (enqueue(http, "builds", &job(1)).await, enqueue(http, "builds", &job(2)).await);
    assert_eq!(id(&one(http, "builds").await), leased);
    let other = one(http, "builds").await;
    assert_eq!(id(&other), refused);
    end_bare(http, &other, "nack").await.expect(200);
    let later = json!({"type": "build", "payload": 3, "delay_s": 1});
    let later = enqueue(http, "builds", &later).await;
    clock.set("-1d");
    // All three jobs come back, little later than they are due.
    let mut came = Vec::new();
    let begun = Instant::now();
    while came.len() < 3 {
        let job = one(http, "builds").await;
        end_bare(http, &job, "ack").await.expect(200);
        came.push(id(&job));
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    came.sort_unstable();
    let mut expected = [leased, refused, later];
    expected.sort_unstable();
    assert_eq!(came, expected);
}

#[tokio::test]
async fn a_clock_set_forward_leases_no_job_twice() {
    let clock = Clock::new();
    let d = sqlite(&clock).await;
    let http = d.http();
    configure(http, "builds", 600, 3).await;
    enqueue(http, "builds", &job(1)).await;
    let first = one(http, "builds").await;
    let delayed = json!({"type": "build", "payload": 2, "delay_s": 3600});
    enqueue(http, "builds", &delayed).await;
    clock.set("+2d");
    counts(http, "builds", 0, 1, 1).await;
    assert_eq!(lease(http, "builds", 10, 2).await, Vec::<Value>::new(), "it is leased, or not due");
    // The expiry in a response is wall clock time, which the worker can compare with its own clock.
    let extended = end_bare(http, &first, "extend").await.expect(200).json();
    let ends = time(&extended["lease_expires_at"]) - (Utc::now() + TimeDelta::days(2));
    assert!(ends > TimeDelta::seconds(500) && ends < TimeDelta::seconds(700), "{extended}");
    end(http, &first, "ack", json!({})).await.expect(200);
    counts(http, "builds", 0, 0, 1).await;
}

#[tokio::test]
async fn a_restart_under_another_clock_keeps_the_length_of_leases() {
    let clock = Clock::new();
    clock.set("+8d");
    let d = sqlite(&clock).await;
    put(d.http(), "builds", json!({"lease_s": 4, "max_deliver": 5, "backoff_s": [1]}))
        .await
        .expect(201);
    let made = enqueue(d.http(), "builds", &job(1)).await;
    one(d.http(), "builds").await;
    d.agentbus().kill9();
    // The clock was eight days ahead, and is now set right.
    clock.set("+0");
    d.agentbus().restart().await;
    let begun = Instant::now();
    let again = one(d.http(), "builds").await;
    assert_eq!((id(&again), &again["attempt"]), (made, &json!(2)));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

/// Processing: a retry comes after its backoff, whatever the clock shows.
#[tokio::test]
async fn a_clock_set_back_delays_no_message_of_a_processor() {
    let clock = Clock::new();
    let tune = |builder| clock.seen_by(builder).env("PROCESSOR_EXEC", "exit 75");
    let d = Deployment::tuned(Mode::MemorySqlite, tune).await;
    let http = d.http();
    let message =
        json!({"kind": "message", "type": "note", "sender_id": "ann", "content": "hello"});
    http.post_json("/v1/messages", &message).await.expect(201);
    let consumer = async || {
        let list = http.get("/v1/consumers").await.expect(200).json();
        let all = list["consumers"].as_array().expect("consumers").clone();
        all.into_iter().find(|one| one["name"] == "agent-processor").unwrap_or_default()
    };
    eventually(SOON, "it is delayed", async || {
        (consumer().await["failed"].as_u64()? > 0).then_some(())
    })
    .await;
    clock.set("-1d");
    // The three attempts are 1 s and 5 s apart in real time, although the clock went back a day.
    eventually(SOON, "it is a dead letter", async || {
        (consumer().await["dead_letters"] == 1).then_some(())
    })
    .await;
}
