//! A redrive counts what it has enqueued, and loses no job, whichever ids other clients use meanwhile.

use std::collections::BTreeSet;

use async_nats::HeaderMap;
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::support::jobs::{
    configure, counts, dead_letter, dead_letters, end, end_bare, enqueue, id, info, job, lease, one,
};
use crate::support::wire::problem_code;
use crate::support::{Agentbus, Deployment, Http, Mode, for_each_mode};

const ID: &str = "0f3a1b5c-7d2e-4f60-8a9b-c0d1e2f3a4b5";

/// Enqueues a job, fails it, and returns its dead letter.
async fn failed(http: &Http, queue: &str, job: &Value) -> Value {
    enqueue(http, queue, job).await;
    end(http, &one(http, queue).await, "fail", json!({"reason": "no"})).await.expect(200);
    dead_letter(http, queue).await
}

fn letter_id(letter: &Value) -> &str {
    letter["id"].as_str().unwrap_or_else(|| panic!("no id: {letter}"))
}

async fn redrive(http: &Http, letter: &str) -> crate::support::Answer {
    http.post(&format!("/v1/dead-letters/{letter}/redrive"), "", "").await
}

/// Leases and acks `number` jobs, and returns their payloads; fails the test if more are left.
async fn drained(http: &Http, queue: &str, number: usize) -> Vec<Value> {
    let mut payloads = Vec::new();
    while payloads.len() < number {
        let leased = one(http, queue).await;
        end_bare(http, &leased, "ack").await.expect(200);
        payloads.push(leased["payload"].clone());
    }
    assert_eq!(lease(http, queue, 10, 1).await, Vec::<Value>::new(), "after {payloads:?}");
    payloads.sort_by_key(Value::to_string);
    payloads
}

