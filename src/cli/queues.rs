//! `agentbus queues`: lists and configures queues, pushes and leases jobs.

use std::process::ExitCode;
use std::time::Duration;

use agentbus_client::{LeaseAction, LeaseOptions, NewJob, Queue, QueueConfig};
use clap::{Args, Subcommand};
use serde_json::Value;
use uuid::Uuid;

use super::address::{ServerArgs, ShowArgs};
use super::failure::Failure;
use super::table::{Table, print_document};
use crate::message::Token;
use crate::queues::Priority;

/// Examples that `--help` shows.
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

const TITLES: &[&str] = &[
    "QUEUE",
    "WAITING",
    "LEASED",
    "DELAYED",
    "OLDEST",
    "DEAD LETTERS",
    "LEASE",
    "ATTEMPTS",
    "BACKOFF",
];

/// `agentbus queues`.
#[derive(Args, Clone, Debug)]
pub struct QueuesArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Show all queues
    List(ShowArgs),
    /// Show one queue
    Show(OneArgs),
    /// Create a queue or replace its configuration; a setting that is not given gets its default
    Set(SetArgs),
    /// Delete an empty queue; its dead letters stay
    Delete(DeleteArgs),
    /// Put a job into a queue
    Push(PushArgs),
    /// Lease jobs; prints them with their lease tokens. Exit code 1 if there is none
    Lease(LeaseArgs),
    /// End a lease: the job is done
    Ack(EndArgs),
    /// End a lease: the job is redelivered
    Nack(EndArgs),
    /// End a lease: the job is a dead letter
    Fail(EndArgs),
    /// Extend a lease
    Extend(EndArgs),
}

#[derive(Args, Clone, Debug)]
struct OneArgs {
    /// Name of the queue
    queue: Token,

    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Args, Clone, Debug)]
struct SetArgs {
    #[command(flatten)]
    one: OneArgs,

    /// Seconds that a lease lasts [default: 30]
    #[arg(long, value_name = "SECONDS")]
    lease_s: Option<f64>,

    /// Attempts before a job becomes a dead letter [default: 3]
    #[arg(long, value_name = "N")]
    max_deliver: Option<u32>,

    /// Seconds between attempts; the last value repeats [default: 1,5,30]
    #[arg(long, value_name = "SECONDS,…", value_delimiter = ',')]
    backoff_s: Vec<f64>,
}

#[derive(Args, Clone, Debug)]
struct DeleteArgs {
    /// Name of the queue
    queue: Token,

    /// Also delete jobs that wait or are delayed; a queue with leased jobs is never deleted
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Clone, Debug)]
struct PushArgs {
    /// Name of the queue
    queue: Token,

    /// Type of the job
    #[arg(long = "type", value_name = "TYPE")]
    type_: Token,

    /// The payload, as JSON
    #[arg(default_value = "null", value_parser = value)]
    payload: Value,

    /// high, normal or low
    #[arg(long, default_value_t)]
    priority: Priority,

    /// Seconds before the job can be leased
    #[arg(long, value_name = "SECONDS")]
    delay_s: Option<f64>,

    /// Id of the job; a push with the same id again adds no second job
    #[arg(long, value_name = "UUID")]
    id: Option<Uuid>,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Clone, Debug)]
struct LeaseArgs {
    /// Name of the queue
    queue: Token,

    /// Largest number of jobs
    #[arg(long, default_value_t = 1)]
    max: u64,

    /// Seconds to wait for the first job
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = wait)]
    wait_s: Duration,

    /// Name of the worker
    #[arg(long)]
    worker: Option<Token>,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Clone, Debug)]
struct EndArgs {
    /// Token of the lease
    #[arg(value_parser = lease_token)]
    token: String,

    /// Reason (nack, fail)
    #[arg(long)]
    reason: Option<String>,

    /// Seconds before the job is redelivered (nack)
    #[arg(long, value_name = "SECONDS")]
    delay_s: Option<f64>,

    #[command(flatten)]
    server: ServerArgs,
}

fn value(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("must be JSON: {error}"))
}

/// Parses the seconds to wait.
fn wait(text: &str) -> Result<Duration, &'static str> {
    let seconds: f64 = text.parse().map_err(|_| "must be a number")?;
    Ok(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}

