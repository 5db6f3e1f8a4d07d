//! Work queues while servers are killed with SIGKILL and workers vanish with what they hold: every lease and every
//! answer is recorded, and afterwards held against what is promised.
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
/// Jobs of one lease: some leases are large, and there are many.
const MAX: usize = 50;
/// Jobs of a lease that are acked one by one; the others are settled in one request.
const SINGLY: usize = 5;
const LEASE_S: f64 = 2.0;
const MAX_DELIVER: u32 = 3;
/// Of so many leases one is dropped, its worker being "killed".
const DROPPED: usize = 6;
/// Of so many leases one is held until it has run out, and acked then.
const LATE: usize = 40;
/// How long after its lease's end such a worker acks.
const OVERTIME: Duration = Duration::from_millis(50);
/// Within which a sweep has come by, on a machine that does all of this at once.
const SWEPT: Duration = Duration::from_secs(20);
/// For all jobs, on a machine that is busy with other servers.
const LIMIT: Duration = Duration::from_secs(600);
/// By how much a lease may seem to begin before another's end. One machine has one clock, but it is no steady one: what
/// steers it may set it back a little between the server's look and ours.
const STEP: chrono::Duration = chrono::Duration::milliseconds(5);

/// How a worker ended a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It never said anything.
    Dropped,
    /// It was told that its ack is taken.
    Done,
    /// It was told that the lease is over.
    Lost,
    /// The answer to its first ack never came; a later one was told that the lease is over.
    Unknown,
}

/// One lease as its worker saw it.
#[derive(Clone, Debug)]
struct Held {
    job: Uuid,
    attempt: u32,
    worker: usize,
    /// When the answer had come.
    begun: DateTime<Utc>,
    expires: DateTime<Utc>,
    /// When its worker was through with it: before its first ack was sent.
    through: Option<DateTime<Utc>>,
    /// When the last answer to its acks had come.
    told: DateTime<Utc>,
    /// Whether an ack got no answer.
    unanswered: bool,
    end: End,
}

/// What is shared by workers and the one who kills.
struct Shared {
    servers: Vec<String>,
    stop: AtomicBool,
    done: AtomicUsize,
    leases: AtomicUsize,
}

/// Puts every job in, again where no answer came; gives what is acknowledged.
async fn enqueue(shared: Arc<Shared>, count: usize) -> Vec<Uuid> {
    let ids: Vec<Uuid> = (0..count).map(|_| Uuid::new_v4()).collect();
    let mut client = Client::new(&shared.servers, 0);
    for ids in ids.chunks(500) {
        client.enqueue(QUEUE, ids).await;
    }
    ids
}

/// Leases, works and settles until told to stop; gives every lease that it had.
async fn work(shared: Arc<Shared>, worker: usize) -> Vec<Held> {
    let mut client = Client::new(&shared.servers, worker);
    let mut all = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let jobs = client.lease(QUEUE, MAX, &format!("w{worker}")).await;
        if jobs.is_empty() {
            continue;
        }
        let begun = Utc::now();
        let number = shared.leases.fetch_add(1, Ordering::Relaxed);
        let held = |job: &Job| Held {
            job: job.job_id,
            attempt: job.attempt,
            worker,
            begun,
            expires: job.lease_expires_at,
            through: None,
            told: begun,
            unanswered: false,
            end: End::Dropped,
        };
        let mut batch: Vec<Held> = jobs.iter().map(held).collect();
        if number % DROPPED == DROPPED - 1 {
            all.extend(batch);
            continue;
        }
        if number % LATE == LATE - 1 {
            let over = batch.iter().map(|held| held.expires).max().expect("a job");
            // Its work takes longer than its lease.
            tokio::time::sleep((over - Utc::now()).to_std().unwrap_or_default() + OVERTIME).await;
        }
        let (one, many) = jobs.split_at(SINGLY.min(jobs.len()));
        let (held_one, held_many) = batch.split_at_mut(one.len());
        for (job, held) in one.iter().zip(held_one) {
            held.through = Some(Utc::now());
            note(&shared, held, client.ack(&job.lease_token).await);
        }
        let through = Utc::now();
        let tokens: Vec<&str> = many.iter().map(|job| job.lease_token.as_str()).collect();
        for (held, answered) in held_many.iter_mut().zip(client.settle(&tokens).await) {
            held.through = Some(through);
            note(&shared, held, answered);
        }
        all.extend(batch);
    }
    all
}

