//! `agentbus bench`: measures a server under load.
//!
//! Invariant: load goes only to a server that `--url` names on the command line, or to one that was started
//! for it. `AGENTBUS_URL`, which other commands use, is ignored: the messages of the load stay in the log and
//! in history, and a full stream drops older messages for them.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use agentbus_bench::address::Address;
use agentbus_bench::plan::Plan;
use agentbus_bench::server::Server;
use agentbus_bench::{BenchError, Report, Snapshot};
use agentbus_client::parse_address;
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use tokio_util::sync::CancellationToken;

use super::credential::CredentialArgs;
use super::failure::Failure;
use super::output::print_line;
use super::progress;
use super::terminal::plain;
use crate::shutdown;

/// Examples that `--help` shows.
pub const EXAMPLES: &str = "\
Examples:
  agentbus bench                                        as fast as 64 connections get responses
  agentbus bench --rate 1000 --subscribers 10           1,000 messages a second, received by ten
  agentbus bench --rate 50000 --batch 500               in batches of 500
  agentbus bench --url http://127.0.0.1:8080            a running server: see below
  agentbus bench --tasks 100 --subscribers 100 --subscriber-filter 'task=bench-{n}'

With --rate each request has a time at which it should begin, and latency is counted from then, so that
the waits behind a stalled server count.

Without --url it starts a server of its own (memory bus, SQLite, files in the system's temporary folder)
and removes it afterwards. With --url the messages stay in that server's log, and a full stream drops
older ones for them: do not measure a server in use. AGENTBUS_URL is ignored; AGENTBUS_KEY is sent to the
server that --url names. The key must be one that writes as bench, publishes on agent.message.> (or
agent.task.>), observes and, for subscribers, reads that.

Exit code 1 if anything was not accepted or not sent, or an event missing.";

/// `agentbus bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Messages a second; 0: each connection sends as soon as it has its response
    #[arg(long, value_name = "N", default_value = "0", value_parser = rate, allow_negative_numbers = true)]
    rate: f64,

    /// How long to measure, such as 10s, 500ms, 2m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    duration: Duration,

    /// How long to send load before the measurement
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    warmup: Duration,

    /// Connections that send
    #[arg(long, value_name = "N", default_value = "64")]
    connections: usize,

    /// Bytes of content; of several sizes, separated by commas, each message gets the next
    #[arg(long, value_name = "BYTES", default_value = "128", value_delimiter = ',')]
    size: Vec<usize>,

    /// Messages of a request; 1: POST /v1/messages, more: NDJSON batches
    #[arg(long, value_name = "N", default_value = "1")]
    batch: usize,

    /// Give each message an id
    #[arg(long)]
    ids: bool,

    /// When the server responds: once the bus has the message, or once the store has it too
    #[arg(long, value_enum, default_value_t)]
    ack: Ack,

    /// Send events of this many tasks in turn, bench-00000 and up; 0: broadcast messages
    #[arg(long, value_name = "N", default_value = "0")]
    tasks: usize,

    /// Connections subscribed to /v1/stream
    #[arg(long, value_name = "N", default_value = "0")]
    subscribers: usize,

    /// Filter of the subscribers, as a query: 'kind=task&sender=ann'; if repeated, subscribers take the
    /// filters in turn. {n} is the number of a subscriber, 00000 and up
    #[arg(long, value_name = "QUERY")]
    subscriber_filter: Vec<String>,

    /// Print JSON even on a terminal
    #[arg(long)]
    json: bool,

    /// Server to measure, at its http:// address; without it, one is started and removed afterwards
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    #[command(flatten)]
    credential: CredentialArgs,
}

/// When the server responds to a publish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Ack {
    /// the bus has it
    #[default]
    Stored,
    /// the store has it too
    Committed,
}

fn rate(text: &str) -> Result<f64, &'static str> {
    let rate: f64 = text.parse().map_err(|_| "must be a number")?;
    if rate >= 0.0 && rate.is_finite() { Ok(rate) } else { Err("must be 0 or more") }
}

/// Parses a duration with its unit.
fn time(text: &str) -> Result<Duration, &'static str> {
    const RULE: &str = "must be a time with its unit: 500ms, 10s, 2m, 1h";
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(RULE)?;
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| RULE)?;
    let seconds = match unit {
        "ms" => number / 1_000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3_600.0,
        _ => return Err(RULE),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| RULE)
}

