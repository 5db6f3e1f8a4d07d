//! `agentbus rebuild`: recreates the stream from the store.

use std::process::ExitCode;

use uuid::Uuid;

use super::output::print_line;
use super::progress;
use super::serve::configuration;
use super::serve_args::RebuildArgs;
use crate::bus::Bus as _;
use crate::bus::nats::{IfMissing, NatsBus};
use crate::config::StoreConfig;
use crate::store::postgres::PostgresStore;
use crate::store::{BusKind, LogStore as _, Store as _};
use crate::{continuity, telemetry};

pub const EXAMPLES: &str = "\
Stop every server and worker first: the command refuses to run while one does.

Examples:
  agentbus rebuild --yes                    with NATS_URL, DATABASE_URL and NATS_STREAM_NAME
  agentbus rebuild --yes --set nats-max-msgs=5000000
  agentbus rebuild --yes --take-over        at the second site, when the first is lost";

/// Recreates the stream.
///
/// # Errors
/// The configuration is wrong, a server is running, or bus or store cannot be reached.
pub async fn run(args: RebuildArgs) -> Result<ExitCode, String> {
    let config = configuration(&args.overrides, Vec::new())?;
    telemetry::logs(&config.log_filter, config.log_json)?;
    let StoreConfig::Postgres(url) = &config.store else {
        return Err("DATABASE_URL must name the PostgreSQL database of the log".to_owned());
    };
    if !args.yes {
        return Err(format!(
            "this deletes stream {} and recreates it from the database; confirm with --yes",
            config.nats.stream_name
        ));
    }
    let text = |error: crate::store::StoreError| error.to_string();
    let store = PostgresStore::connect_for(url, BusKind::Memory).await.map_err(text)?;
    let state = store.log_state().await.map_err(text)?;
    if state.bus == Some(BusKind::Memory) {
        return Err("the log is on the memory bus: start a server with MESSAGE_BUS=nats, which \
                    fills the stream by itself"
            .to_owned());
    }
    // Joins exclusively, like a server on the memory bus: no other server may run.
    let _membership = store.join(BusKind::Memory).await.map_err(text)?.map_err(|reason| {
        format!("stop every server and worker of this database first: {reason}")
    })?;
    let missing = if args.take_over { IfMissing::TakeOver } else { IfMissing::CreateClosed };
    let bus = NatsBus::connect_or(config.nats.clone(), missing, &[]).await;
    let bus = bus.map_err(|error| error.to_string())?;
    let bar = progress::sequences();
    let shown = bar.clone();
    let report = move |done: u64, end: u64| {
        shown.set_length(end);
        shown.set_position(done);
    };
    let made = continuity::rebuild(&bus, &store, Uuid::new_v4(), args.take_over, &report).await;
    bar.finish_and_clear();
    let (identity, through) = made.map_err(|error| error.to_string())?;
    store.close().await;
    let (stream, bounds) = (bus.log_name(), identity.bounds);
    let _ = print_line(&if args.take_over {
        format!(
            "the log is taken over up to sequence {through}; stream {stream} goes on at {}",
            bounds.last + 1
        )
    } else {
        format!(
            "stream {stream} is recreated and holds sequences {} to {}",
            bounds.first, bounds.last
        )
    });
    Ok(ExitCode::SUCCESS)
}
