//! Processing and work queues: a handler that does nothing, and jobs in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::error::SuiteError;
use super::row::{Bound, Row};
use super::stage::Stage;
use crate::bare::nats::{BareReader, BareStream};
use agentbus::app;
use agentbus::config::{Config, Source};
use agentbus::processor::handler::{Delivery, Handler, Outcome};
use agentbus_bench::address::Address;
use agentbus_bench::client::Connection;
use agentbus_bench::server::Server;
use agentbus_message::SubjectPattern;

/// Messages that are processed; messages processed at once.
const MESSAGES: usize = 500_000;
const CONCURRENCY: &str = "512";
const HANDLED: f64 = 100_000.0;
/// Jobs, by how many clients, in which batches.
const JOBS: usize = 100_000;
const CLIENTS: usize = 4;
const BATCH: usize = 500;
const LEASED: f64 = 10_000.0;
/// Longest that either is waited for.
const PATIENCE: Duration = Duration::from_secs(180);
/// Pause between looks.
const LOOK: Duration = Duration::from_millis(5);

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

/// The handler runs in this process, beside a server that has done all its own work.
pub(super) async fn processing(stage: &Stage) -> Result<Vec<Row>, SuiteError> {
    let nats = stage.nats()?;
    let (server, _database) = stage.on_nats(&nats, &[]).await?;
    let wanted = stage.count(MESSAGES);
    let all = usize::try_from(stage.fill(server.address(), wanted, 1).await?).unwrap_or(wanted);
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
            until(|| handled() > 0).await?;
            let (begun, first) = (Instant::now(), handled());
            until(|| handled() >= all).await?;
            Ok((handled() - first) as f64 / begun.elapsed().as_secs_f64())
        };
        let rate: Result<f64, SuiteError> = rate.await;
        stop.cancel();
        rate
    };
    let (worked, rate) = tokio::join!(app::work(config, vec![handler], stop.clone()), timed);
    worked.map_err(SuiteError::Failed)?;
    let rate = rate?;
    let stream = BareStream::of(&nats, &stream_of(&server)?).await?;
    let unacknowledged = read_all(stream.reader().await?, all).await?;
    let bare = read_all(stream.acknowledging_reader().await?, all).await?;
    server.stop().await;
    Ok(vec![
        Row::new("no-op handler, durable consumer", "messages/s", rate)
            .beside(bare)
            .reach(Bound::AtLeast(HANDLED))
            .note(format!(
                "{all} messages, {CONCURRENCY} at once; beside a bare durable consumer that acknowledges each, \
                 which without acks reads {unacknowledged:.0}/s"
            )),
    ])
}

/// The stream of a server's messages.
fn stream_of(server: &Server) -> Result<String, SuiteError> {
    let mut env = server.env().into_iter();
    let name = env.find(|(name, _)| name == "NATS_STREAM_NAME");
    name.map(|(_, value)| value).ok_or(SuiteError::Lacks("NATS_STREAM_NAME"))
}

/// Messages a second that a bare consumer reads.
async fn read_all(mut reader: BareReader, all: usize) -> Result<f64, SuiteError> {
    let (begun, mut read) = (Instant::now(), 0);
    while read < all {
        read += reader.next().await?.len();
    }
    Ok(read as f64 / begun.elapsed().as_secs_f64())
}

