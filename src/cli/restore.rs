//! `agentbus restore`: makes an empty store from a backup.
//!
//! Invariant: everything is checked before anything is written, and what is written becomes the store at once or not at
//! all.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::backup::plain;
use super::failure::{Failure, until_interrupted};
use super::output::{Format, print_result};
use super::progress;
use super::serve::configuration;
use super::serve_args::Overrides;
use crate::backup::{Manifest, skip_to, verify};
use crate::clock::Clock;
use crate::config::StoreConfig;
use crate::store::Restoration;
use crate::store::postgres::PostgresTarget;
use crate::store::sqlite::SqliteTarget;
use crate::telemetry;

/// Examples that `--help` shows.
pub const EXAMPLES: &str = "\
Examples:
  agentbus restore /backup/2026-11-20                      with the settings of the server to be
  agentbus restore copy --data-dir /var/lib/agentbus
  agentbus restore copy --keep-keys

The store must be empty: a DATA_DIR without agentbus.db, or a database without tables, in PostgreSQL of the same version
or a newer one, with pg_restore and psql in PATH. A backup of SQLite is restored to SQLite and one of PostgreSQL to
PostgreSQL; `agentbus export` and `agentbus import` take the messages from one to the other.
What was acknowledged after the backup is lost, unless the stream on NATS still holds it. Its sequences are not given to
other messages: they go on beyond, and readers get the range in between as a gap with reason \"abandoned\".
Keys answer 401 until `agentbus keys enable ID`. In a pipe the output is one JSON object.";

/// `agentbus restore`.
#[derive(Args, Clone, Debug)]
pub struct RestoreArgs {
    /// Folder that `agentbus backup` made
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// Leave keys enabled, also those that were revoked since the backup
    #[arg(long)]
    keep_keys: bool,

    /// Restore although NATS cannot be reached, and skip what its stream may hold
    #[arg(long)]
    abandon_tail: bool,

    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// Settings.
    #[command(flatten)]
    settings: Overrides,
}

/// An empty store, locked against every other process.
enum Target {
    Sqlite(SqliteTarget),
    Postgres(Box<PostgresTarget>),
}

impl Target {
    async fn open(config: &StoreConfig, manifest: &Manifest) -> Result<Self, Failure> {
        match (config, &manifest.postgres) {
            (StoreConfig::Sqlite(dir), None) => {
                Ok(Self::Sqlite(SqliteTarget::open(dir).await.map_err(plain)?))
            }
            (StoreConfig::Postgres(url), Some(from)) => {
                let target = PostgresTarget::open(url, from).await.map_err(plain)?;
                Ok(Self::Postgres(Box::new(target)))
            }
            (StoreConfig::Sqlite(_), Some(_)) => Err(Failure::Failed(
                "this is a backup of PostgreSQL: name an empty database in DATABASE_URL. Into SQLite, messages are \
                 taken by `agentbus export` and `agentbus import`"
                    .to_owned(),
            )),
            (StoreConfig::Postgres(_), None) => Err(Failure::Failed(
                "this is a backup of SQLite: restore it without DATABASE_URL. Into PostgreSQL, messages are taken by \
                 `agentbus export` and `agentbus import`"
                    .to_owned(),
            )),
        }
    }

    async fn fill(&self, from: &Path, changes: &Restoration) -> Result<(), Failure> {
        let filled = match self {
            Self::Sqlite(target) => target.fill(from, changes).await,
            Self::Postgres(target) => target.fill(from, changes).await,
        };
        filled.map_err(plain)
    }
}

/// Restores a backup.
///
/// # Errors
/// A setting is wrong; the folder is no intact backup, or not for this store; the store is not empty, in use or cannot be
/// written.
pub async fn run(args: RestoreArgs) -> Result<ExitCode, Failure> {
    until_interrupted(restore(args)).await
}

async fn restore(args: RestoreArgs) -> Result<(), Failure> {
    let config = configuration(&args.settings, Vec::new())?;
    telemetry::logs(&config.log_filter, config.log_json)?;
    let manifest = Manifest::read(&args.folder)?;
    let target = Target::open(&config.store, &manifest).await?;
    check_files(&args.folder, &manifest).await?;
    let now = Clock::system().now();
    let skip_to = skip_to(&manifest, &config.nats, args.abandon_tail, now).await?;
    let through = manifest.committed_through;
    let changes = Restoration { through, skip_to, keep_keys: args.keep_keys };
    let bar = progress::spinner();
    bar.set_message("restoring");
    let filled = target.fill(&manifest.path_in(&args.folder), &changes).await;
    bar.finish_and_clear();
    filled?;
    report(&args, &changes)
}

/// Compares the files with the manifest.
async fn check_files(folder: &Path, manifest: &Manifest) -> Result<(), Failure> {
    let bar = progress::bytes(Some(manifest.file().bytes));
    bar.set_message("checking");
    let (folder, manifest, shown) = (folder.to_owned(), manifest.clone(), bar.clone());
    let checked = tokio::task::spawn_blocking(move || {
        verify(&folder, &manifest, &|bytes| shown.set_position(bytes))
    });
    let checked = checked.await.map_err(|error| error.to_string())?;
    bar.finish_and_clear();
    checked.map_err(Failure::from)
}

fn report(args: &RestoreArgs, changes: &Restoration) -> Result<(), Failure> {
    let through = changes.through;
    let next = match changes.skip_to {
        Some(to) => format!("sequences go on at {}", to + 1),
        None => "the stream continues it: the servers store what it holds beyond".to_owned(),
    };
    let keys = match args.keep_keys {
        true => "keys are as they were at the backup",
        false => {
            "keys are disabled: `agentbus keys list`, then `agentbus keys enable ID` for each that is still good"
        }
    };
    print_result(
        args.format.is_text(),
        &format!("the store is restored up to sequence {through}; {next}\n{keys}"),
        &json!({
            "committed_through": through,
            "next_seq": changes.skip_to.map(|to| to + 1),
            "keys": if args.keep_keys { "kept" } else { "disabled" },
        }),
    )
}
