//! What agents do beside posting, during a change of servers: notes in an inbox, jobs of a queue, a webhook. Each answer
//! is recorded and compared with the promises: nothing is lost, and what was acknowledged does not come again.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::load::PATIENCE;
use crate::support::failover::{Client, TRACE, Uuid, dead_letters};
use crate::support::receiver::{Receiver, seqs};
use crate::support::records::{history, seqs as seqs_of};
use crate::support::{Agentbus, Http, eventually};

const QUEUE: &str = "chores";
/// Jobs that are enqueued at once.
const JOBS: usize = 5;
/// A lease that a killed server gave to nobody runs out after this.
const LEASE_S: u64 = 2;
/// How long a client waits between attempts.
const RETRY: Duration = Duration::from_millis(20);
/// The messages of [`Load`](crate::load::Load) that the webhook gets.
const TASK: &str = "t3";

/// Agents at work.
pub struct Chores {
    stop: CancellationToken,
    notes: JoinHandle<usize>,
    jobs: JoinHandle<usize>,
    receiver: Receiver,
}

impl Chores {
    /// Starts them. The servers need `WEBHOOK_ALLOW_PRIVATE=true`.
    pub async fn start(servers: &[&Agentbus]) -> Self {
        let receiver = Receiver::start().await;
        let hook = json!({"url": receiver.url(), "filter": format!("agent.task.{TASK}.>")});
        servers[0].http().post_json("/v1/webhooks", &hook).await.expect(201);
        let rules = json!({"lease_s": LEASE_S, "max_deliver": 5, "backoff_s": [0]});
        servers[0].http().put_json(&format!("/v1/queues/{QUEUE}"), &rules).await.expect(201);
        let urls: Vec<String> = servers.iter().map(|server| server.url().to_owned()).collect();
        let stop = CancellationToken::new();
        Self {
            notes: tokio::spawn(exchange(urls.clone(), stop.clone())),
            jobs: tokio::spawn(work(urls, stop.clone())),
            stop,
            receiver,
        }
    }

    /// Lets them finish what they have begun.
    pub async fn end(self) -> Done {
        self.stop.cancel();
        let notes = self.notes.await.expect("the notes end well");
        let jobs = self.jobs.await.expect("the jobs end well");
        Done { notes, jobs, receiver: self.receiver }
    }
}

/// What agents have done.
pub struct Done {
    notes: usize,
    jobs: usize,
    receiver: Receiver,
}

impl Done {
    /// Compares it with what the server has, once nothing is posted any more. Prints the figures.
    pub async fn check(self, what: &str, server: &Agentbus) {
        let Self { notes, jobs, receiver } = self;
        assert_eq!(dead_letters(server.url(), QUEUE).await.len(), 0, "jobs were given up");
        let wanted = seqs_of(&history(&server.http(), &format!("task={TASK}")).await);
        let delivered = eventually(PATIENCE, "the webhook has everything", async || {
            Some(seqs(&receiver.got())).filter(|got| got.len() >= wanted.len())
        })
        .await;
        assert_eq!(delivered, wanted, "the webhook");
        let again = receiver.got().len() - delivered.len();
        assert!(notes > 0 && jobs > 0 && !delivered.is_empty(), "{notes} {jobs}");
        eprintln!(
            "{what}: {notes} notes, each read once and in order; {jobs} jobs, each acknowledged once, dead letters 0; \
             webhook {} delivered, missing 0, {again} again",
            delivered.len()
        );
    }
}

/// Requests at one server after the other, until one answers with a status that is no 503.
struct Anywhere {
    servers: Vec<Http>,
    at: usize,
}