for_each_mode! {
    async fn a_job_under_the_id_of_a_dead_letter_is_another_job(d: &Deployment) {
        let http = d.http();
        let letter = failed(http, "builds", &json!({"type": "build", "payload": 1})).await;
        let taken = json!({"type": "build", "payload": 2, "id": letter["id"]});
        enqueue(http, "builds", &taken).await;
        assert_eq!(redrive(http, letter_id(&letter)).await.expect(200).json(), json!({"redriven": 1}));
        assert_eq!(dead_letters(http, "builds").await, Vec::<Value>::new());
        counts(http, "builds", 2, 0, 0).await;
        assert_eq!(drained(http, "builds", 2).await, [json!(1), json!(2)]);
        problem_code(&redrive(http, letter_id(&letter)).await, 404, "not_found");
    }

    async fn a_job_of_a_queue_called_redrive_is_another_job(d: &Deployment) {
        let http = d.http();
        let letter = failed(http, "builds", &json!({"type": "build", "payload": 1})).await;
        let taken = json!({"type": "build", "payload": 2, "id": letter["id"]});
        enqueue(http, "redrive", &taken).await;
        assert_eq!(redrive(http, letter_id(&letter)).await.expect(200).json(), json!({"redriven": 1}));
        assert_eq!(drained(http, "builds", 1).await, [json!(1)]);
        assert_eq!(drained(http, "redrive", 1).await, [json!(2)]);
    }

    async fn another_job_of_the_same_id_is_another_job(d: &Deployment) {
        let http = d.http();
        let letter = failed(http, "builds", &json!({"type": "build", "payload": 1, "id": ID})).await;
        // For two minutes a repeat of the id would get the first job, but a queue that was created
        // again does not know the id.
        http.delete("/v1/queues/builds?force=true").await.expect(204);
        enqueue(http, "builds", &json!({"type": "build", "payload": 2, "id": ID})).await;
        assert_eq!(redrive(http, letter_id(&letter)).await.expect(200).json(), json!({"redriven": 1}));
        counts(http, "builds", 2, 0, 0).await;
        let jobs = [one(http, "builds").await, one(http, "builds").await];
        assert!(jobs.iter().all(|job| id(job) == ID), "{jobs:?}");
        for job in &jobs {
            end_bare(http, job, "ack").await.expect(200);
        }
        assert_ne!(jobs[0]["payload"], jobs[1]["payload"]);
    }

    async fn concurrent_redrives_of_the_same_dead_letters_queue_each_job_once(d: &Deployment) {
        const LETTERS: usize = 20;
        let second = match d.mode() {
            Mode::Nats => Some(d.second_server().await),
            Mode::MemorySqlite | Mode::MemoryPostgres => None,
        };
        let first = d.http();
        let other = second.as_ref().map_or_else(|| d.agentbus().http(), Agentbus::http);
        let mut made = BTreeSet::new();
        for n in 0..LETTERS {
            made.insert(enqueue(first, "builds", &job(n)).await);
        }
        let mut failing = 0;
        while failing < LETTERS {
            for job in lease(first, "builds", 10, 5).await {
                end(first, &job, "fail", json!({})).await.expect(200);
                failing += 1;
            }
        }
        let letters = dead_letters(first, "builds").await;
        assert_eq!(letters.len(), LETTERS);
        let one_by_one = letters.iter().flat_map(|letter| {
            [first, &other].map(|server| async move {
                let answer = redrive(server, letter_id(letter)).await;
                if answer.status == 404 { 0 } else { answer.expect(200).json()["redriven"].as_u64().expect("a count") }
            })
        });
        let all = async |server: &Http| {
            let answer = server.post("/v1/dead-letters/redrive?source=builds", "", "").await.expect(200).json();
            assert_eq!(answer["skipped"], Value::Null, "{answer}");
            answer["redriven"].as_u64().expect("a count")
        };
        let (counts, one, two) = tokio::join!(join_all(one_by_one), all(first), all(&other));
        assert_eq!(counts.into_iter().sum::<u64>() + one + two, LETTERS as u64);
        assert_eq!(dead_letters(first, "builds").await, Vec::<Value>::new());
        let mut leased = BTreeSet::new();
        while leased.len() < LETTERS {
            let job = crate::support::jobs::one(&other, "builds").await;
            assert!(leased.insert(id(&job)), "twice: {job}");
            end_bare(&other, &job, "ack").await.expect(200);
        }
        assert_eq!(leased, made);
        assert_eq!(lease(first, "builds", 10, 1).await, Vec::<Value>::new());
    }

    async fn a_redriven_job_that_dies_again_is_redriven_again(d: &Deployment) {
        let http = d.http();
        configure(http, "builds", 60, 2).await;
        let first = failed(http, "builds", &job(1)).await;
        redrive(http, letter_id(&first)).await.expect(200);
        end(http, &one(http, "builds").await, "fail", json!({})).await.expect(200);
        let second = dead_letter(http, "builds").await;
        assert_ne!(first["id"], second["id"]);
        assert_eq!(redrive(http, letter_id(&second)).await.expect(200).json(), json!({"redriven": 1}));
        assert_eq!(one(http, "builds").await["attempt"], 1);
    }
}

/// Another NATS client can take the id of a redrive in a queue from before queues had generations. The dead
/// letter must stay.
#[tokio::test]
async fn an_id_that_another_nats_client_took_leaves_the_dead_letter() {
    let d = Deployment::start(Mode::Nats).await;
    configure(d.http(), "builds", 60, 3).await;
    let pg_url = d.pg_url().expect("PostgreSQL");
    let mut database = PgConnection::connect(pg_url).await.expect("connect to PostgreSQL");
    sqlx::query("UPDATE queues SET made = NULL").execute(&mut database).await.expect("updated");
    d.agentbus().restart().await;
    let http = d.http();
    let letter = failed(http, "builds", &json!({"type": "build", "payload": 1})).await;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", format!("redrive/builds/{}", letter_id(&letter)).as_str());
    let jetstream = d.nats().expect("NATS").jetstream().await;
    let other = r#"{"type":"build","payload":2}"#;
    let sent = jetstream.publish_with_headers("jobs.builds.normal", headers, other.into()).await;
    sent.expect("sent").await.expect("stored");
    problem_code(&redrive(http, letter_id(&letter)).await, 409, "redrive_conflict");
    let all = http.post("/v1/dead-letters/redrive", "", "").await.expect(200).json();
    assert_eq!(all, json!({"redriven": 0, "skipped": 1}));
    assert_eq!(dead_letter(http, "builds").await["id"], letter["id"]);
    assert_eq!(info(http, "builds").await["dead_letters"], 1);
}
