//! Workers through kills and stops: each job is done at least once, and each lease ends as its handler did.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use agentbus_client::{
    Client, DeadLetter, ErrorKind, Job, JobError, LeaseAction, LeaseOptions, NewJob, Outcome,
    Queue, QueueConfig, WorkReport,
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::{Far, LIMIT, Notices};
use crate::support::{Agentbus, eventually, times, within};

/// How often each job was run, by its number.
#[derive(Clone, Default)]
struct Runs(Arc<Mutex<BTreeMap<u64, u32>>>);

impl Runs {
    fn add(&self, job: &Job) {
        let number = job.payload_as().expect("a number");
        *self.0.lock().entry(number).or_default() += 1;
    }

    fn jobs(&self) -> usize {
        self.0.lock().len()
    }
}

async fn enqueue(client: &Client, queue: &str, count: u64) {
    let jobs: Vec<_> = (0..count).map(|n| NewJob::new("build", n.into())).collect();
    let outcomes = client.enqueue_many(queue, &jobs).await.expect("enqueued");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Accepted(_))));
}

async fn state(client: &Client, queue: &str) -> Queue {
    client.queue(queue).await.and_then(|queue| queue.parse()).expect("a queue")
}

/// A signal, and what waits for it.
fn signal() -> (oneshot::Sender<()>, impl Future<Output = ()>) {
    let (send, receive) = oneshot::channel::<()>();
    (send, async {
        let _ = receive.await;
    })
}

#[tokio::test]
async fn every_job_is_done_through_kills_of_the_server() {
    let far = Far::start().await;
    let (rounds, count) = (times(3, 20), 150);
    let config =
        QueueConfig { lease_s: Some(2.0), max_deliver: Some(100), ..QueueConfig::default() };
    far.client.set_queue("q", &config).await.expect("set");
    enqueue(&far.client, "q", count * rounds as u64).await;
    let (runs, (stop, stopped)) = (Runs::default(), signal());
    let (client, counted) = (far.client.clone(), runs.clone());
    let working = tokio::spawn(async move {
        let handler = move |job: Job| {
            counted.add(&job);
            std::future::ready(Ok(()))
        };
        client.worker("q").concurrency(4).name("w1").run(handler, stopped).await
    });
    let total = rounds * usize::try_from(count).expect("small");
    for round in 1..=rounds {
        let reached = || runs.jobs() >= total * round / (rounds + 1);
        eventually(LIMIT, "jobs are done", async || reached().then_some(())).await;
        far.server.kill9();
        far.server.restart().await;
        far.proxy.cut();
    }
    eventually(LIMIT, "the queue is empty", async || {
        let now = far.near().queue("q").await.ok()?.parse().ok()?;
        (now.waiting + now.leased + now.delayed == 0).then_some(())
    })
    .await;
    stop.send(()).expect("the worker runs");
    let report: WorkReport =
        within(LIMIT, "it stops", working).await.expect("no panic").expect("worked");
    assert_eq!(runs.jobs(), total);
    assert_eq!((report.failed, report.retried), (0, 0), "{report:?}");
    assert_eq!(state(&far.near(), "q").await.dead_letters, 0);
}

#[tokio::test]
async fn a_stop_lets_handlers_end_and_leases_nothing_more() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let client = Client::new(server.url()).expect("a client");
    enqueue(&client, "q", 3).await;
    let (begun, (stop, stopped)) = (Arc::new(Notify::new()), signal());
    let (finish, handler_begun) = (Arc::new(Notify::new()), begun.clone());
    let may_end = finish.clone();
    let worker = client.worker("q");
    let working = tokio::spawn(worker.run(
        move |_| {
            let (begun, may_end) = (handler_begun.clone(), may_end.clone());
            async move {
                begun.notify_one();
                may_end.notified().await;
                Ok(())
            }
        },
        stopped,
    ));
    within(LIMIT, "a job begins", begun.notified()).await;
    stop.send(()).expect("the worker runs");
    finish.notify_one();
    let report = within(LIMIT, "it stops", working).await.expect("no panic").expect("worked");
    assert_eq!(report, WorkReport { done: 1, ..WorkReport::default() });
    let left = state(&client, "q").await;
    assert_eq!((left.waiting, left.leased), (2, 0));
}

