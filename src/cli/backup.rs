//! `agentbus backup`: copies the store to a folder, beside servers that run.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;

use super::failure::{Failure, until_interrupted};
use super::output::{Format, print_result};
use super::own_store;
use super::progress;
use super::serve::configuration;
use super::serve_args::Overrides;
use crate::backup::{Manifest, POSTGRES_FILE, SQLITE_FILE, Unfinished};
use crate::clock::Clock;
use crate::config::StoreConfig;
use crate::store::postgres::Snapshot;
use crate::store::sqlite::{self, DATABASE_FILE};
use crate::store::{SchemaDifference, StoreError};

/// Examples that `--help` shows.
pub const EXAMPLES: &str = "\
Examples:
  agentbus backup /backup/$(date -u +%F)             with the settings of the server
  agentbus backup copy --data-dir /var/lib/agentbus

The folder must not exist, or be empty. Servers go on meanwhile. The backup is complete up to the sequence that
the command names, and has no other messages. It holds the store with all that is in it: messages, agents, inboxes,
consumers, retries, dead letters, webhooks with their secrets, keys (hashes), schemas, the audit log, and on SQLite and
the memory bus the jobs of queues. Jobs of queues on NATS are in JetStream, not in the backup.
PostgreSQL needs pg_dump in PATH, not older than its server.
`agentbus restore` reads the folder. In a pipe the output is one JSON object.";

/// How often the size of the copy is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// `agentbus backup`.
#[derive(Args, Clone, Debug)]
pub struct BackupArgs {
    /// Folder to make
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// Settings.
    #[command(flatten)]
    settings: Overrides,
}

/// Makes a backup.
///
/// # Errors
/// A setting is wrong, the folder holds something, the store cannot be read, or the disk fails.
pub async fn run(args: BackupArgs) -> Result<ExitCode, Failure> {
    until_interrupted(back_up(args)).await
}

async fn back_up(args: BackupArgs) -> Result<(), Failure> {
    let config = configuration(&args.settings, Vec::new())?;
    own_store::check_exists(&config.store)?;
    // Before the copy begins: what is assigned from now on may not be in it.
    let begun = Clock::system().now();
    let (folder, content, database) = match &config.store {
        StoreConfig::Sqlite(dir) => {
            let folder = Unfinished::begin(&args.folder, SQLITE_FILE)?;
            let size = std::fs::metadata(dir.join(DATABASE_FILE)).ok().map(|file| file.len());
            let (bar, part) = (progress::bytes(size), folder.part());
            let copied = watched(&bar, &part, sqlite::back_up(dir, &part)).await;
            (folder, copied.map_err(plain)?, None)
        }
        StoreConfig::Postgres(url) => {
            let snapshot = Snapshot::take(url).await.map_err(plain)?;
            let (content, database) = (snapshot.content.clone(), snapshot.database.clone());
            let folder = Unfinished::begin(&args.folder, POSTGRES_FILE)?;
            let (bar, part) = (progress::spinner(), folder.part());
            watched(&bar, &part, snapshot.dump(&part)).await.map_err(plain)?;
            (folder, content, Some(database))
        }
    };
    if let Some(step) = SchemaDifference::of_backup(&content.schema).missing.first() {
        return Err(Failure::Failed(format!(
            "the store lacks migration {step}: make the backup with the version of agentbus that runs on it"
        )));
    }
    let finished = tokio::task::spawn_blocking(move || {
        let file = folder.describe()?;
        let manifest = Manifest::new(content, database, file, begun);
        folder.finish(&manifest).map(|()| manifest)
    });
    let manifest = finished.await.map_err(|error| error.to_string())??;
    report(&args, &manifest)
}

fn report(args: &BackupArgs, manifest: &Manifest) -> Result<(), Failure> {
    let (folder, through) = (args.folder.display(), manifest.committed_through);
    let bytes = manifest.file().bytes;
    print_result(
        args.format.is_text(),
        &format!("{folder} holds the store up to sequence {through} ({bytes} bytes)"),
        &json!({
            "folder": args.folder,
            "committed_through": through,
            "file": manifest.file(),
        }),
    )
}

/// Shows the size of a file while it is written.
async fn watched<T>(bar: &ProgressBar, file: &Path, work: impl Future<Output = T>) -> T {
    let done = tokio::select! {
        done = work => done,
        never = show_size(bar, file) => match never {},
    };
    bar.finish_and_clear();
    done
}

async fn show_size(bar: &ProgressBar, file: &Path) -> Infallible {
    loop {
        tokio::time::sleep(LOOK).await;
        let bytes = std::fs::metadata(file).map_or(0, |file| file.len());
        bar.set_position(bytes);
        bar.set_message(format!("{} MiB", bytes >> 20));
    }
}

/// The error in words for an operator.
pub(super) fn plain(error: StoreError) -> Failure {
    Failure::Failed(match error {
        StoreError::Refused(text) => text,
        other => other.to_string(),
    })
}
