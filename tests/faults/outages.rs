//! The NATS bus while NATS or PostgreSQL is down, or while PostgreSQL refuses a row; also ids that are older
//! than JetStream's duplicate window.

use std::time::Duration;

use crate::support::records;
use crate::support::wire;
use crate::support::{
    Agentbus, Answer, Deployment, Http, Mode, Nats, Postgres, eventually, within,
};
use async_nats::HeaderMap;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tokio::time::Instant;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(30);
/// Time limit for any response, whatever is down.
const ANSWER: Duration = Duration::from_secs(6);
/// Time limit for an immediate response, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Time limit for 20 posts, one after the other, while PostgreSQL does not answer.
const GOES_ON: Duration = Duration::from_secs(20);

fn message(content: &str) -> Value {
    json!({"id": Uuid::new_v4(), "kind": "message", "type": "note", "sender_id": "bob", "content": content})
}

async fn post(http: &Http, message: &Value) -> Answer {
    http.post_json("/v1/messages", message).await
}

/// Posts a message that cannot be published now, and fails the test unless it is refused in time, with an
/// error of the contract. Returns the outcome and how long it took.
async fn refused(http: &Http, message: &Value) -> (String, Duration) {
    let start = Instant::now();
    let answer = post(http, message).await.expect(503);
    let took = start.elapsed();
    assert!(took < ANSWER, "answered after {took:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let after = answer.header("retry-after").expect("Retry-After");
    after.parse::<u64>().expect("Retry-After in seconds");
    let problem = answer.json();
    assert_eq!(problem["id"], message["id"], "{problem}");
    let outcome = problem["outcome"].as_str().expect("an outcome").to_owned();
    assert!(["not_sent", "unknown"].contains(&outcome.as_str()), "{problem}");
    (outcome, took)
}

/// Repeats a post until it is accepted, as a client does; returns the sequence.
async fn retried(http: &Http, message: &Value) -> u64 {
    eventually(LIMIT, "a retry is accepted", async || {
        let answer = post(http, message).await;
        match answer.status {
            200 | 201 => Some(answer.seq()),
            _ => {
                answer.expect(503);
                None
            }
        }
    })
    .await
}

/// Fails the test unless each message is in the log exactly once, at its sequence.
async fn assert_each_once(http: &Http, sent: &[Value], seqs: &[u64]) {
    wire::committed_at_last(http, seqs.iter().copied().max().expect("some")).await;
    let log = records::history(http, "").await;
    for (message, seq) in sent.iter().zip(seqs) {
        let same = log.iter().filter(|line| line.json()["id"] == message["id"]);
        assert_eq!(same.map(|line| line.seq).collect::<Vec<_>>(), [*seq], "{message}");
    }
}

#[tokio::test]
async fn an_id_is_known_beyond_the_window_of_jetstream() {
    let tuned = Deployment::tuned(Mode::Nats, |it| it.env("NATS_DUPLICATE_WINDOW_S", "1"));
    let deployment = tuned.await;
    let http = deployment.http();
    let sent = message("first");
    let first = http.post_json("/v1/messages?ack=committed", &sent).await.expect(201).json();
    let keyed = json!({"kind": "status", "type": "online", "sender_id": "bob"});
    let headers = [("content-type", "application/json"), ("idempotency-key", "k 1")];
    let key = async || {
        let answer = http.request(Method::POST, "/v1/messages", &headers, keyed.to_string()).await;
        answer.expect("an answer")
    };
    let by_key = key().await.expect(201).json();

    // JetStream has forgotten a later id, so it has forgotten these ids too.
    let jetstream = deployment.nats().expect("a NATS server").jetstream().await;
    eventually(LIMIT, "JetStream forgets ids", async || {
        let mut probe = HeaderMap::new();
        probe.insert("Nats-Msg-Id", "probe");
        let sent = jetstream.publish_with_headers("agent.status.probe.x", probe, "".into()).await;
        let ack = sent.expect("publish").await.expect("the stream takes it");
        (!ack.duplicate && ack.sequence > by_key["seq"].as_u64()? + 1).then_some(())
    })
    .await;

    let again = post(http, &sent).await.expect(200).json();
    assert_eq!((&again["duplicate"], &again["seq"]), (&json!(true), &first["seq"]));
    assert_eq!(again["created_at"], first["created_at"]);
    let again = key().await.expect(200).json();
    assert_eq!((&again["id"], &again["seq"]), (&by_key["id"], &by_key["seq"]));
    let mut other = sent.clone();
    other["content"] = json!("other");
    let answer = post(http, &other).await.expect(409).json();
    assert_eq!(answer["code"], "idempotency_conflict");
    let seq = first["seq"].as_u64().expect("a sequence");
    assert_each_once(http, &[sent], &[seq]).await;
}

#[tokio::test]
async fn without_nats_posts_are_refused_and_stored_once_when_retried() {
    let deployment = Deployment::start(Mode::Nats).await;
    let (http, nats) = (deployment.http(), deployment.nats().expect("a NATS server"));
    let mut stream = http.stream("", None).await;
    stream.expect_ready().await;
    let mut sent: Vec<Value> = (0..40).map(|n| message(&format!("at the break {n}"))).collect();
    // Some posts are in flight when NATS is killed.
    let posts = join_all(sent.iter().map(|message| post(http, message)));
    let kill = async { nats.kill9() };
    let (answers, ()) = within(ANSWER, "every answer", async { tokio::join!(posts, kill) }).await;
    assert!(answers.iter().all(|answer| [201, 503].contains(&answer.status)), "{answers:?}");

    let without: Vec<Value> = (0..10).map(|n| message(&format!("without {n}"))).collect();
    refused(http, &without[0]).await;
    eventually(LIMIT, "refusals come at once", async || {
        (refused(http, &without[0]).await.1 < AT_ONCE).then_some(())
    })
    .await;
    for message in &without {
        refused(http, message).await;
    }
    let answer = http.get("/readyz").await.expect(503);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    http.get("/livez").await.expect(200);
    records::history(http, "").await;

    sent.extend(without);
    nats.restart().await;
    let seqs = join_all(sent.iter().map(|message| retried(http, message))).await;
    for (answer, seq) in answers.iter().zip(&seqs).filter(|(answer, _)| answer.status == 201) {
        assert_eq!(answer.seq(), *seq, "acknowledged before");
    }
    assert_each_once(http, &sent, &seqs).await;
    let log = records::history(http, "").await;
    assert_eq!(log.len(), sent.len());
    // The stream stayed open throughout.
    records::assert_same("live", &records::take(&mut stream, log.len(), LIMIT).await, &log);
}

#[tokio::test]
async fn a_frozen_nats_leaves_the_outcome_unknown_and_a_retry_is_stored_once() {
    let deployment = Deployment::start(Mode::Nats).await;
    let (http, nats) = (deployment.http(), deployment.nats().expect("a NATS server"));
    let mut stream = http.stream("", None).await;
    stream.expect_ready().await;
    let before = message("before");
    let first = post(http, &before).await.expect(201).seq();
    nats.pause();
    let mut sent = vec![message("while frozen")];
    let (outcome, _) = refused(http, &sent[0]).await;
    assert_eq!(outcome, "unknown", "it was sent");
    eventually(LIMIT, "refusals come at once", async || {
        sent.push(message("after it"));
        (refused(http, &sent[sent.len() - 1]).await.1 < AT_ONCE).then_some(())
    })
    .await;
    nats.resume();
    let mut seqs = join_all(sent.iter().map(|message| retried(http, message))).await;
    sent.push(before);
    seqs.push(first);
    assert_each_once(http, &sent, &seqs).await;
    let log = records::history(http, "").await;
    assert_eq!(log.len(), sent.len());
    records::assert_same("live", &records::take(&mut stream, log.len(), LIMIT).await, &log);
}

#[tokio::test]
async fn without_postgresql_publishing_continues_and_is_committed_afterwards() {
    let (nats, postgres) = (Nats::start().await, Postgres::start().await);
    let pg_url = postgres.database().await;
    let agentbus = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let http = agentbus.http();
    let mut stream = http.stream("", None).await;
    stream.expect_ready().await;
    let mut sent = vec![message("before")];
    let answer = http.post_json("/v1/messages?ack=committed", &sent[0]).await.expect(201);
    assert_eq!(answer.json()["durability"], "committed");
    let mut seqs = vec![answer.seq()];
    for (round, stop) in [Postgres::kill9, Postgres::pause].into_iter().enumerate() {
        stop(&postgres);
        let start = Instant::now();
        for n in 0..20 {
            sent.push(message(&format!("without PostgreSQL {round} {n}")));
            let answer = post(&http, &sent[sent.len() - 1]).await.expect(201).json();
            assert_eq!(answer["durability"], "stored");
            seqs.push(answer["seq"].as_u64().expect("a sequence"));
        }
        assert!(start.elapsed() < GOES_ON, "20 posts took {:?}", start.elapsed());
        let again = post(&http, &sent[sent.len() - 1]).await.expect(200).json();
        assert_eq!(again["seq"], seqs[seqs.len() - 1], "the window recognises it");
        sent.push(message("is not committed in time"));
        let waited = http.post_json("/v1/messages?ack=committed", &sent[sent.len() - 1]).await;
        let waited = waited.expect(201).json();
        assert_eq!(waited["durability"], "stored");
        seqs.push(waited["seq"].as_u64().expect("a sequence"));
        http.get("/v1/messages").await.expect(503);
        let ready = http.get("/readyz?verbose").await.expect(200);
        assert_eq!(ready.json()["degraded"], true, "{}", ready.text());
        if round == 0 {
            postgres.restart().await
        } else {
            postgres.resume()
        }
        assert_each_once(&http, &sent, &seqs).await;
        eventually(LIMIT, "nothing is degraded", async || {
            (http.get("/readyz?verbose").await.expect(200).json()["degraded"] == false)
                .then_some(())
        })
        .await;
    }
    let log = records::history(&http, "").await;
    assert_eq!(log.len(), sent.len());
    records::assert_same("live", &records::take(&mut stream, log.len(), LIMIT).await, &log);
}

#[tokio::test]
async fn a_row_that_postgresql_refuses_is_stored_bare_and_delays_nothing() {
    const REFUSE: &str = "
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF NEW.sender_id = 'refused' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION refuse();
        ALTER TABLE messages ADD CONSTRAINT checked CHECK (recipient_id <> 'checked')";
    let deployment = Deployment::start(Mode::Nats).await;
    let http = deployment.http();
    let url = deployment.pg_url().expect("PostgreSQL's address");
    // The first row creates its partition of the table.
    let before = http.post_json("/v1/messages?ack=committed", &message("before")).await;
    before.expect(201);
    let mut other = PgConnection::connect(url).await.expect("connect to PostgreSQL");
    other.execute(sqlx::raw_sql(REFUSE)).await.expect("refuse some rows");
    let mut stream = http.stream("from=1", None).await;
    let batch: Vec<Value> = (0..200)
        .map(|n| {
            let mut message = message(&format!("{n}"));
            match n % 50 {
                7 => message["sender_id"] = json!("refused"),
                8 => message["recipient_id"] = json!("checked"),
                _ => message["type"] = json!("plain"),
            }
            message
        })
        .collect();
    let answer = http.post_ndjson("/v1/messages/batch", &batch).await.expect(200).json();
    assert_eq!(answer["accepted"], 200);
    wire::committed_at_last(http, 201).await;
    let log = records::history(http, "").await;
    records::assert_same("live", &records::take(&mut stream, 201, LIMIT).await, &log);
    let second = deployment.second_server().await;
    let mut replay = second.http().stream("from=1", None).await;
    records::assert_same("replay", &records::take(&mut replay, 201, LIMIT).await, &log);
    let refused = records::history(http, "subject=agent.message.agent.note").await;
    assert_eq!(refused.len(), 8 + 1, "found by their subject");
    assert_eq!(records::history(http, "type=plain").await.len(), 192);
    let metrics = http.get("/metrics").await.text();
    assert!(
        metrics.lines().any(|line| line == "agentbus_projector_bare_rows_total 8"),
        "{metrics}"
    );
}
