//! Revoked keys and rotations, on two servers, while streams and waits are open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::support::keys::Secured;
use crate::support::{Http, Mode, eventually};

/// Time within which everything that a revoked key has opened must have ended (issue 16).
const ENDED: Duration = Duration::from_secs(2);
const STREAMS: usize = 500;
const WAITS: usize = 50;

#[tokio::test]
async fn a_revoked_key_ends_streams_and_waits_on_every_server() {
    let secured = Secured::start(Mode::Nats).await;
    let second = secured.deployment.second_server().await;
    let key = secured.key(json!({"as": ["ann"], "read": ["agent.>"], "work": ["q"]})).await;
    let servers = [key.http.clone(), second.http().with_key(&key.key)];
    eventually(Duration::from_secs(10), "the other server knows the key", async || {
        (servers[1].get("/v1/me").await.status == 200).then_some(())
    })
    .await;
    let open = (0..2 * STREAMS).map(|n| servers[n % 2].stream("", None));
    let mut streams = join_all(open).await;
    let waits = (0..2 * WAITS).map(|n| {
        let http = servers[n % 2].clone();
        tokio::spawn(async move { http.get("/v1/agents/ann/inbox?wait=60").await.status })
    });
    let mut waits: Vec<_> = waits.collect();
    for http in &servers {
        let http = http.clone();
        waits.push(tokio::spawn(async move {
            http.post_json("/v1/queues/q/lease", &json!({"wait_s": 60})).await.status
        }));
    }
    join_all(streams.iter_mut().map(|stream| stream.until(ENDED * 5, |frame| frame.is("ready"))))
        .await;
    secured.revoke(&key.id).await;
    let revoked = Instant::now();
    let ends = join_all(streams.iter_mut().map(|stream| stream.expect_end(ENDED * 5))).await;
    let statuses = join_all(waits).await;
    let took = revoked.elapsed();
    for end in ends {
        let denied = end.last().unwrap_or_else(|| panic!("a stream without denied"));
        assert!(denied.is("denied"), "{denied:?}");
        assert_eq!((denied.json(), &denied.id), (json!({"code": "revoked"}), &None));
    }
    assert!(statuses.into_iter().all(|status| status.expect("a status") == 401));
    for http in &servers {
        let resumed = http.try_stream("", Some(0)).await.expect("an answer");
        assert_eq!(resumed.err().map(|answer| answer.status), Some(401));
    }
    assert!(took <= ENDED, "{took:?}");
}

#[tokio::test]
async fn no_request_is_refused_inside_the_overlap_of_a_rotation() {
    let secured = Secured::start(Mode::MemorySqlite).await;
    let key = secured.key(json!({"as": ["ann"], "publish": ["agent.>"]})).await;
    let message = json!({"kind": "message", "type": "note"});
    let stop = Arc::new(AtomicBool::new(false));
    let load = |http: Http| {
        let (stop, message) = (Arc::clone(&stop), message.clone());
        tokio::spawn(async move {
            let mut posted = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                http.post_json("/v1/messages", &message).await.expect(201);
                posted += 1;
            }
            posted
        })
    };
    let mut loads = vec![load(key.http.clone()), load(key.http.clone())];
    let rotate = format!("/v1/keys/{}/rotate", key.id);
    let rotated = secured.root.post_json(&rotate, &json!({"overlap_s": 600})).await.expect(200);
    let next = key.http.with_key(rotated.json()["key"].as_str().expect("a key"));
    loads.push(load(next.clone()));
    for name in ["a", "b", "c"] {
        let headers = [("content-type", "application/json")];
        let change = json!({"name": name}).to_string();
        let path = format!("/v1/keys/{}", key.id);
        let changed = secured.root.request(reqwest::Method::PATCH, &path, &headers, change).await;
        changed.expect("an answer").expect(200);
    }
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        assert!(load.await.expect("no request was refused") > 0);
    }
    // Without an overlap all older secrets end.
    secured.root.post_json(&rotate, &json!({"overlap_s": 0})).await.expect(200);
    for old in [&key.http, &next] {
        old.get("/v1/me").await.expect(401);
    }
}

#[tokio::test]
async fn changed_grants_end_a_stream_that_is_resumed_within_the_new_ones() {
    let secured = Secured::start(Mode::MemorySqlite).await;
    let key = secured.key(json!({"read": ["agent.>"]})).await;
    let post = async |task: &str| {
        let message = json!({"kind": "task", "type": "note", "sender_id": "bob", "task_id": task});
        secured.root.post_json("/v1/messages", &message).await.expect(201).seq()
    };
    let first = post("t1").await;
    let mut stream = key.http.stream("from=start", None).await;
    stream.until(ENDED * 5, |frame| frame.is("caught_up")).await;
    let change = json!({"grants": {"read": ["agent.task.t2.>"]}}).to_string();
    let headers = [("content-type", "application/json")];
    let path = format!("/v1/keys/{}", key.id);
    let changed = secured.root.request(reqwest::Method::PATCH, &path, &headers, change).await;
    changed.expect("an answer").expect(200);
    let (_, wanted) = (post("t1").await, post("t2").await);
    let end = stream.expect_end(ENDED * 5).await;
    assert!(end.is_empty(), "nothing after the change, and no denied: {end:?}");
    let mut resumed = key.http.stream("", Some(first)).await;
    let frames = resumed.until(ENDED * 5, |frame| frame.is("caught_up")).await;
    let seqs: Vec<_> = frames
        .iter()
        .filter(|frame| frame.is("task"))
        .map(|frame| frame.json()["seq"].as_u64())
        .collect();
    assert_eq!(seqs, [Some(wanted)]);
}
