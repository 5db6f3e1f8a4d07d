//! `agentbus demo`: a simulated squad at work, to have something to watch.
//!
//! Invariant: it is a client like any other, through HTTP alone; every message
//! has its own id, so that outages of the server are ridden out without a
//! repeat. The same seed tells the same stories, under fresh ids.

mod phrases;
mod squad;
mod story;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::squad::Squad;
use super::address::ServerArgs;
use super::batch::{self, Outcome};
use super::client::Client;
use super::failure::Failure;
use super::limits::{BATCH_MESSAGES, FAREWELL};
use super::output::say;
use super::progress;

/// Examples shown after `--help`.
pub const EXAMPLES: &str = "\
Examples:
  agentbus demo                          until Ctrl-C; watch it with: agentbus tail
  agentbus demo --tasks 5 --rate 20      five tasks, quickly
  agentbus demo --seed 7                 the same stories again

`agentbus serve --demo` runs the same squad inside the server.";

/// `agentbus demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Messages a second, on average
    #[arg(long, value_name = "N", default_value = "3", value_parser = rate)]
    rate: f64,

    /// Stop after this many tasks; without it, at Ctrl-C
    #[arg(long, value_name = "N")]
    tasks: Option<u64>,

    /// Which stories are told; without it, always others
    #[arg(long)]
    seed: Option<u64>,

    #[command(flatten)]
    server: ServerArgs,
}

/// How the squad works.
#[derive(Clone, Debug)]
pub struct SquadOptions {
    /// Messages a second, on average.
    pub rate: f64,
    /// Tasks to do; `None` is without end.
    pub tasks: Option<u64>,
    /// Which stories are told; `None` is random.
    pub seed: Option<u64>,
    /// Tells outages on standard error.
    pub notices: bool,
    /// Shows how far it is.
    pub bar: ProgressBar,
}

impl Default for SquadOptions {
    fn default() -> Self {
        Self { rate: 3.0, tasks: None, seed: None, notices: false, bar: ProgressBar::hidden() }
    }
}

/// What the squad did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SquadReport {
    /// Messages that are in the log.
    pub sent: u64,
    /// Messages that the server refused.
    pub rejected: u64,
    /// Tasks brought to an end.
    pub tasks: u64,
}

fn rate(text: &str) -> Result<f64, &'static str> {
    let rate: f64 = text.parse().map_err(|_| "must be a number")?;
    if (0.01..=10_000.0).contains(&rate) { Ok(rate) } else { Err("must be between 0.01 and 10000") }
}

/// Runs the squad until its tasks are done or Ctrl-C.
///
/// # Errors
/// The server cannot be reached at first, or refuses what is no message to it.
pub async fn run(args: DemoArgs) -> Result<ExitCode, Failure> {
    let client = args.server.client()?;
    client.call(|| client.get("/v1/status", &[])).await?;
    let options = SquadOptions {
        rate: args.rate,
        tasks: args.tasks,
        seed: args.seed,
        notices: true,
        bar: progress::spinner(),
    };
    let bar = options.bar.clone();
    let cancel = CancellationToken::new();
    let work = run_squad(client.base_url(), options, cancel.clone());
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
    if std::io::stdout().is_terminal() {
        say(&format!(
            "{sent} messages sent, {rejected} rejected, {tasks} tasks brought to an end"
        ))?;
    } else {
        say(&serde_json::json!({"sent": sent, "rejected": rejected, "tasks": tasks}).to_string())?;
    }
    Ok(ExitCode::from(u8::from(rejected > 0)))
}

/// Runs the squad against the server at `base_url` until its tasks are done or
/// `cancel` is cancelled; waits for the server through any outage.
///
/// # Errors
/// The address is none, or the server answers what is no answer of agentbus.
pub async fn run_squad(
    base_url: String,
    options: SquadOptions,
    cancel: CancellationToken,
) -> Result<SquadReport, String> {
    let client = Client::new(&base_url, Duration::MAX).map_err(words)?.above(&options.bar);
    let client = if options.notices { client } else { client.quiet() };
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut work = Work {
        squad: Squad::new(seed, &run_tag(), options.tasks),
        client,
        report: SquadReport::default(),
        bar: options.bar,
    };
    let ended = tokio::select! {
        ended = work.until_done(options.rate, seed) => ended,
        () = cancel.cancelled() => Ok(()),
    };
    let farewell = work.squad.farewell(&mut Uuid::now_v7);
    // The server may be going too: then nobody misses a farewell.
    if let Ok(Ok(())) = tokio::time::timeout(FAREWELL, work.post(&farewell)).await {
        work.show();
    }
    ended.map(|()| work.report).map_err(words)
}

fn words(failure: Failure) -> String {
    match failure {
        Failure::Failed(words) | Failure::Usage(words) => words,
        Failure::ReaderGone => "the output is closed".to_owned(),
    }
}

/// Tells the tasks of this run from those of every other.
fn run_tag() -> String {
    let id = Uuid::new_v4().simple().to_string();
    id[..4].to_owned()
}

struct Work {
    squad: Squad,
    client: Client,
    report: SquadReport,
    bar: ProgressBar,
}

impl Work {
    async fn until_done(&mut self, rate: f64, seed: u64) -> Result<(), Failure> {
        /// A squad that fell further behind than this does not rush to catch up.
        const PATIENCE: Duration = Duration::from_secs(1);
        let mut pace = fastrand::Rng::with_seed(seed);
        let mut due = Instant::now();
        loop {
            tokio::time::sleep_until(due).await;
            let now = Instant::now();
            due = due.max(now.checked_sub(PATIENCE).unwrap_or(due));
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

    async fn post(&mut self, messages: &[Vec<u8>]) -> Result<(), Failure> {
        for outcome in batch::post(&self.client, messages).await? {
            match outcome {
                Outcome::Accepted { .. } => self.report.sent += 1,
                Outcome::Rejected(why) => {
                    if self.report.rejected == 0 {
                        self.client.notice(&format!("a message was refused: {why}"));
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
        self.bar
            .set_message(format!("{sent} messages, {open} tasks open, {tasks} ended; Ctrl-C ends"));
    }
}
