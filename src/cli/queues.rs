//! `agentbus queues`: what queues hold, their rules, and jobs in and out by hand.

use std::process::ExitCode;

use bytes::Bytes;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::address::ServerArgs;
use super::failure::Failure;
use super::output::{Format, put};
use super::table::Table;
use crate::message::Token;
use crate::queues::Priority;

/// Examples shown after `--help`.
pub const EXAMPLES: &str = "\
Examples:
  agentbus queues list
  agentbus queues set thumbnails --lease-s 120 --max-deliver 5 --backoff-s 1,10,60
  agentbus queues push thumbnails --type resize '{\"file\":\"a.png\"}'
  agentbus queues push thumbnails --type resize --priority low --delay-s 3600 '{\"file\":\"b.png\"}'
  agentbus queues lease thumbnails --max 10 --wait-s 30
  agentbus queues ack TOKEN
  agentbus queues delete thumbnails --force

In a pipe the output is one JSON object a line.";

const TITLES: &[&str] =
    &["QUEUE", "WAITING", "LEASED", "DELAYED", "OLDEST", "DEAD", "LEASE", "TRIES", "BACKOFF"];
/// Queues asked for at once.
const PAGE: &str = "1000";
/// Longest wait of one request, in seconds.
const LEASE_PIECE_S: f64 = 5.0;

/// `agentbus queues`.
#[derive(Args, Clone, Debug)]
pub struct QueuesArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Show what each queue holds
    List(ShowArgs),
    /// Show one queue
    Show(OneArgs),
    /// Make a queue, or give it other rules: those not named have their defaults
    Set(SetArgs),
    /// Delete a queue that is empty; its dead letters stay
    Delete(DeleteArgs),
    /// Put a job into a queue
    Push(PushArgs),
    /// Take jobs out: theirs who asks, until the lease ends
    Lease(LeaseArgs),
    /// End a lease: the job is done
    Ack(EndArgs),
    /// End a lease: the job comes again
    Nack(EndArgs),
    /// End a lease: the job is a dead letter
    Fail(EndArgs),
    /// Prolong a lease
    Extend(EndArgs),
}

#[derive(Args, Clone, Debug)]
struct ShowArgs {
    /// How to write them
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Clone, Debug)]
struct OneArgs {
    /// The queue
    queue: Token,

    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Args, Clone, Debug)]
struct SetArgs {
    #[command(flatten)]
    one: OneArgs,

    /// How long a lease lasts, in seconds (30)
    #[arg(long, value_name = "SECONDS")]
    lease_s: Option<f64>,

    /// Attempts before a job is a dead letter (3)
    #[arg(long, value_name = "N")]
    max_deliver: Option<u32>,

    /// Pauses between attempts, in seconds; the last one repeats (1,5,30)
    #[arg(long, value_name = "SECONDS,…", value_delimiter = ',')]
    backoff_s: Vec<f64>,
}

#[derive(Args, Clone, Debug)]
struct DeleteArgs {
    /// The queue
    queue: Token,

    /// Also with jobs that wait or are delayed: they are dropped. What is leased keeps the queue
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Clone, Debug)]
struct PushArgs {
    /// The queue
    queue: Token,

    /// What kind of job it is
    #[arg(long = "type", value_name = "TYPE")]
    type_: Token,

    /// The payload, as JSON
    #[arg(default_value = "null", value_parser = value)]
    payload: Value,

    /// high, normal or low
    #[arg(long, default_value_t)]
    priority: Priority,

    /// Not leased before so many seconds have passed
    #[arg(long, value_name = "SECONDS")]
    delay_s: Option<f64>,

    /// The job's id, to be sure of one job however often it is pushed
    #[arg(long, value_name = "UUID")]
    id: Option<Uuid>,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Clone, Debug)]
struct LeaseArgs {
    /// The queue
    queue: Token,

    /// Jobs at most
    #[arg(long, default_value_t = 1)]
    max: u64,

    /// How long to wait for the first, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    wait_s: f64,

