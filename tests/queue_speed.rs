//! How fast jobs are put in, leased and acked over HTTP, by four clients in batches of 500. Run by hand, in a release build:
//!
//!     cargo test --release --test queue_speed -- --ignored --nocapture --test-threads=1

mod common;
mod leasing;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Deployment, Http, Mode};
use leasing::{Client, Uuid, acks_of, statuses};

const JOBS: usize = 100_000;
const CLIENTS: usize = 4;
const BATCH: usize = 500;
const LIMIT: Duration = Duration::from_secs(120);

async fn put_in(url: String) {
    let mut client = Client::new(&[url], 0);
    for _ in 0..JOBS / CLIENTS / BATCH {
        let ids: Vec<Uuid> = (0..BATCH).map(|_| Uuid::new_v4()).collect();
        client.enqueue("q", &ids).await;
    }
}

async fn work(url: String, done: Arc<AtomicUsize>) {
    let mut client = Client::new(std::slice::from_ref(&url), 0);
    let http = Http::new(&url);
    while done.load(Ordering::Relaxed) < JOBS {
        let jobs = client.lease("q", BATCH, "w").await;
        if jobs.is_empty() {
            continue;
        }
        let tokens: Vec<&str> = jobs.iter().map(|job| job.lease_token.as_str()).collect();
        let answer = http.post("/v1/leases/settle", "application/x-ndjson", acks_of(&tokens)).await;
        assert!(statuses(&answer.expect(200)).iter().all(|status| *status == 200));
        done.fetch_add(jobs.len(), Ordering::Relaxed);
    }
}

async fn measure(mode: Mode) {
    let deployment = Deployment::start(mode).await;
    let url = || deployment.bus().to_owned();
    let begun = Instant::now();
    let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(put_in(url()))).collect();
    for client in clients {
        client.await.expect("it ends well");
    }
    println!("{mode:?}: {:.0} jobs/s put in", JOBS as f64 / begun.elapsed().as_secs_f64());
    let (begun, done) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(work(url(), Arc::clone(&done)))).collect();
    for client in clients {
        common::within(LIMIT, "all are done", client).await.expect("it ends well");
    }
    let taken = begun.elapsed();
    let rate = JOBS as f64 / taken.as_secs_f64();
    println!("{mode:?}: {rate:.0} jobs/s leased and acked, {JOBS} in {taken:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: it takes the whole machine"]
async fn on_nats() {
    measure(Mode::Nats).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: it takes the whole machine"]
async fn on_sqlite() {
    measure(Mode::MemorySqlite).await;
}