impl BenchArgs {
    fn plan(&self) -> Plan {
        Plan {
            rate: (self.rate > 0.0).then_some(self.rate),
            duration: self.duration,
            warmup: self.warmup,
            connections: self.connections,
            sizes: self.size.clone(),
            batch: self.batch,
            ids: self.ids,
            committed: self.ack == Ack::Committed,
            tasks: self.tasks,
            subscribers: self.subscribers,
            filters: self.subscriber_filter.clone(),
            watch_lag: true,
        }
    }
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        Self::Failed(plain(&error.to_string()))
    }
}

/// Measures, and prints the report.
///
/// # Errors
/// The options are wrong, the server cannot be reached, or the system refuses something.
pub async fn run(args: BenchArgs) -> Result<ExitCode, Failure> {
    let plan = args.plan();
    plan.check().map_err(|faults| Failure::Usage(faults.join("\n")))?;
    let mut address = args.url.as_deref().map(address).transpose().map_err(Failure::Usage)?;
    // A server that is started for this takes no keys.
    if let Some(named) = &mut address
        && let Some(key) = args.credential.key()?
    {
        *named = named.clone().with_key(&key);
    }
    let (bar, stop) = (progress::spinner(), CancellationToken::new());
    let report = {
        let running = measure(address, &plan, &stop, &bar);
        tokio::pin!(running);
        tokio::select! {
            report = &mut running => report,
            _ = shutdown::signal() => {
                stop.cancel();
                // The first signal ends the load, and the run waits for the store and the last events. A second one ends that
                // wait.
                tokio::select! {
                    report = &mut running => report,
                    _ = shutdown::signal() => return Err(Failure::Failed("interrupted".to_owned())),
                }
            }
        }
    };
    bar.finish_and_clear();
    let report = report?;
    print(&report, args.json)?;
    Ok(ExitCode::from(u8::from(!report.is_whole())))
}

fn address(url: &str) -> Result<Address, String> {
    Address::from_url(&parse_address(url)?)
}

/// Measures the server that `--url` names, or one that is started for this.
async fn measure(
    named: Option<Address>,
    plan: &Plan,
    stop: &CancellationToken,
    bar: &ProgressBar,
) -> Result<Report, BenchError> {
    let show = |snapshot: &Snapshot| show(bar, snapshot);
    match named {
        Some(address) => agentbus_bench::run(&address, plan, stop, show).await,
        None => {
            bar.set_message("starting a server (memory bus, SQLite); --url names another");
            let own = Server::start_temporary().await?;
            let report = agentbus_bench::run(own.address(), plan, stop, show).await;
            own.stop().await;
            report
        }
    }
}

fn print(report: &Report, json: bool) -> Result<(), Failure> {
    if json || !std::io::stdout().is_terminal() {
        let text = serde_json::to_string(report).map_err(|error| error.to_string())?;
        return print_line(&text);
    }
    report.lines().iter().try_for_each(|line| print_line(&plain(line)))
}

fn show(bar: &ProgressBar, snapshot: &Snapshot) {
    let Snapshot { elapsed, total, messages, per_s, events, p50_ms } = snapshot;
    let p50 = p50_ms.map_or_else(String::new, |millis| format!("  p50 {millis:.2} ms"));
    let not_accepted = messages.total() - messages.accepted;
    let failed =
        if not_accepted > 0 { format!("  {not_accepted} not accepted") } else { String::new() };
    let received = if *events > 0 { format!("  {events} events") } else { String::new() };
    bar.set_message(format!(
        "{:.0} of {:.0} s  {per_s:.0}/s  {} accepted{failed}{received}{p50}",
        elapsed.as_secs_f64(),
        total.as_secs_f64(),
        messages.accepted
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        for (text, millis) in [("500ms", 500), ("1.5s", 1_500), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for wrong in ["", "10", "s", "-1s", "10 s", "1d", "1.2.3s", "9999999999999999999999h"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rate_is_a_number_from_zero() {
        assert_eq!(rate("0"), Ok(0.0));
        for wrong in ["-1", "NaN", "inf", "fast"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
