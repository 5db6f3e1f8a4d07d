//! `agentbus bench suite`: agentbus beside its parts, in one run.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::super::failure::Failure;
use super::super::output::{say, tell};
use super::super::progress;
use super::super::table::Table;
use crate::bench::suite::{Item, Options, Row, SuiteReport, run as measure};
use crate::shutdown;

/// Examples shown after `--help`.
pub const EXAMPLES: &str = "\
Examples:
  scripts/bench                            starts servers for it, and measures everything
  agentbus bench suite --list
  NATS_URL=… DATABASE_URL=… agentbus bench suite --only single,batches --quick

NATS_URL names a server with JetStream and without a stream of agentbus; DATABASE_URL a PostgreSQL
where databases may be made; NATS_URL_ALWAYS another NATS with `sync_interval: always`. What is not
given is skipped. Streams of the run are called agent-bench-…, databases agent_bench_…; they are removed
after it, and nothing else is touched. A NATS that has streams of an agentbus is refused.
Nothing else should run on the machine. Exit code 1 if a figure was not reached or could not be taken.";

/// `agentbus bench suite`.
#[derive(Args, Clone, Debug)]
pub struct SuiteArgs {
    /// Measure these alone, comma separated
    #[arg(long, value_name = "ITEMS", value_delimiter = ',')]
    only: Vec<Item>,

    /// Measure too what takes long
    #[arg(long)]
    big: bool,

    /// Shorten every measurement, for a first look
    #[arg(long)]
    quick: bool,

    /// Show what can be measured
    #[arg(long)]
    list: bool,

    /// Print JSON, also on a terminal
    #[arg(long)]
    json: bool,

    /// Folder for files, on the disk to be measured; without it the system's for temporary ones
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

impl SuiteArgs {
    fn items(&self) -> Vec<Item> {
        if !self.only.is_empty() {
            return self.only.clone();
        }
        let long: &[Item] = if self.big { Item::LONG } else { &[] };
        Item::USUAL.iter().chain(long).copied().collect()
    }
}

/// Measures, and prints what came of it; exit code 1 where something was to be reached and was not, failed, or
/// is left behind.
///
/// # Errors
/// The folder cannot be used.
pub async fn run(args: SuiteArgs) -> Result<ExitCode, Failure> {
    if args.list {
        list()?;
        return Ok(ExitCode::SUCCESS);
    }
    let parent = args.folder.clone().unwrap_or_else(std::env::temp_dir);
    let name = format!("agent-bench-{}", uuid::Uuid::new_v4().simple());
    let folder = parent.join(name);
    let failed = |error| Failure::io(&folder.display().to_string(), &error);
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let program = std::env::current_exe().map_err(|error| Failure::io("this program", &error))?;
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let stop = CancellationToken::new();
    let options = Options {
        nats_url: variable("NATS_URL"),
        nats_url_always: variable("NATS_URL_ALWAYS"),
        database_url: variable("DATABASE_URL"),
        folder: folder.clone(),
        program,
        quick: args.quick,
        stop: stop.clone(),
    };
    let report = measured(options, &args.items(), stop).await;
    let _ = std::fs::remove_dir_all(&folder);
    print(&report, args.json)?;
    report.left_behind.iter().for_each(|words| tell(&format!("agentbus: {words}")));
    Ok(ExitCode::from(u8::from(!report.is_good())))
}

async fn measured(options: Options, items: &[Item], stop: CancellationToken) -> SuiteReport {
    let bar = progress::spinner();
    let begun = |item: Item| bar.set_message(format!("{}: {}", item.name(), item.about()));
    let ended = |rows: &[Row]| bar.suspend(|| rows.iter().for_each(|row| tell(&line(row))));
    let measuring = measure(options, items, begun, ended);
    tokio::pin!(measuring);
    let report = tokio::select! {
        report = &mut measuring => report,
        _ = shutdown::signal() => {
            stop.cancel();
            measuring.await
        }
    };
    bar.finish_and_clear();
    report
}

/// One row while others are still measured.
fn line(row: &Row) -> String {
    let cells = row.cells();
    cells.iter().filter(|cell| !cell.is_empty()).cloned().collect::<Vec<_>>().join("  ")
}

fn print(report: &SuiteReport, json: bool) -> Result<(), Failure> {
    if json || !std::io::stdout().is_terminal() {
        let text = serde_json::to_string(report).map_err(|error| error.to_string())?;
        return say(&text);
    }
    let machine = &report.machine;
    say(&format!(
        "{} cores, {}, {:.1} GiB, {}; nats-server {}, PostgreSQL {}, agentbus {}\n",
        machine.cores,
        machine.cpu,
        machine.memory as f64 / 1_073_741_824.0,
        machine.kernel,
        machine.nats_server,
        machine.postgres,
        machine.agentbus
    ))?;
    let mut table = Table::new(SuiteReport::TITLES);
    let rows: Vec<_> = report.rows.iter().map(Row::cells).collect();
    say(table.lines(&rows).trim_end())
}

fn list() -> Result<(), Failure> {
    let shown = |items: &[Item], end: &str| -> Result<(), Failure> {
        items.iter().try_for_each(|item| say(&format!("{:<12}{}{end}", item.name(), item.about())))
    };
    shown(Item::USUAL, "")?;
    shown(Item::LONG, " (with --big)")
}