#[tokio::test]
async fn after_its_time_a_stop_gives_jobs_back() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let client = Client::new(server.url()).expect("a client");
    enqueue(&client, "q", 1).await;
    let (begun, (stop, stopped)) = (Arc::new(Notify::new()), signal());
    let handler_begun = begun.clone();
    let worker = client.worker("q").concurrency(2).stop_within(Duration::from_millis(50));
    let working = tokio::spawn(worker.run(
        move |_| {
            handler_begun.notify_one();
            pending::<Result<(), JobError>>()
        },
        stopped,
    ));
    within(LIMIT, "a job begins", begun.notified()).await;
    stop.send(()).expect("the worker runs");
    let report = within(LIMIT, "it stops", working).await.expect("no panic").expect("worked");
    assert_eq!(report, WorkReport { retried: 1, ..WorkReport::default() });
    let jobs = client.lease("q", 1, LIMIT, None).await.expect("leased");
    assert_eq!(jobs[0].parse().expect("a job").attempt, 2, "it is there at once");
}

#[tokio::test]
async fn a_lost_lease_drops_the_handler() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let notices = Notices::default();
    let client = notices.clone().of(Client::new(server.url()).expect("a client"));
    let config = QueueConfig { lease_s: Some(1.0), ..QueueConfig::default() };
    client.set_queue("q", &config).await.expect("set");
    enqueue(&client, "q", 1).await;
    let (tokens, (stop, stopped)) = (Arc::new(Mutex::new(Vec::new())), signal());
    let begun = tokens.clone();
    let handler = move |job: Job| {
        begun.lock().push(job.lease_token);
        pending::<Result<(), JobError>>()
    };
    let working = tokio::spawn(client.worker("q").run(handler, stopped));
    let token = eventually(LIMIT, "a job begins", async || tokens.lock().first().cloned()).await;
    client.settle(&token, LeaseAction::Fail, &LeaseOptions::default()).await.expect("ended");
    let lost = || notices.count("lease was lost") > 0;
    eventually(LIMIT, "the loss is noticed", async || lost().then_some(())).await;
    stop.send(()).expect("the worker runs");
    let report = within(LIMIT, "it stops", working).await.expect("no panic").expect("worked");
    assert_eq!(report, WorkReport { lost: 1, ..WorkReport::default() });
}

#[tokio::test]
async fn a_panic_is_an_error_of_the_job_and_not_of_the_worker() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let client = Client::new(server.url()).expect("a client");
    let config = QueueConfig { max_deliver: Some(1), ..QueueConfig::default() };
    client.set_queue("q", &config).await.expect("set");
    enqueue(&client, "q", 2).await;
    let (stop, stopped) = signal();
    let handler = |job: Job| async move {
        assert_ne!(job.payload_as::<u64>()?, 0, "a panic that this test wants");
        Ok(())
    };
    let working = tokio::spawn(client.worker("q").run(handler, stopped));
    let letter = eventually(LIMIT, "a dead letter", async || {
        client.dead_letters(Vec::new(), None).next().await.ok().flatten()
    })
    .await;
    let DeadLetter { attempts, .. } = letter.parse().expect("a letter");
    assert!(attempts[0].error.contains("panicked"), "{attempts:?}");
    eventually(LIMIT, "the other job is done", async || {
        let now = state(&client, "q").await;
        (now.waiting + now.leased == 0).then_some(())
    })
    .await;
    stop.send(()).expect("the worker runs");
    let report = within(LIMIT, "it stops", working).await.expect("no panic").expect("worked");
    assert_eq!((report.done, report.retried), (1, 1));
}

#[tokio::test]
async fn a_worker_without_a_server_or_a_grant_ends_with_the_reason() {
    let nowhere = Client::new("http://127.0.0.1:9").expect("a client").retry_for(Duration::ZERO);
    let handler = |_: Job| std::future::ready(Ok(()));
    let error = nowhere.worker("q").run(handler, pending()).await.expect_err("no server");
    assert_eq!(error.kind(), ErrorKind::Connection);
    let server = Agentbus::builder().memory_sqlite().start().await;
    let client = Client::new(server.url()).expect("a client");
    let began = Instant::now();
    let refused = client.worker("a b").run(handler, pending()).await.expect_err("refused");
    assert!(matches!(refused.kind(), ErrorKind::Invalid | ErrorKind::NotFound), "{refused:?}");
    assert!(began.elapsed() < LIMIT);
    let bad: Result<Value, _> = client
        .queue("a b")
        .await
        .and_then(|queue| serde_json::from_slice(queue.json()).map_err(|_| refused));
    assert!(bad.is_err());
}
