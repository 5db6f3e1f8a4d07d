//! Processing with a handler that does nothing, and work queues in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::error::SuiteError;
use super::row::{Bound, Row};
use super::testbed::{Testbed, WAIT_TIMEOUT, wait_for};
use crate::bare::nats::{BareReader, BareStream};
use agentbus::app;
use agentbus::config::{Config, Source};
use agentbus::processor::handler::{Delivery, Handler, Outcome};
use agentbus_bench::address::Address;
use agentbus_bench::client::{Connection, describe};
use agentbus_bench::server::Server;
use agentbus_message::SubjectPattern;

/// Number of processed messages.
const MESSAGES: usize = 500_000;
/// `PROCESSOR_CONCURRENCY`: messages in flight.
const CONCURRENCY: &str = "512";
/// The project's target: processed messages a second.
const TARGET_PROCESSED: f64 = 100_000.0;
/// Number of jobs.
const JOBS: usize = 100_000;
/// Number of concurrent clients.
const CLIENTS: usize = 4;
/// Jobs per request.
const BATCH: usize = 500;
/// The project's target: jobs leased and acknowledged a second.
const TARGET_LEASED: f64 = 10_000.0;

struct Count {
    subjects: SubjectPattern,
    seen: Arc<AtomicUsize>,
}

#[async_trait]
impl Handler for Count {
    fn name(&self) -> &'static str {
        "count"
    }

    fn subjects(&self) -> &SubjectPattern {
        &self.subjects
    }

    async fn handle(&self, _: Delivery<'_>) -> Outcome {
        self.seen.fetch_add(1, Ordering::Relaxed);
        Outcome::Done
    }
}

/// Runs the handler in this process; the server is idle meanwhile.
pub(super) async fn processing(testbed: &Testbed) -> Result<Vec<Row>, SuiteError> {
    let nats = testbed.nats()?;
    let (server, _database) = testbed.on_nats(&nats, &[]).await?;
    let wanted = testbed.count(MESSAGES);
    let all = usize::try_from(testbed.fill(server.address(), wanted, 1).await?).unwrap_or(wanted);
    let mut env = server.env();
    env.push(("PROCESSOR_CONCURRENCY".to_owned(), CONCURRENCY.to_owned()));
    let env: Vec<(&str, &str)> = env.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let config = Config::from_source(&Source::of(&env));
    let config = config.map_err(|errors| SuiteError::Failed(errors.join("; ")))?;
    let seen = Arc::new(AtomicUsize::new(0));
    let subjects = "agent.>".parse::<SubjectPattern>();
    let subjects = subjects.map_err(|why| SuiteError::Failed(why.to_owned()))?;
    let handler = Arc::new(Count { subjects, seen: Arc::clone(&seen) });
    let stop = CancellationToken::new();
    let handled = || seen.load(Ordering::Relaxed);
    let timed = async {
        let rate = async {
            wait_for(|| handled() > 0, "processing").await?;
            let (started, first) = (Instant::now(), handled());
            wait_for(|| handled() >= all, "processing").await?;
            Ok((handled() - first) as f64 / started.elapsed().as_secs_f64())
        };
        let rate: Result<f64, SuiteError> = rate.await;
        stop.cancel();
        rate
    };
    let (worked, rate) = tokio::join!(app::work(config, vec![handler], stop.clone()), timed);
    worked.map_err(SuiteError::Failed)?;
    let rate = rate?;
    let stream = BareStream::open(&nats, &message_stream(&server)?).await?;
    let unacknowledged = read_all(stream.reader().await?, all).await?;
    let bare = read_all(stream.acknowledging_reader().await?, all).await?;
    server.stop().await;
    Ok(vec![
        Row::new("no-op handler, durable consumer", "messages/s", rate)
            .compared_with(bare)
            .target(Bound::AtLeast(TARGET_PROCESSED))
            .note(format!(
                "{all} messages, {CONCURRENCY} in flight; bare: a durable consumer that acknowledges each, \
                 {unacknowledged:.0}/s without acks"
            )),
    ])
}

/// The name of a server's message stream.
fn message_stream(server: &Server) -> Result<String, SuiteError> {
    let mut env = server.env().into_iter();
    let name = env.find(|(name, _)| name == "NATS_STREAM_NAME");
    name.map(|(_, value)| value).ok_or(SuiteError::NotGiven("NATS_STREAM_NAME"))
}

/// Reads messages with a bare consumer; returns messages a second.
async fn read_all(mut reader: BareReader, all: usize) -> Result<f64, SuiteError> {
    let (started, mut read) = (Instant::now(), 0);
    while read < all {
        read += reader.next().await?.len();
    }
    Ok(read as f64 / started.elapsed().as_secs_f64())
}

#[derive(Deserialize)]
struct Leased {
    jobs: Vec<Job>,
}

#[derive(Deserialize)]
struct Job {
    lease_token: String,
}

