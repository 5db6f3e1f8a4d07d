//! The command line of `agentbus-bench-suite`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use agentbus::shutdown;
use agentbus_bench::server::unique_folder;
use agentbus_bench_suite::{Item, Options, Row, SuiteReport, run};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

/// Interval at which the spinner moves.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

const ENVIRONMENT: &str = "\
Environment:
  NATS_URL         NATS server with JetStream, without streams of an agentbus
  NATS_URL_ALWAYS  NATS server with `sync_interval: always`
  DATABASE_URL     PostgreSQL server whose user may create databases
  AGENTBUS_BIN     agentbus program to measure; default: the one in the folder of this program

Items that need a server that is not given are skipped. The run creates streams named agent-bench-… and databases
named agent_bench_…, and removes them at the end. A NATS server with streams of an agentbus is refused.
Nothing else should run on the machine. `scripts/bench` starts the servers and runs this program on them.
Exit code 1 if a target was missed or an item failed.";

/// Measures agentbus and the bare parts that it consists of
#[derive(Parser, Clone, Debug)]
#[command(version, after_help = ENVIRONMENT)]
struct SuiteArgs {
    /// Measure only these items, comma separated
    #[arg(long, value_name = "ITEMS", value_delimiter = ',')]
    only: Vec<Item>,

    /// Also measure the items that take long
    #[arg(long)]
    big: bool,

    /// Shorten every measurement, for rough figures
    #[arg(long)]
    quick: bool,

    /// List the items
    #[arg(long)]
    list: bool,

    /// Print JSON, also on a terminal
    #[arg(long)]
    json: bool,

    /// Folder for files, on the disk to measure; default: the system's temporary folder
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

impl SuiteArgs {
    fn items(&self) -> Vec<Item> {
        if !self.only.is_empty() {
            return self.only.clone();
        }
        let long: &[Item] = if self.big { Item::LONG } else { &[] };
        Item::DEFAULT.iter().chain(long).copied().collect()
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

/// Measures in a new folder, which is removed at the end, and prints the report.
async fn measure(args: &SuiteArgs) -> Result<SuiteReport, String> {
    let parent = args.folder.clone().unwrap_or_else(std::env::temp_dir);
    let folder = unique_folder(&parent);
    let failed = |error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let report = match options(args, &folder) {
        Ok(options) => Ok(measured(options, &args.items()).await),
        Err(error) => Err(error),
    };
    let _ = std::fs::remove_dir_all(&folder);
    let report = report?;
    print(&report, args.json)?;
    report.left_behind.iter().for_each(|text| eprintln!("agentbus-bench-suite: {text}"));
    Ok(report)
}

fn options(args: &SuiteArgs, folder: &Path) -> Result<Options, String> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let program = match variable("AGENTBUS_BIN") {
        Some(path) => PathBuf::from(path),
        None => sibling_program().map_err(|error| format!("the path of this program: {error}"))?,
    };
    if !program.is_file() {
        return Err(format!(
            "{} does not exist: build agentbus, or set AGENTBUS_BIN",
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

fn sibling_program() -> std::io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(format!("agentbus{}", std::env::consts::EXE_SUFFIX)))
}

async fn measured(options: Options, items: &[Item]) -> SuiteReport {
    let (bar, stop) = (spinner(), options.stop.clone());
    let on_start = |item: Item| bar.set_message(format!("{}: {}", item.name(), item.description()));
    let on_end =
        |rows: &[Row]| bar.suspend(|| rows.iter().for_each(|row| eprintln!("{}", line(row))));
    let measuring = run(options, items, on_start, on_end);
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

/// A spinner on standard error, shown only on a terminal.
fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(PROGRESS_INTERVAL);
    bar
}

/// A row as one line, shown while the run goes on.
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

/// A row with each cell padded to the width of its column.
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
        items.iter().for_each(|item| println!("{:<12}{}{end}", item.name(), item.description()));
    };
    show(Item::DEFAULT, "");
    show(Item::LONG, " (with --big)");
}
