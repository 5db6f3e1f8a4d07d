//! `agentbus erasures`: lists what was erased, and does it again on a store that holds it again.
//!
//! Works on the store of the server's settings, whether a server runs on it or not.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::output::print_line;
use super::own_store;
use super::serve::configuration;
use super::serve_args::Overrides;
use super::terminal::eprint_line;
use crate::clock::Clock;
use crate::erasures::{ErasureRecord, Repeated};
use crate::limits::ERASE_PAGE;
use crate::store::Store;

/// Examples that `--help` shows.
pub const EXAMPLES: &str = "\
Examples:
  agentbus erasures export > erasures.ndjson    before a restore, or every night beside the backup
  agentbus erasures apply erasures.ndjson       after the restore

The list has no content: sequence, id, reason and time of each erasure, one JSON object a line.";

/// `agentbus erasures`.
#[derive(Args, Clone, Debug)]
pub struct ErasuresArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Print every erasure of the store, in the order of the messages
    Export(ExportArgs),
    /// Record the erasures of a list again; servers finish them within seconds, or at their next start
    Apply(ApplyArgs),
}

#[derive(Args, Clone, Debug)]
struct ExportArgs {
    #[command(flatten)]
    settings: Overrides,
}

#[derive(Args, Clone, Debug)]
struct ApplyArgs {
    /// What `agentbus erasures export` printed
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    settings: Overrides,
}

/// Runs the subcommand.
///
/// # Errors
/// A setting or the file is wrong, or the store does not exist or cannot be opened.
pub async fn run(args: ErasuresArgs) -> Result<ExitCode, Failure> {
    match args.what {
        What::Export(args) => {
            let store = open(&args.settings).await?;
            let exported = export(&*store).await;
            store.close().await;
            exported?;
        }
        What::Apply(args) => {
            let records = read(&args.file)?;
            let store = open(&args.settings).await?;
            let applied = apply(&*store, &records).await;
            store.close().await;
            applied?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn open(settings: &Overrides) -> Result<Arc<dyn Store>, Failure> {
    let config = configuration(settings, Vec::new())?;
    own_store::check_exists(&config.store)?;
    Ok(own_store::open(&config.store).await?)
}

async fn export(store: &dyn Store) -> Result<(), Failure> {
    let mut from = 0;
    loop {
        let page = store.erasures(from, ERASE_PAGE).await.map_err(|error| error.to_string())?;
        let Some(last) = page.last() else { return Ok(()) };
        from = last.seq + 1;
        for erasure in page {
            let record = serde_json::to_string(&ErasureRecord::from(erasure));
            print_line(&record.map_err(|error| error.to_string())?)?;
        }
    }
}

/// Reads the whole list first, so that nothing is erased by a part of a wrong file.
fn read(file: &PathBuf) -> Result<Vec<ErasureRecord>, String> {
    let wrong = |what: String| format!("{}: {what}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parse = |(at, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| wrong(format!("line {}: {error}", at + 1)))
    };
    lines.map(parse).collect()
}

async fn apply(store: &dyn Store, records: &[ErasureRecord]) -> Result<(), Failure> {
    let (mut recorded, mut known, mut missing) = (0_u64, 0_u64, 0_u64);
    for record in records {
        let repeated = record.repeat(store, Clock::system().now()).await;
        match repeated.map_err(|error| error.to_string())? {
            Repeated::Recorded => recorded += 1,
            Repeated::Known => known += 1,
            Repeated::Missing => {
                missing += 1;
                eprint_line(&format!(
                    "agentbus: the store has no message {} at sequence {}",
                    record.id, record.seq
                ));
            }
        }
    }
    print_line(&format!("{recorded} recorded, {known} known already, {missing} not in this store"))
}