pub(super) async fn jobs(testbed: &Testbed) -> Result<Vec<Row>, SuiteError> {
    let (server, _database) = testbed.on_nats(&testbed.nats()?, &[]).await?;
    let (put, taken) = job_rates(testbed, &server).await?;
    server.stop().await;
    let server = testbed.on_sqlite(&[]).await?;
    let (put_sqlite, taken_sqlite) = job_rates(testbed, &server).await?;
    server.stop().await;
    let note = format!("{CLIENTS} clients, {BATCH} at a time");
    let row = |what: &str, rate| Row::new(what, "jobs/s", rate).note(note.clone());
    Ok(vec![
        row("jobs put in", put),
        row("jobs leased and acked", taken).target(Bound::AtLeast(TARGET_LEASED)),
        row("jobs put in, SQLite", put_sqlite),
        row("jobs leased and acked, SQLite", taken_sqlite),
    ])
}

/// Jobs enqueued a second, and jobs leased and acknowledged a second.
async fn job_rates(testbed: &Testbed, server: &Server) -> Result<(f64, f64), SuiteError> {
    let (jobs, address) = (testbed.count(JOBS), server.address());
    let started = Instant::now();
    run_all((0..CLIENTS).map(|_| enqueue(address.clone(), jobs / CLIENTS))).await?;
    let put = jobs as f64 / started.elapsed().as_secs_f64();
    let (started, done) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    run_all((0..CLIENTS).map(|_| lease_and_ack(address.clone(), Arc::clone(&done), jobs))).await?;
    Ok((put, jobs as f64 / started.elapsed().as_secs_f64()))
}

/// Runs the clients concurrently, each in a task.
async fn run_all<F>(clients: impl Iterator<Item = F>) -> Result<(), SuiteError>
where
    F: Future<Output = Result<(), SuiteError>> + Send + 'static,
{
    let mut tasks: JoinSet<_> = clients.collect();
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| SuiteError::Failed(format!("a client failed: {error}")))??;
    }
    Ok(())
}

async fn enqueue(address: Address, jobs: usize) -> Result<(), SuiteError> {
    let mut connection = Connection::open(&address).await?;
    let body = "{\"type\":\"work\",\"payload\":{}}\n".repeat(BATCH);
    let path = "/v1/queues/bench/jobs/batch";
    for _ in 0..jobs.div_ceil(BATCH) {
        let response = post(&mut connection, &address, path, "application/x-ndjson", &body).await?;
        let start = format!("{{\"accepted\":{BATCH},");
        if !response.starts_with(start.as_bytes()) {
            return Err(SuiteError::Failed("not every job was accepted".to_owned()));
        }
    }
    Ok(())
}

async fn lease_and_ack(
    address: Address,
    done: Arc<AtomicUsize>,
    jobs: usize,
) -> Result<(), SuiteError> {
    let mut connection = Connection::open(&address).await?;
    let lease = format!("{{\"max\":{BATCH},\"wait_s\":1,\"worker\":\"bench\"}}");
    let started = Instant::now();
    while done.load(Ordering::Relaxed) < jobs {
        if started.elapsed() > WAIT_TIMEOUT {
            return Err(SuiteError::Failed(format!("jobs are left after {WAIT_TIMEOUT:?}")));
        }
        let path = "/v1/queues/bench/lease";
        let response = post(&mut connection, &address, path, "application/json", &lease).await?;
        if response.is_empty() {
            continue;
        }
        let leased: Leased = serde_json::from_slice(&response)
            .map_err(|error| SuiteError::Failed(error.to_string()))?;
        let ack =
            |job: &Job| format!("{{\"lease_token\":\"{}\",\"action\":\"ack\"}}\n", job.lease_token);
        let acks: String = leased.jobs.iter().map(ack).collect();
        let path = "/v1/leases/settle";
        let response = post(&mut connection, &address, path, "application/x-ndjson", &acks).await?;
        let start = format!("{{\"accepted\":{},", leased.jobs.len());
        if !response.starts_with(start.as_bytes()) {
            return Err(SuiteError::Failed("not every job was acked".to_owned()));
        }
        done.fetch_add(leased.jobs.len(), Ordering::Relaxed);
    }
    Ok(())
}

/// Sends a POST; returns the body of the response.
///
/// # Errors
/// The status is not 200, 201 or 204.
async fn post(
    connection: &mut Connection,
    address: &Address,
    path: &str,
    content_type: &str,
    body: &str,
) -> Result<Vec<u8>, SuiteError> {
    let head = address.head("POST", path);
    let length = body.len();
    let request =
        format!("{head}Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}");
    let response = connection.send(request.as_bytes()).await?;
    match response.status {
        200 | 201 | 204 => Ok(response.body.to_vec()),
        status => {
            let response = describe(status, response.body);
            Err(SuiteError::Failed(format!("{path}: {response}")))
        }
    }
}