impl Anywhere {
    async fn ask(&mut self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        // Newer servers hand the trace on, older ones do not know it.
        let headers = [("content-type", "application/json"), ("traceparent", TRACE)];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "{method} {path} is not answered");
            let http = &self.servers[self.at % self.servers.len()];
            self.at += 1;
            match http.request(method.clone(), path, &headers, body.clone()).await {
                Ok(answer) if answer.bytes.is_empty() => return (answer.status, Value::Null),
                Ok(answer) if answer.status != 503 => return (answer.status, answer.json()),
                Ok(_) | Err(_) => sleep(RETRY).await,
            }
        }
    }
}

/// Posts a note to an agent, reads its inbox and acknowledges, again and again, each at the next server. Returns how many
/// notes there were.
async fn exchange(servers: Vec<String>, stop: CancellationToken) -> usize {
    let servers = servers.iter().map(|url| Http::new(url)).collect();
    let (mut anywhere, mut number) = (Anywhere { servers, at: 0 }, 0);
    while !stop.is_cancelled() {
        let content = format!("note {number}");
        let note = json!({
            "id": Uuid::now_v7(), "kind": "message", "type": "note", "sender_id": "ann", "recipient_id": "bob",
            "content": content,
        });
        let (status, posted) = anywhere.ask(Method::POST, "/v1/messages", &note).await;
        assert!(matches!(status, 200 | 201), "{status}: {posted}");
        let read = loop {
            let path = "/v1/agents/bob/inbox?wait=5";
            match anywhere.ask(Method::GET, path, &Value::Null).await {
                (200, page) => break page["messages"].as_array().expect("messages").clone(),
                (status, page) => assert_eq!(status, 204, "{page}"),
            }
        };
        let contents: Vec<&str> = read.iter().filter_map(|it| it["content"].as_str()).collect();
        assert_eq!(contents, [content], "bob reads what is not acknowledged");
        assert_eq!(read[0]["seq"], posted["seq"]);
        let through = json!({"through": posted["seq"]});
        let (status, acked) =
            anywhere.ask(Method::POST, "/v1/agents/bob/inbox/ack", &through).await;
        assert_eq!(status, 200, "{acked}");
        number += 1;
    }
    number
}

/// Enqueues jobs at one server, leases them at the next and acknowledges them at the first, again and again. Returns how
/// many were done.
async fn work(servers: Vec<String>, stop: CancellationToken) -> usize {
    let [mut boss, mut worker, mut acker] = [0, 1, 0].map(|at| Client::new(&servers, at));
    let mut done = HashSet::new();
    while !stop.is_cancelled() {
        let ids: Vec<Uuid> = (0..JOBS).map(|_| Uuid::now_v7()).collect();
        boss.enqueue(QUEUE, &ids).await;
        let mut open: HashSet<Uuid> = ids.into_iter().collect();
        let all = async {
            while !open.is_empty() {
                for job in worker.lease(QUEUE, JOBS, "w1").await {
                    assert!(!done.contains(&job.job_id), "{job:?} was done before");
                    let acked = acker.ack(&job.lease_token).await;
                    // Without an answer, the ack may have counted, or come after the end of the lease.
                    if acked.taken || acked.after_silence {
                        open.remove(&job.job_id);
                    }
                    if acked.taken {
                        done.insert(job.job_id);
                    }
                }
            }
        };
        let limit = PATIENCE + Duration::from_secs(LEASE_S);
        timeout(limit, all).await.expect("the jobs are done in time");
    }
    // An ack without an answer may have come after the end of its lease: then the job comes again.
    let (http, deadline) = (Http::new(&servers[0]), Instant::now() + PATIENCE);
    loop {
        let state = http.get(&format!("/v1/queues/{QUEUE}")).await.expect(200).json();
        let left = ["waiting", "leased", "delayed"].map(|name| state[name].as_u64());
        if left == [Some(0); 3] {
            break;
        }
        assert!(Instant::now() < deadline, "{state}");
        for job in worker.lease(QUEUE, JOBS, "w1").await {
            assert!(!done.contains(&job.job_id), "{job:?} was done before");
            acker.ack(&job.lease_token).await;
        }
    }
    done.len()
}