    /// Who asks
    #[arg(long)]
    worker: Option<Token>,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Clone, Debug)]
struct EndArgs {
    /// The lease's token
    #[arg(value_parser = sealed)]
    token: String,

    /// Why (nack, fail)
    #[arg(long)]
    reason: Option<String>,

    /// When it comes again, in seconds (nack)
    #[arg(long, value_name = "SECONDS")]
    delay_s: Option<f64>,

    #[command(flatten)]
    server: ServerArgs,
}

fn value(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("must be JSON: {error}"))
}

/// A token, which stands in a path.
fn sealed(text: &str) -> Result<String, &'static str> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if text.is_empty() || !text.chars().all(good) {
        return Err("must be the lease_token of a lease");
    }
    Ok(text.to_owned())
}

/// Does what the flags ask for.
///
/// # Errors
/// The server refuses or cannot be reached.
pub async fn run(args: QueuesArgs) -> Result<ExitCode, Failure> {
    match args.what {
        What::List(args) => list(args).await?,
        What::Show(args) => one(args).await?,
        What::Set(args) => set(args).await?,
        What::Delete(args) => delete(args).await?,
        What::Push(args) => push(args).await?,
        What::Lease(args) => return lease(args).await,
        What::Ack(args) => end(args, "ack").await?,
        What::Nack(args) => end(args, "nack").await?,
        What::Fail(args) => end(args, "fail").await?,
        What::Extend(args) => end(args, "extend").await?,
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    queues: Vec<&'a RawValue>,
    next: Option<String>,
}

async fn list(args: ShowArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let mut table = Table::new(TITLES);
    let mut after: Option<String> = None;
    loop {
        let mut query = vec![("limit", PAGE.to_owned())];
        query.extend(after.take().map(|name| ("after", name)));
        let body = client.call(|| client.get("/v1/queues", &query)).await?;
        let page: Page<'_> = serde_json::from_slice(&body).map_err(unreadable)?;
        show(&mut table, page.queues.iter().map(|queue| queue.get()), args.format)?;
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

async fn one(args: OneArgs) -> Result<(), Failure> {
    let client = args.show.server.client()?;
    let path = format!("/v1/queues/{}", args.queue);
    let body = client.call(|| client.get(&path, &[])).await?;
    let text = std::str::from_utf8(&body).unwrap_or_default();
    show(&mut Table::new(TITLES), [text].into_iter(), args.show.format)
}

async fn set(args: SetArgs) -> Result<(), Failure> {
    let client = args.one.show.server.client()?;
    let mut rules = Map::new();
    rules.extend(args.lease_s.map(|lease| ("lease_s".to_owned(), json!(lease))));
    rules.extend(args.max_deliver.map(|max| ("max_deliver".to_owned(), json!(max))));
    if !args.backoff_s.is_empty() {
        rules.insert("backoff_s".to_owned(), json!(args.backoff_s));
    }
    let (path, body) = (format!("/v1/queues/{}", args.one.queue), Value::Object(rules).to_string());
    let body = Bytes::from(body);
    client.call(|| client.put(&path, "application/json", body.clone())).await?;
    one(args.one).await
}

async fn delete(args: DeleteArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let path = format!("/v1/queues/{}", args.queue);
    let query = [("force", args.force.to_string())];
    client.call(|| client.delete(&path, &query)).await?;
    Ok(())
}

async fn push(args: PushArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let mut job = json!({
        "type": args.type_.as_str(),
        "payload": args.payload,
        "priority": args.priority.as_str(),
        // One of our own: a repeat after a lost answer is the same job.
        "id": args.id.unwrap_or_else(Uuid::now_v7),
    });
    if let Some(delay) = args.delay_s {
        job["delay_s"] = json!(delay);
    }
    let (path, body) = (format!("/v1/queues/{}/jobs", args.queue), Bytes::from(job.to_string()));
    let answer = client.call(|| client.post(&path, &[], "application/json", body.clone())).await?;
    line(&answer)
}

/// Exit code 1 where there was none: a script sees that it has nothing to do.
async fn lease(args: LeaseArgs) -> Result<ExitCode, Failure> {
    #[derive(Deserialize)]
    struct Jobs<'a> {
        #[serde(borrow)]
        jobs: Vec<&'a RawValue>,
    }
    let client = args.server.client()?;
    let path = format!("/v1/queues/{}/lease", args.queue);
    let mut left = args.wait_s;
    let answer = loop {
        // In pieces, each well within the time that an answer may take.
        let wait = left.min(LEASE_PIECE_S);
        left -= wait;
        let mut request = json!({ "max": args.max, "wait_s": wait });
        if let Some(worker) = &args.worker {
            request["worker"] = json!(worker.as_str());
        }
        let body = Bytes::from(request.to_string());
        let send = || client.post(&path, &[], "application/json", body.clone());
        let answer = client.call(send).await?;
        if !answer.is_empty() || left <= 0.0 {
            break answer;
        }
    };
    if answer.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let jobs: Jobs<'_> = serde_json::from_slice(&answer).map_err(unreadable)?;
    jobs.jobs.iter().try_for_each(|job| line(job.get().as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}

async fn end(args: EndArgs, action: &str) -> Result<(), Failure> {
    let client = args.server.client()?;
    let mut body = Map::new();
    body.extend(args.reason.map(|reason| ("reason".to_owned(), json!(reason))));
    body.extend(args.delay_s.map(|delay| ("delay_s".to_owned(), json!(delay))));
    let (path, body) = (format!("/v1/leases/{}/{action}", args.token), Value::Object(body));
    let body = Bytes::from(body.to_string());
    let answer = client.call(|| client.post(&path, &[], "application/json", body.clone())).await?;
    if action == "extend" { line(&answer) } else { Ok(()) }
}

fn unreadable(error: serde_json::Error) -> Failure {
    Failure::Failed(format!("the server's answer cannot be read: {error}"))
}

fn line(json: &[u8]) -> Result<(), Failure> {
    put(&[json.trim_ascii_end(), b"\n"].concat())
}

fn show<'a>(
    table: &mut Table,
    mut queues: impl Iterator<Item = &'a str>,
    format: Format,
) -> Result<(), Failure> {
    if !format.is_text() {
        return queues.try_for_each(|json| line(json.as_bytes()));
    }
    let rows: Vec<_> = queues.map(row).collect();
    put(table.lines(&rows).as_bytes())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shown {
    queue: String,
    waiting: u64,
    leased: u64,
    delayed: u64,
    oldest_age_s: Option<f64>,
    dead_letters: u64,
    lease_s: f64,
    max_deliver: u64,
    backoff_s: Vec<f64>,
}

fn row(json: &str) -> Vec<String> {
    let shown: Shown = serde_json::from_str(json).unwrap_or_default();
    let steps: Vec<String> = shown.backoff_s.iter().map(ToString::to_string).collect();
    vec![
        shown.queue,
        shown.waiting.to_string(),
        shown.leased.to_string(),
        shown.delayed.to_string(),
        shown.oldest_age_s.map(|age| format!("{age:.0} s")).unwrap_or_default(),
        shown.dead_letters.to_string(),
        format!("{} s", shown.lease_s),
        shown.max_deliver.to_string(),
        format!("{} s", steps.join(", ")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_one_line() {
        let json = r#"{"queue":"q","lease_s":2.5,"max_deliver":3,"backoff_s":[1,5],"waiting":4,
            "leased":1,"delayed":0,"oldest_age_s":61.7,"dead_letters":2}"#;
        assert_eq!(row(json), ["q", "4", "1", "0", "62 s", "2", "2.5 s", "3", "1, 5 s"]);
    }

    #[test]
    fn a_token_cannot_leave_its_path() {
        assert!(sealed("abc-_9").is_ok());
        assert!(sealed("../x").is_err() && sealed("").is_err());
    }
}
