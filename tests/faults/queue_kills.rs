//! Work queues while servers are killed with SIGKILL and workers disappear with their leases: every lease and
//! every response is recorded, and afterwards compared with the promises.
//!
//! The usual run is of 20,000 jobs and 16 kills; a long run of 200,000 and 160.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::failover::{self, Answered, Client, Job, Uuid};
use crate::support::times;
use crate::support::{Agentbus, Deployment, Mode, eventually};
use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::task::JoinHandle;

const QUEUE: &str = "work";
const WORKERS: usize = 16;
/// The most jobs that one request leases: enough that some requests get many, few enough that there are many
/// requests.
const MAX: usize = 50;
/// How many jobs of a lease request are acked one by one; the others are settled in one request.
const SINGLY: usize = 5;
const LEASE_S: f64 = 2.0;
const MAX_DELIVER: u32 = 3;
/// One lease in this many is dropped, as by a killed worker.
const DROPPED: usize = 6;
/// One lease in this many is acked only after it has expired.
const LATE: usize = 40;
/// How long after the expiry such a late worker acks.
const OVERTIME: Duration = Duration::from_millis(50);
/// Time limit for the next sweep of exhausted jobs, on a busy machine.
const SWEPT: Duration = Duration::from_secs(20);
/// Time limit for all jobs, on a busy machine.
const LIMIT: Duration = Duration::from_secs(600);
/// By how much a lease may seem to begin before the previous one ended. Both sides read the same clock, but
/// NTP may set it back a little between the two reads.
const STEP: chrono::Duration = chrono::Duration::milliseconds(5);

/// How a worker ended a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The worker sent nothing.
    Dropped,
    /// Its ack was accepted.
    Done,
    /// Its ack was refused: the lease had ended.
    Lost,
    /// Its first ack got no response; a later one was refused, since the lease had ended.
    Unknown,
}

/// One lease as its worker saw it.
#[derive(Clone, Debug)]
struct Lease {
    job: Uuid,
    attempt: u32,
    worker: usize,
    /// When the response to the lease request had come.
    begun: DateTime<Utc>,
    expires: DateTime<Utc>,
    /// When the work was done, before the first ack was sent.
    through: Option<DateTime<Utc>>,
    /// When the last response to an ack had come.
    answered: DateTime<Utc>,
    /// Whether an ack got no response.
    unanswered: bool,
    end: End,
}

/// What the workers and the test share.
struct Shared {
    servers: Vec<String>,
    stop: AtomicBool,
    done: AtomicUsize,
    leases: AtomicUsize,
}

/// Enqueues every job, repeats a request without a response, and returns the ids.
async fn enqueue(shared: Arc<Shared>, count: usize) -> Vec<Uuid> {
    let ids: Vec<Uuid> = (0..count).map(|_| Uuid::new_v4()).collect();
    let mut client = Client::new(&shared.servers, 0);
    for ids in ids.chunks(500) {
        client.enqueue(QUEUE, ids).await;
    }
    ids
}

/// Leases, works and settles until the test ends; returns every lease.
async fn work(shared: Arc<Shared>, worker: usize) -> Vec<Lease> {
    let mut client = Client::new(&shared.servers, worker);
    let mut all = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let jobs = client.lease(QUEUE, MAX, &format!("w{worker}")).await;
        if jobs.is_empty() {
            continue;
        }
        let begun = Utc::now();
        let number = shared.leases.fetch_add(1, Ordering::Relaxed);
        let lease = |job: &Job| Lease {
            job: job.job_id,
            attempt: job.attempt,
            worker,
            begun,
            expires: job.lease_expires_at,
            through: None,
            answered: begun,
            unanswered: false,
            end: End::Dropped,
        };
        let mut batch: Vec<Lease> = jobs.iter().map(lease).collect();
        if number % DROPPED == DROPPED - 1 {
            all.extend(batch);
            continue;
        }
        if number % LATE == LATE - 1 {
            let over = batch.iter().map(|lease| lease.expires).max().expect("a job");
            // This worker takes longer than its lease lasts.
            tokio::time::sleep((over - Utc::now()).to_std().unwrap_or_default() + OVERTIME).await;
        }
        let (one, many) = jobs.split_at(SINGLY.min(jobs.len()));
        let (leases_one, leases_many) = batch.split_at_mut(one.len());
        for (job, lease) in one.iter().zip(leases_one) {
            lease.through = Some(Utc::now());
            note(&shared, lease, client.ack(&job.lease_token).await);
        }
        let through = Utc::now();
        let tokens: Vec<&str> = many.iter().map(|job| job.lease_token.as_str()).collect();
        for (lease, answered) in leases_many.iter_mut().zip(client.settle(&tokens).await) {
            lease.through = Some(through);
            note(&shared, lease, answered);
        }
        all.extend(batch);
    }
    all
}