async fn until(done: impl Fn() -> bool) -> Result<(), SuiteError> {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > PATIENCE {
            return Err(SuiteError::Failed(format!("it was not over in {PATIENCE:?}")));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Leased {
    jobs: Vec<Job>,
}

#[derive(Deserialize)]
struct Job {
    lease_token: String,
}

pub(super) async fn jobs(stage: &Stage) -> Result<Vec<Row>, SuiteError> {
    let (server, _database) = stage.on_nats(&stage.nats()?, &[]).await?;
    let (put, taken) = put_in_and_taken(stage, &server).await?;
    server.stop().await;
    let server = stage.on_sqlite().await?;
    let (put_sqlite, taken_sqlite) = put_in_and_taken(stage, &server).await?;
    server.stop().await;
    let note = format!("{CLIENTS} clients, {BATCH} at a time");
    let row = |what: &str, rate| Row::new(what, "jobs/s", rate).note(note.clone());
    Ok(vec![
        row("jobs put in", put),
        row("jobs leased and acked", taken).reach(Bound::AtLeast(LEASED)),
        row("jobs put in, SQLite", put_sqlite),
        row("jobs leased and acked, SQLite", taken_sqlite),
    ])
}

/// Jobs a second, in and out.
async fn put_in_and_taken(stage: &Stage, server: &Server) -> Result<(f64, f64), SuiteError> {
    let (jobs, address) = (stage.count(JOBS), server.address());
    let begun = Instant::now();
    all((0..CLIENTS).map(|_| put_in(address.clone(), jobs / CLIENTS))).await?;
    let put = jobs as f64 / begun.elapsed().as_secs_f64();
    let (begun, done) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    all((0..CLIENTS).map(|_| work(address.clone(), Arc::clone(&done), jobs))).await?;
    Ok((put, jobs as f64 / begun.elapsed().as_secs_f64()))
}

/// Runs all at once, each a task.
async fn all<F>(clients: impl Iterator<Item = F>) -> Result<(), SuiteError>
where
    F: Future<Output = Result<(), SuiteError>> + Send + 'static,
{
    let mut tasks: JoinSet<_> = clients.collect();
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| SuiteError::Failed(format!("a client ended: {error}")))??;
    }
    Ok(())
}

async fn put_in(address: Address, jobs: usize) -> Result<(), SuiteError> {
    let mut connection = Connection::open(&address).await?;
    let body = "{\"type\":\"work\",\"payload\":{}}\n".repeat(BATCH);
    let path = "/v1/queues/bench/jobs/batch";
    for _ in 0..jobs.div_ceil(BATCH) {
        let answer = post(&mut connection, &address, path, "application/x-ndjson", &body).await?;
        let start = format!("{{\"accepted\":{BATCH},");
        if !answer.starts_with(start.as_bytes()) {
            return Err(SuiteError::Failed("not every job was accepted".to_owned()));
        }
    }
    Ok(())
}

async fn work(address: Address, done: Arc<AtomicUsize>, jobs: usize) -> Result<(), SuiteError> {
    let mut connection = Connection::open(&address).await?;
    let lease = format!("{{\"max\":{BATCH},\"wait_s\":1,\"worker\":\"bench\"}}");
    let begun = Instant::now();
    while done.load(Ordering::Relaxed) < jobs {
        if begun.elapsed() > PATIENCE {
            return Err(SuiteError::Failed(format!("jobs are left after {PATIENCE:?}")));
        }
        let path = "/v1/queues/bench/lease";
        let answer = post(&mut connection, &address, path, "application/json", &lease).await?;
        if answer.is_empty() {
            continue;
        }
        let leased: Leased = serde_json::from_slice(&answer)
            .map_err(|error| SuiteError::Failed(error.to_string()))?;
        let ack =
            |job: &Job| format!("{{\"lease_token\":\"{}\",\"action\":\"ack\"}}\n", job.lease_token);
        let acks: String = leased.jobs.iter().map(ack).collect();
        let path = "/v1/leases/settle";
        let answer = post(&mut connection, &address, path, "application/x-ndjson", &acks).await?;
        let start = format!("{{\"accepted\":{},", leased.jobs.len());
        if !answer.starts_with(start.as_bytes()) {
            return Err(SuiteError::Failed("not every job was acked".to_owned()));
        }
        done.fetch_add(leased.jobs.len(), Ordering::Relaxed);
    }
    Ok(())
}

/// The body of an answer that is 200, 201 or 204.
async fn post(
    connection: &mut Connection,
    address: &Address,
    path: &str,
    form: &str,
    body: &str,
) -> Result<Vec<u8>, SuiteError> {
    let head = address.head("POST", path);
    let length = body.len();
    let request = format!("{head}Content-Type: {form}\r\nContent-Length: {length}\r\n\r\n{body}");
    let answer = connection.send(request.as_bytes()).await?;
    match answer.status {
        200 | 201 | 204 => Ok(answer.body.to_vec()),
        status => {
            let words = String::from_utf8_lossy(answer.body).into_owned();
            Err(SuiteError::Failed(format!("{path}: {status} {words}")))
        }
    }
}