fn note(shared: &Shared, held: &mut Held, answered: Answered) {
    held.told = Utc::now();
    held.unanswered = answered.after_silence;
    held.end = match answered {
        Answered { taken: true, .. } => End::Done,
        Answered { after_silence: true, .. } => End::Unknown,
        Answered { .. } => End::Lost,
    };
    if held.end != End::Lost {
        shared.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Fails the test unless each lease of a job began when those before it were over, and none after an ack was taken.
fn one_at_a_time(id: Uuid, leases: &[&Held]) {
    let taken = leases.iter().filter(|held| held.end == End::Done).count();
    assert!(taken <= 1, "{id} was acknowledged {taken} times: {leases:#?}");
    let attempts = leases.iter().all(|held| (1..=MAX_DELIVER).contains(&held.attempt));
    assert!(attempts, "{id} was leased too often: {leases:#?}");
    for pair in leases.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        assert!(before.attempt < after.attempt, "{id}: one attempt was leased twice: {leases:#?}");
        // The later lease began when the earlier had run out, whatever the earlier worker did: none said that it
        // gives the job back, so a lease that ran out explains each repeat.
        assert!(after.begun + STEP >= before.expires, "{id} was held by two: {leases:#?}");
        assert_ne!(before.end, End::Done, "{id} was leased after it was done: {leases:#?}");
    }
    for held in leases.iter().filter(|held| held.end == End::Lost) {
        assert!(held.told >= held.expires, "{id} was said to be lost before its end: {held:#?}");
    }
}

/// Whether the job may have been acknowledged inside its lease by an answer that was lost.
fn is_silent(held: &Held) -> bool {
    held.end == End::Unknown && held.through.is_some_and(|through| through < held.expires)
}

/// Holds what workers saw against what is promised, and tells the figures.
async fn hold(what: &str, jobs: &[Uuid], held: &[Held], server: &str) {
    let mut by_job: HashMap<Uuid, Vec<&Held>> = HashMap::new();
    for held in held {
        by_job.entry(held.job).or_default().push(held);
    }
    for (id, leases) in &mut by_job {
        leases.sort_by_key(|held| held.begun);
        one_at_a_time(*id, leases);
    }
    // A queue is empty when nothing can be leased any more; what has used up its attempts while a server died is buried
    // by a sweep a little later.
    let open = |id: &Uuid| {
        let leases = by_job.get(id).map_or(&[][..], Vec::as_slice);
        !leases.iter().any(|held| held.end == End::Done || is_silent(held))
    };
    let unsettled: Vec<Uuid> = jobs.iter().copied().filter(open).collect();
    let letters = eventually(SWEPT, "what nobody acknowledged is a dead letter", async || {
        let letters = failover::dead_letters(server, QUEUE).await;
        unsettled.iter().all(|id| letters.contains_key(id)).then_some(letters)
    })
    .await;
    let (mut done, mut dead, mut unknown, mut repeats, mut passed_on) = (0, 0, 0, 0, 0);
    for id in jobs {
        let leases = by_job.remove(id).unwrap_or_default();
        let taken = leases.iter().any(|held| held.end == End::Done);
        let silent = leases.iter().any(|held| is_silent(held));
        let worked = leases.iter().filter(|held| held.through.is_some()).count();
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
    let ended = |end| held.iter().filter(|held| held.end == end).count();
    eprintln!(
        "{what}: {} jobs, lost 0, held by two 0; {done} acknowledged once, {unknown} done with the answer lost, \
         {dead} dead letters after {MAX_DELIVER} attempts; {} leases ({} dropped, {} acked too late, {} acks \
         without answer); {passed_on} jobs went to another worker, {repeats} were worked on twice, each after its \
         lease ran out",
        jobs.len(),
        held.len(),
        ended(End::Dropped),
        ended(End::Lost),
        held.iter().filter(|held| held.unanswered).count(),
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
    let workers: Vec<JoinHandle<Vec<Held>>> =
        (0..WORKERS).map(|worker| tokio::spawn(work(Arc::clone(&shared), worker))).collect();
    for kill in 0..kills {
        // Spread over nine tenths: what dies in its last attempts is never done.
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
    let mut held = Vec::new();
    for worker in workers {
        held.extend(worker.await.expect("a worker ends well"));
    }
    hold(what, &jobs, &held, servers[0].url()).await;
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
