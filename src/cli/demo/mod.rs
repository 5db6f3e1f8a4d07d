//! `agentbus demo`: a simulated squad of agents.
//!
//! Invariant: the squad uses only HTTP, like any client. Every message has an id, so a retry after an outage
//! makes no duplicate. The same seed gives the same messages with new ids.

mod phrases;
mod squad;
mod story;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use agentbus_client::limits::BATCH_MESSAGES;
use agentbus_client::{AckLevel, Client, Error, Outcome};
use clap::Args;
use indicatif::ProgressBar;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::squad::Squad;
use super::address::ServerArgs;
use super::failure::Failure;
use super::limits::FAREWELL;
use super::output::print_result;
use super::progress::{self, notices_above};
use super::terminal::{eprint_line, plain_lines};

/// Examples that `--help` shows.
pub const EXAMPLES: &str = "\
Examples:
  agentbus demo                          until Ctrl-C; watch it with: agentbus tail
  agentbus demo --tasks 5 --rate 20      five tasks, quickly
  agentbus demo --seed 7                 the same stories again

`agentbus serve --demo` runs the same squad inside the server.";

/// `agentbus demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    #[command(flatten)]
    squad: SquadArgs,

    #[command(flatten)]
    server: ServerArgs,
}

/// Options of the squad.
#[derive(Args, Clone, Debug)]
pub struct SquadArgs {
    /// Messages a second, on average
    #[arg(long, value_name = "N", default_value = "3", value_parser = rate)]
    pub rate: f64,

    /// Stop after this many tasks; without it, run until Ctrl-C
    #[arg(long, value_name = "N")]
    pub tasks: Option<u64>,

    /// Seed of the random choices; without it, a random one
    #[arg(long)]
    pub seed: Option<u64>,
}

/// What the squad has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SquadReport {
    /// Messages that the server accepted.
    pub sent: u64,
    /// Messages that the server refused.
    pub rejected: u64,
    /// Tasks that have ended.
    pub tasks: u64,
}

fn rate(text: &str) -> Result<f64, &'static str> {
    let rate: f64 = text.parse().map_err(|_| "must be a number")?;
    if (0.01..=10_000.0).contains(&rate) { Ok(rate) } else { Err("must be between 0.01 and 10000") }
}

/// Runs the squad until its tasks are done or Ctrl-C.
///
/// # Errors
/// The server cannot be reached at first, or a response is not one of agentbus.
pub async fn run(args: DemoArgs) -> Result<ExitCode, Failure> {
    let client = args.server.client()?;
    client.status().await?;
    let bar = progress::spinner();
    let client = notices_above(&bar, client);
    let cancel = CancellationToken::new();
    let work = run_squad(client, args.squad, Some(bar.clone()), cancel.clone());
    tokio::pin!(work);
    let report = tokio::select! {
        report = &mut work => report,
        _ = tokio::signal::ctrl_c() => {
            cancel.cancel();
            work.await
        }
    }?;
    bar.finish_and_clear();
    let SquadReport { sent, rejected, tasks } = report;
    let text = format!("{sent} messages sent, {rejected} rejected, {tasks} tasks ended");
    let json = serde_json::json!({"sent": sent, "rejected": rejected, "tasks": tasks});
    print_result(std::io::stdout().is_terminal(), &text, &json)?;
    Ok(ExitCode::from(u8::from(rejected > 0)))
}

/// Runs the squad until its tasks are done or `cancel` is cancelled; waits for the server through any outage.
/// The bar shows the progress, and the first message that was refused.
///
/// # Errors
/// A response is not one of agentbus.
pub async fn run_squad(
    client: Client,
    args: SquadArgs,
    bar: Option<ProgressBar>,
    cancel: CancellationToken,
) -> Result<SquadReport, Error> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut work = Work {
        squad: Squad::new(seed, &run_tag(), args.tasks),
        client: client.retry_for(Duration::MAX),
        report: SquadReport::default(),
        bar,
    };
    let ended = tokio::select! {
        ended = work.until_done(args.rate, seed) => ended,
        () = cancel.cancelled() => Ok(()),
    };
    let farewell = work.squad.farewell(&mut Uuid::now_v7);
    // If the server stops too, the statuses lapse by themselves.
    if let Ok(Ok(())) = tokio::time::timeout(FAREWELL, work.post(&farewell)).await {
        work.show();
    }
    ended.map(|()| work.report)
}

/// A random part of this run's task ids, so that they differ from those of other runs.
fn run_tag() -> String {
    let id = Uuid::new_v4().simple().to_string();
    id[..4].to_owned()
}

struct Work {
    squad: Squad,
    client: Client,
    report: SquadReport,
    bar: Option<ProgressBar>,
}

impl Work {
    async fn until_done(&mut self, rate: f64, seed: u64) -> Result<(), Error> {
        /// The most delay that is caught up with more messages.
        const MAX_BACKLOG: Duration = Duration::from_secs(1);
        let mut pace = fastrand::Rng::with_seed(seed);
        let mut due = Instant::now();
        loop {
            tokio::time::sleep_until(due).await;
            let now = Instant::now();
            due = due.max(now.checked_sub(MAX_BACKLOG).unwrap_or(due));
            let mut messages = self.squad.heartbeats(now, &mut Uuid::now_v7);
            while due <= now && messages.len() < BATCH_MESSAGES / 2 {
                let Some(message) = self.squad.next(now, &mut Uuid::now_v7) else {
                    return self.post(&messages).await;
                };
                messages.push(message);
                due += Duration::from_secs_f64((0.3 + 1.4 * pace.f64()) / rate);
            }
            self.post(&messages).await?;
            self.show();
        }
    }

    async fn post(&mut self, messages: &[Vec<u8>]) -> Result<(), Error> {
        for outcome in self.client.send_many_json(messages, AckLevel::Stored).await? {
            match outcome {
                Outcome::Accepted(_) => self.report.sent += 1,
                Outcome::Rejected(problem) => {
                    if let Some(bar) = self.bar.as_ref().filter(|_| self.report.rejected == 0) {
                        let text = format!("agentbus: a message was refused: {problem}");
                        bar.suspend(|| eprint_line(&plain_lines(&text)));
                    }
                    self.report.rejected += 1;
                }
            }
        }
        self.report.tasks = self.squad.tasks_ended();
        Ok(())
    }

    fn show(&self) {
        let SquadReport { sent, tasks, .. } = self.report;
        let open = self.squad.tasks_open();
        if let Some(bar) = &self.bar {
            bar.set_message(format!(
                "{sent} messages, {open} tasks open, {tasks} ended; Ctrl-C ends"
            ));
        }
    }
}
