//! `agentbus worker`: background processing alone.

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use super::serve::{configuration, watch_signals};
use super::serve_args::WorkerArgs;
use crate::{app, telemetry};

pub(super) const EXAMPLES: &str = "\
Examples:
  agentbus worker --exec './handle.sh'                 each message on the standard input of a command
  agentbus worker --concurrency 32 --exec 'jq -r .content >> said.txt'

The command is run by `sh -c` with the message as one line of JSON on standard input, and AGENTBUS_SEQ,
AGENTBUS_SUBJECT, AGENTBUS_ATTEMPT and others in its environment, but not agentbus's own secrets (DATABASE_URL,
NATS_PASSWORD …). Exit code 0: done; 75: again later; anything else: a dead letter. What it said last on standard
error is in the log, and in the dead letter with --exec-show-stderr.";

/// Processes until a signal; a second signal ends the process at once.
///
/// # Errors
/// What is missing, why it could not start, or which part failed.
pub(super) async fn run(args: WorkerArgs) -> Result<ExitCode, String> {
    let config = configuration(&args.overrides, args.processing.settings())?;
    telemetry::logs(&config.log_filter, config.log_json)?;
    config.exposures().iter().for_each(|exposure| tracing::warn!("{exposure}"));
    let stop = CancellationToken::new();
    let signals = tokio::spawn(watch_signals(stop.clone()));
    let worked = app::work(config, Vec::new(), stop).await;
    signals.abort();
    worked.map(|()| ExitCode::SUCCESS)
}