fn note(shared: &Shared, lease: &mut Lease, answered: Answered) {
    lease.answered = Utc::now();
    lease.unanswered = answered.after_silence;
    lease.end = match answered {
        Answered { taken: true, .. } => End::Done,
        Answered { after_silence: true, .. } => End::Unknown,
        Answered { .. } => End::Lost,
    };
    if lease.end != End::Lost {
        shared.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Fails the test unless each lease of a job began after the ones before it were over, and no lease began
/// after an accepted ack.
fn one_at_a_time(id: Uuid, leases: &[&Lease]) {
    let taken = leases.iter().filter(|lease| lease.end == End::Done).count();
    assert!(taken <= 1, "{id} was acknowledged {taken} times: {leases:#?}");
    let attempts = leases.iter().all(|lease| (1..=MAX_DELIVER).contains(&lease.attempt));
    assert!(attempts, "{id} was leased too often: {leases:#?}");
    for pair in leases.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        assert!(before.attempt < after.attempt, "{id}: one attempt was leased twice: {leases:#?}");
        // The later lease began after the earlier one had expired. No worker returns a job, so only
        // expiry explains a repeat.
        assert!(
            after.begun + STEP >= before.expires,
            "{id} was leased twice at a time: {leases:#?}"
        );
        assert_ne!(before.end, End::Done, "{id} was leased after it was done: {leases:#?}");
    }
    for lease in leases.iter().filter(|lease| lease.end == End::Lost) {
        assert!(lease.answered >= lease.expires, "{id} was refused before its end: {lease:#?}");
    }
}

/// Whether the job may have been acked within its lease although no response came.
fn is_silent(lease: &Lease) -> bool {
    lease.end == End::Unknown && lease.through.is_some_and(|through| through < lease.expires)
}

/// Compares what workers recorded with the promises, and prints the figures.
async fn check(what: &str, jobs: &[Uuid], all: &[Lease], server: &str) {
    let mut by_job: HashMap<Uuid, Vec<&Lease>> = HashMap::new();
    for lease in all {
        by_job.entry(lease.job).or_default().push(lease);
    }
    for (id, leases) in &mut by_job {
        leases.sort_by_key(|lease| lease.begun);
        one_at_a_time(*id, leases);
    }
    // The queue is empty once nothing more can be leased. A job whose attempts were used up while a
    // server was killed becomes a dead letter at the next sweep.
    let open = |id: &Uuid| {
        let leases = by_job.get(id).map_or(&[][..], Vec::as_slice);
        !leases.iter().any(|lease| lease.end == End::Done || is_silent(lease))
    };
    let unsettled: Vec<Uuid> = jobs.iter().copied().filter(open).collect();
    let letters = eventually(SWEPT, "what was not acknowledged is a dead letter", async || {
        let letters = failover::dead_letters(server, QUEUE).await;
        unsettled.iter().all(|id| letters.contains_key(id)).then_some(letters)
    })
    .await;
    let (mut done, mut dead, mut unknown, mut repeats, mut passed_on) = (0, 0, 0, 0, 0);
    for id in jobs {
        let leases = by_job.remove(id).unwrap_or_default();
        let taken = leases.iter().any(|lease| lease.end == End::Done);
        let silent = leases.iter().any(|lease| is_silent(lease));
        let worked = leases.iter().filter(|lease| lease.through.is_some()).count();
        repeats += usize::from(worked > 1);
        passed_on += usize::from(leases.windows(2).any(|pair| pair[0].worker != pair[1].worker));
        match (taken, letters.get(id)) {
            (true, None) => done += 1,
            (true, Some(_)) => panic!("{id} was acknowledged, and is a dead letter: {leases:#?}"),
            (false, Some(&attempts)) => {
                assert_eq!(attempts, MAX_DELIVER, "{id} died early: {leases:#?}");
                dead += 1;
            }
            (false, None) => {
                assert!(silent, "{id} is lost: {leases:#?}");
                unknown += 1;
            }
        }
    }
    assert!(by_job.is_empty(), "leased, and never put in: {by_job:#?}");
    assert!(letters.keys().all(|id| jobs.contains(id)), "dead letters of no job");
    let ended = |end| all.iter().filter(|lease| lease.end == end).count();
    eprintln!(
        "{what}: {} jobs, lost 0, leased twice at a time 0; {done} acknowledged once, {unknown} done with the answer lost, \
         {dead} dead letters after {MAX_DELIVER} attempts; {} leases ({} dropped, {} acked too late, {} acks \
         without answer); {passed_on} jobs went to another worker, {repeats} were worked on twice, each after its \
         lease ran out",
        jobs.len(),
        all.len(),
        ended(End::Dropped),
        ended(End::Lost),
        all.iter().filter(|lease| lease.unanswered).count(),
    );
}

async fn under_kills(what: &str, servers: &[&Agentbus]) {
    let (count, kills) = (times(20_000, 200_000), times(16, 160));
    let rules = json!({"lease_s": LEASE_S, "max_deliver": MAX_DELIVER, "backoff_s": [0]});
    let answer = servers[0].http().put_json(&format!("/v1/queues/{QUEUE}"), &rules).await;
    answer.expect(201);
    let shared = Arc::new(Shared {
        servers: servers.iter().map(|server| server.url().to_owned()).collect(),
        stop: AtomicBool::new(false),
        done: AtomicUsize::new(0),
        leases: AtomicUsize::new(0),
    });
    let begun = Instant::now();
    let enqueuing = tokio::spawn(enqueue(Arc::clone(&shared), count));
    let workers: Vec<JoinHandle<Vec<Lease>>> =
        (0..WORKERS).map(|worker| tokio::spawn(work(Arc::clone(&shared), worker))).collect();
    for kill in 0..kills {
        // The kills are spread over nine tenths of the jobs, since a job that becomes a dead letter
        // is never done.
        let enough = count * 9 * (kill + 1) / (10 * kills);
        eventually(LIMIT, "jobs are done", async || {
            (shared.done.load(Ordering::Relaxed) >= enough).then_some(())
        })
        .await;
        let server = servers[kill % servers.len()];
        server.kill9();
        server.restart().await;
    }
    let jobs = enqueuing.await.expect("all are put in");
    let http = servers[0].http();
    eventually(LIMIT, "the queue is empty", async || {
        let path = format!("/v1/queues/{QUEUE}");
        let state = http.get(&path).await.expect(200).json();
        let left = ["waiting", "leased", "delayed"].map(|name| state[name].as_u64());
        (left == [Some(0); 3]).then_some(())
    })
    .await;
    shared.stop.store(true, Ordering::Relaxed);
    let mut leases = Vec::new();
    for worker in workers {
        leases.extend(worker.await.expect("a worker ends well"));
    }
    check(what, &jobs, &leases, servers[0].url()).await;
    eprintln!("{what}: {kills} kills, {:.1?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_with_its_server_killed() {
    let deployment = Deployment::start(Mode::MemorySqlite).await;
    under_kills("queues on SQLite", &[deployment.agentbus()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_nats_with_two_servers_killed_in_turn() {
    let deployment = Deployment::start(Mode::Nats).await;
    let second = deployment.second_server().await;
    under_kills("queues on NATS", &[deployment.agentbus(), &second]).await;
}