/// Parses a lease token, which must be safe in a URL path.
fn lease_token(text: &str) -> Result<String, &'static str> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if text.is_empty() || !text.chars().all(good) {
        return Err("must be the lease_token of a lease");
    }
    Ok(text.to_owned())
}

/// Runs the subcommand.
///
/// # Errors
/// The server refuses or cannot be reached.
pub async fn run(args: QueuesArgs) -> Result<ExitCode, Failure> {
    match args.what {
        What::List(args) => list(args).await?,
        What::Show(args) => show(args).await?,
        What::Set(args) => set(args).await?,
        What::Delete(DeleteArgs { queue, force, server }) => {
            server.client()?.delete_queue(queue.as_str(), force).await?;
        }
        What::Push(args) => push(args).await?,
        What::Lease(args) => return lease(args).await,
        What::Ack(args) => settle(args, LeaseAction::Ack).await?,
        What::Nack(args) => settle(args, LeaseAction::Nack).await?,
        What::Fail(args) => settle(args, LeaseAction::Fail).await?,
        What::Extend(args) => settle(args, LeaseAction::Extend).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: ShowArgs) -> Result<(), Failure> {
    let mut table = Table::new(TITLES);
    let mut pages = args.server.client()?.queues();
    while let Some(page) = pages.next_page().await? {
        table.print(&page.items, args.format, row)?;
    }
    Ok(())
}

async fn show(args: OneArgs) -> Result<(), Failure> {
    let queue = args.show.server.client()?.queue(args.queue.as_str()).await?;
    Table::new(TITLES).print(&[queue], args.show.format, row)
}

async fn set(args: SetArgs) -> Result<(), Failure> {
    let SetArgs { one, lease_s, max_deliver, backoff_s } = args;
    let config = QueueConfig { lease_s, max_deliver, backoff_s };
    one.show.server.client()?.set_queue(one.queue.as_str(), &config).await?;
    show(one).await
}

async fn push(args: PushArgs) -> Result<(), Failure> {
    let mut job = NewJob::new(args.type_.as_str(), args.payload);
    job.id = args.id.unwrap_or(job.id);
    job.priority = Some(args.priority.as_str().to_owned());
    job.delay_s = args.delay_s;
    print_document(&args.server.client()?.enqueue(args.queue.as_str(), &job).await?)
}

/// Leases jobs. The exit code is 1 if there was none, so that a script notices.
async fn lease(args: LeaseArgs) -> Result<ExitCode, Failure> {
    let client = args.server.client()?;
    let worker = args.worker.as_ref().map(Token::as_str);
    let jobs = client.lease(args.queue.as_str(), args.max, args.wait_s, worker).await?;
    jobs.iter().try_for_each(print_document)?;
    Ok(if jobs.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn settle(args: EndArgs, action: LeaseAction) -> Result<(), Failure> {
    let EndArgs { token, reason, delay_s, server } = args;
    let options = LeaseOptions { reason, delay_s, lease_s: None };
    let response = server.client()?.settle(&token, action, &options).await?;
    if action == LeaseAction::Extend { print_document(&response) } else { Ok(()) }
}

fn row(queue: Queue) -> Vec<String> {
    let backoff: Vec<String> = queue.backoff_s.iter().map(ToString::to_string).collect();
    vec![
        queue.queue,
        queue.waiting.to_string(),
        queue.leased.to_string(),
        queue.delayed.to_string(),
        queue.oldest_age_s.map(|age| format!("{age:.0} s")).unwrap_or_default(),
        queue.dead_letters.to_string(),
        format!("{} s", queue.lease_s),
        queue.max_deliver.to_string(),
        format!("{} s", backoff.join(", ")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_one_row() {
        let json = r#"{"queue":"q","lease_s":2.5,"max_deliver":3,"backoff_s":[1,5],"waiting":4,
            "leased":1,"delayed":0,"oldest_age_s":61.7,"dead_letters":2}"#;
        let queue = serde_json::from_str(json).expect("a queue");
        assert_eq!(row(queue), ["q", "4", "1", "0", "62 s", "2", "2.5 s", "3", "1, 5 s"]);
    }

    #[test]
    fn a_token_cannot_leave_its_path() {
        assert!(lease_token("abc-_9").is_ok());
        assert!(lease_token("../x").is_err() && lease_token("").is_err());
    }
}
