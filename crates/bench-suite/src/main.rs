//! `agentbus-bench-suite`: agentbus beside its parts, in one run.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use agentbus::shutdown;
use agentbus_bench_suite::{Item, Options, Row, SuiteReport, run};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

/// How often the spinner moves, to show that the run goes on.
const TICK: Duration = Duration::from_millis(250);

const ENVIRONMENT: &str = "\
Environment:
  NATS_URL         a server with JetStream and without a stream of agentbus
  NATS_URL_ALWAYS  another, with `sync_interval: always`
  DATABASE_URL     a PostgreSQL where databases may be made
  AGENTBUS_BIN     the agentbus to measure; without it the one beside this program

What is not given is skipped. Streams of the run are called agent-bench-…, databases agent_bench_…; they are
removed after it, and nothing else is touched. A NATS that has streams of an agentbus is refused.
Nothing else should run on the machine. `scripts/bench` starts the servers and runs this on them.
Exit code 1 if a figure was not reached or could not be taken.";

/// Measures agentbus beside the bare parts that it is made of
#[derive(Parser, Clone, Debug)]
#[command(version, after_help = ENVIRONMENT)]
struct SuiteArgs {
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

#[tokio::main]
async fn main() -> ExitCode {
    let args = SuiteArgs::parse();
    if args.list {
        list();
        return ExitCode::SUCCESS;
    }
    match measure(&args).await {
        Ok(report) => ExitCode::from(u8::from(!report.is_good())),
        Err(error) => {
            eprintln!("agentbus-bench-suite: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures in a folder of the run's own, which is removed after, and prints the report.
async fn measure(args: &SuiteArgs) -> Result<SuiteReport, String> {
    let parent = args.folder.clone().unwrap_or_else(std::env::temp_dir);
    let folder = parent.join(format!("agent-bench-{}", uuid::Uuid::new_v4().simple()));
    let failed = |error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let report = match options(args, &folder) {
        Ok(options) => Ok(measured(options, &args.items()).await),
        Err(error) => Err(error),
    };
    let _ = std::fs::remove_dir_all(&folder);
    let report = report?;
    print(&report, args.json)?;
    report.left_behind.iter().for_each(|words| eprintln!("agentbus-bench-suite: {words}"));
    Ok(report)
}

fn options(args: &SuiteArgs, folder: &Path) -> Result<Options, String> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let program = match variable("AGENTBUS_BIN") {
        Some(path) => PathBuf::from(path),
        None => beside_this().map_err(|error| format!("this program: {error}"))?,
    };
    if !program.is_file() {
        return Err(format!(
            "there is no {}: build agentbus, or set AGENTBUS_BIN",
            program.display()
        ));
    }
    Ok(Options {
        nats_url: variable("NATS_URL"),
        nats_url_always: variable("NATS_URL_ALWAYS"),
        database_url: variable("DATABASE_URL"),
        folder: folder.to_owned(),
        program,
        quick: args.quick,
        stop: CancellationToken::new(),
    })
}

fn beside_this() -> std::io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(format!("agentbus{}", std::env::consts::EXE_SUFFIX)))
}

async fn measured(options: Options, items: &[Item]) -> SuiteReport {
    let (bar, stop) = (spinner(), options.stop.clone());
    let begun = |item: Item| bar.set_message(format!("{}: {}", item.name(), item.about()));
    let ended =
        |rows: &[Row]| bar.suspend(|| rows.iter().for_each(|row| eprintln!("{}", line(row))));
    let measuring = run(options, items, begun, ended);
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

/// A spinner on standard error; nothing of it is written where that is no terminal.
fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}

/// A row as one line, while others are still measured.
fn line(row: &Row) -> String {
    let cells = row.cells();
    cells.iter().filter(|cell| !cell.is_empty()).cloned().collect::<Vec<_>>().join("  ")
}

fn print(report: &SuiteReport, json: bool) -> Result<(), String> {
    if json || !std::io::stdout().is_terminal() {
        println!("{}", serde_json::to_string(report).map_err(|error| error.to_string())?);
        return Ok(());
    }
    let machine = &report.machine;
    println!(
        "{} cores, {}, {:.1} GiB, {}; nats-server {}, PostgreSQL {}, agentbus {}\n",
        machine.cores,
        machine.cpu,
        machine.memory as f64 / 1_073_741_824.0,
        machine.kernel,
        machine.nats_server,
        machine.postgres,
        machine.agentbus
    );
    let titles = Row::TITLES.iter().map(|&title| title.to_owned()).collect();
    let rows: Vec<Vec<String>> =
        std::iter::once(titles).chain(report.rows.iter().map(|row| row.cells().to_vec())).collect();
    for row in &rows {
        println!("{}", aligned(row, &rows));
    }
    Ok(())
}

/// A row with each cell as wide as the widest of its column.
fn aligned(row: &[String], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:<0$}", width(column)));
    cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

fn list() {
    let show = |items: &[Item], end: &str| {
        items.iter().for_each(|item| println!("{:<12}{}{end}", item.name(), item.about()));
    };
    show(Item::USUAL, "");
    show(Item::LONG, " (with --big)");
}
