//! The log of a server at work, and what becomes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Drill, JUMP, done};
use crate::support::records::{self, Record};
use crate::support::streams::{self, LIMIT, message, publish};
use crate::support::{Deployment, Frame, Http, Mode, for_each_mode, wire};

/// Posts one message after the other until told to stop; returns how long the slowest took.
fn poster(http: &Http, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<std::time::Duration> {
    let (http, stop) = (http.clone(), Arc::clone(stop));
    tokio::spawn(async move {
        let (mut number, mut longest) = (0, std::time::Duration::ZERO);
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let begun = Instant::now();
            http.post_json("/v1/messages?ack=committed", &message(number)).await.expect(201);
            longest = longest.max(begun.elapsed());
        }
        longest
    })
}

fn up_to(log: Vec<Record>, seq: u64) -> Vec<Record> {
    log.into_iter().filter(|record| record.seq <= seq).collect()
}

/// The gaps of a replay after a sequence.
async fn gaps(http: &Http, after: u64) -> Vec<Value> {
    let mut stream = http.stream("", Some(after)).await;
    let frames = stream.until(LIMIT, |frame| frame.is("caught_up")).await;
    frames.iter().filter(|frame| frame.is("gap")).map(Frame::json).collect()
}

for_each_mode! {
    async fn a_backup_of_a_server_at_work_is_restored(deployment: &Deployment) {
        let (drill, http) = (Drill::of(deployment).await, deployment.http());
        let first = publish(http, &streams::messages(500)).await;
        let known = json!({"id": uuid::Uuid::new_v4(), "kind": "message", "type": "note",
            "sender_id": "ann", "recipient_id": "bob", "content": "for bob"});
        let for_bob = streams::publish_one(http, &known).await;
        wire::committed(http, for_bob).await;
        http.post_json("/v1/agents/bob/inbox/ack", &json!({"through": for_bob})).await.expect(200);
        let stop = Arc::new(AtomicBool::new(false));
        let load = poster(http, &stop);
        let through = drill.back_up("first").await;
        let later = drill.back_up("second").await;
        assert!(for_bob <= through && through <= later, "{for_bob} {through} {later}");
        stop.store(true, Ordering::Relaxed);
        let longest = load.await.expect("no post fails");
        eprintln!("the slowest post beside two backups took {longest:?}");
        let last = *publish(http, &streams::messages(3)).await.last().expect("some");
        wire::committed(http, last).await;
        let before = records::history(http, "").await;
        deployment.agentbus().kill9();

        let env = drill.empty("restored").await;
        let made = done(&["restore", &drill.at("first")], &env).await;
        assert_eq!((&made["committed_through"], &made["keys"]), (&json!(through), &json!("disabled")));
        let next = made["next_seq"].as_u64().expect("a sequence");
        assert!(next > through + JUMP, "{made}");
        let server = drill.serve(&env).await;
        let restored = server.http();
        let log = records::history(&restored, "").await;
        records::assert_same("what was backed up", &log, &up_to(before, through));
        assert_eq!(log[0].seq, first[0]);

        // Who has read more than the backup holds goes on after it.
        let gap = gaps(&restored, last).await;
        assert_eq!(gap.len(), 1, "{gap:?}");
        assert_eq!((&gap[0]["to"], &gap[0]["reason"]), (&json!(next - 1), &json!("abandoned")));
        // A repeat is known, a new message gets a sequence that nobody has seen.
        let again = restored.post_json("/v1/messages", &known).await.expect(200).json();
        assert_eq!(again["seq"], for_bob, "{again}");
        let inbox = restored.get("/v1/agents/bob/inbox").await.expect(200).json();
        assert_eq!(inbox["messages"], json!([]), "bob has read it");
        assert_eq!(publish(&restored, &streams::messages(2)).await, [next, next + 1]);
        wire::committed(&restored, next + 1).await;
        let log = records::history(&restored, "").await;
        assert_eq!(log.len() as u64, through + 2);
        server.terminate().await;
    }
}

#[tokio::test]
async fn what_the_stream_still_holds_comes_back() {
    let deployment = Deployment::start(Mode::Nats).await;
    let (drill, http) = (Drill::of(&deployment).await, deployment.http());
    publish(http, &streams::messages(50)).await;
    let through = drill.back_up("b").await;
    let last = *publish(http, &streams::messages(70)).await.last().expect("some");
    wire::committed(http, last).await;
    let before = records::history(http, "").await;
    deployment.agentbus().kill9();

    // The database is lost, and NATS is not.
    let mut env = drill.empty("restored").await;
    env.insert("NATS_URL".to_owned(), deployment.nats().expect("a server").url());
    let made = done(&["restore", &drill.at("b")], &env).await;
    assert_eq!((&made["committed_through"], &made["next_seq"]), (&json!(through), &Value::Null));
    let server = drill.serve(&env).await;
    let restored = server.http();
    wire::committed_at_last(&restored, last).await;
    records::assert_same("all messages", &records::history(&restored, "").await, &before);
    assert_eq!(publish(&restored, &streams::messages(1)).await, [last + 1]);
    server.terminate().await;
}

#[tokio::test]
async fn a_backup_restored_again_begins_beyond_what_the_first_restore_assigned() {
    let deployment = Deployment::start(Mode::MemorySqlite).await;
    let (drill, http) = (Drill::of(&deployment).await, deployment.http());
    publish(http, &streams::messages(10)).await;
    drill.back_up("b").await;
    deployment.agentbus().kill9();
    let mut next = 0;
    for round in ["one", "two"] {
        let env = drill.empty(round).await;
        done(&["restore", &drill.at("b")], &env).await;
        let server = drill.serve(&env).await;
        let seqs = publish(&server.http(), &streams::messages(100)).await;
        assert!(seqs[0] > next, "{round}: {} was assigned already", seqs[0]);
        next = *seqs.last().expect("some");
        server.terminate().await;
    }
}
