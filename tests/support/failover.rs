//! A client of work queues that survives the kill of a server: it asks the next one, until one answers.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Deserialize;
pub use uuid::Uuid;

use tokio::time::{Instant, sleep};

use super::{Answer, Http};

/// Time limit for repeating a request until some server responds.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a client waits between attempts.
const RETRY: Duration = Duration::from_millis(20);
const NDJSON: &str = "application/x-ndjson";
const JSON: &str = "application/json";
/// The trace of each request (W3C Trace Context).
pub const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A leased job.
#[derive(Clone, Debug, Deserialize)]
pub struct Job {
    pub job_id: Uuid,
    pub attempt: u32,
    pub lease_token: String,
    pub lease_expires_at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Leased {
    jobs: Vec<Job>,
}

#[derive(Deserialize)]
struct Results {
    results: Vec<ItemStatus>,
}

#[derive(Deserialize)]
struct ItemStatus {
    status: u16,
}

/// The final response to an ack.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// Whether the ack was accepted: status 200, else 410.
    pub taken: bool,
    /// Whether an earlier attempt got no response, or a 503.
    pub after_silence: bool,
}

/// A client that turns to the next server after no response or a 503.
pub struct Client {
    servers: Vec<Http>,
    at: usize,
}

impl Client {
    /// A client that begins with the server of this index.
    pub fn new(servers: &[String], at: usize) -> Self {
        Self { servers: servers.iter().map(|url| Http::new(url)).collect(), at }
    }

    /// Makes one attempt. After no response or a 503 it waits, and turns to the next server.
    async fn post(&mut self, path: &str, media_type: &str, body: &Bytes) -> Option<Answer> {
        let server = &self.servers[self.at % self.servers.len()];
        let headers = [("content-type", media_type), ("traceparent", TRACE)];
        let answer = server.request(reqwest::Method::POST, path, &headers, body.clone()).await;
        match answer {
            Ok(answer) if answer.status != 503 => Some(answer),
            Ok(_) | Err(_) => {
                self.at += 1;
                sleep(RETRY).await;
                None
            }
        }
    }

    /// Enqueues jobs with these ids, and repeats until each is acknowledged.
    pub async fn enqueue(&mut self, queue: &str, ids: &[Uuid]) {
        let path = format!("/v1/queues/{queue}/jobs/batch");
        let mut body = String::new();
        for id in ids {
            let _ = writeln!(body, r#"{{"type":"work","payload":{{}},"id":"{id}"}}"#);
        }
        let (body, patience) = (Bytes::from(body), Patience::new());
        loop {
            patience.check("jobs are put in");
            let Some(answer) = self.post(&path, NDJSON, &body).await else { continue };
            let outcomes = statuses(&answer.expect(200));
            assert_eq!(outcomes.len(), ids.len());
            assert!(
                outcomes.iter().all(|status| matches!(status, 200 | 201 | 503)),
                "{outcomes:?}"
            );
            if !outcomes.contains(&503) {
                return;
            }
        }
    }

    /// Leases the jobs available within a second; returns none if no response comes.
    pub async fn lease(&mut self, queue: &str, max: usize, worker: &str) -> Vec<Job> {
        let path = format!("/v1/queues/{queue}/lease");
        let body = Bytes::from(format!(r#"{{"max":{max},"wait_s":1,"worker":"{worker}"}}"#));
        match self.post(&path, JSON, &body).await {
            Some(answer) if answer.status == 200 => {
                serde_json::from_slice::<Leased>(&answer.bytes).expect("jobs").jobs
            }
            Some(answer) => {
                answer.expect(204);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Acks one lease, and repeats until there is a response.
    pub async fn ack(&mut self, token: &str) -> Answered {
        let (path, patience) = (format!("/v1/leases/{token}/ack"), Patience::new());
        let mut after_silence = false;
        loop {
            patience.check("an answer to an ack");
            if let Some(answer) = self.post(&path, JSON, &Bytes::new()).await {
                assert!(matches!(answer.status, 200 | 410), "{answer:?}");
                return Answered { taken: answer.status == 200, after_silence };
            }
            after_silence = true;
        }
    }

    /// Acks several leases in one request, and repeats until each has a result.
    pub async fn settle(&mut self, tokens: &[&str]) -> Vec<Answered> {
        let mut outcomes: Vec<Option<Answered>> = vec![None; tokens.len()];
        let (mut after_silence, patience) = (false, Patience::new());
        loop {
            let open: Vec<usize> = (0..tokens.len()).filter(|at| outcomes[*at].is_none()).collect();
            if open.is_empty() {
                return outcomes.into_iter().flatten().collect();
            }
            patience.check("answers to all acks");
            let acks: Vec<&str> = open.iter().map(|at| tokens[*at]).collect();
            if let Some(answer) = self.post("/v1/leases/settle", NDJSON, &acks_of(&acks)).await {
                for (at, status) in open.iter().zip(statuses(&answer.expect(200))) {
                    assert!(matches!(status, 200 | 410 | 503), "{status}");
                    let answered = Answered { taken: status == 200, after_silence };
                    outcomes[*at] = (status != 503).then_some(answered);
                }
            }
            after_silence = true;
        }
    }
}

/// The deadline of a client that repeats a request.
struct Patience(Instant);

impl Patience {
    fn new() -> Self {
        Self(Instant::now() + PATIENCE)
    }

    fn check(&self, what: &str) {
        assert!(Instant::now() < self.0, "not within {PATIENCE:?}: {what}");
    }
}

/// The body that acks these leases.
pub fn acks_of(tokens: &[&str]) -> Bytes {
    let mut body = String::new();
    for token in tokens {
        let _ = writeln!(body, r#"{{"lease_token":"{token}","action":"ack"}}"#);
    }
    body.into()
}

/// The status of each item of a response.
pub fn statuses(answer: &Answer) -> Vec<u16> {
    let Results { results } = serde_json::from_slice(&answer.bytes).expect("results");
    results.iter().map(|one| one.status).collect()
}

/// The dead letters of a queue: the job's id and the number of its attempts.
pub async fn dead_letters(server: &str, queue: &str) -> HashMap<Uuid, u32> {
    let http = Http::new(server);
    let (mut found, mut after) = (HashMap::new(), String::new());
    loop {
        let path = format!("/v1/dead-letters?source={queue}&limit=1000{after}");
        let page = http.get(&path).await.expect(200).json();
        for letter in page["dead_letters"].as_array().expect("dead letters") {
            let id = letter["job"]["job_id"].as_str().expect("a job").parse().expect("a UUID");
            let attempts = letter["attempts"].as_array().expect("attempts").len();
            let twice = found.insert(id, u32::try_from(attempts).expect("few"));
            assert_eq!(twice, None, "{id} is a dead letter twice");
        }
        let Some(next) = page["next"].as_str() else { return found };
        after = format!("&after={next}");
    }
}
