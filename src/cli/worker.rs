//! `agentbus worker`: processes messages, without a server.

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use super::serve::{configuration, watch_signals};
use super::serve_args::WorkerArgs;
use crate::telemetry::Exporter;
use crate::{app, telemetry};

pub(super) const EXAMPLES: &str = "\
Examples:
  agentbus worker --exec './handle.sh'                 each message on standard input of a command
  agentbus worker --concurrency 32 --exec 'jq -r .content >> said.txt'

`sh -c` runs the command with the message as one line of JSON on standard input. Its environment has AGENTBUS_SEQ,
AGENTBUS_SUBJECT, AGENTBUS_ATTEMPT and others, but not the secrets of agentbus (DATABASE_URL, NATS_PASSWORD …).
Exit code 0: done; 75: retry later; any other: dead letter. The end of its standard error is in the log, and with
--exec-show-stderr in the dead letter.";

/// Processes messages until a signal. After a second signal the process ends at once.
///
/// # Errors
/// A setting is wrong, the reason why the worker could not start, or the part that failed.
pub(super) async fn run(args: WorkerArgs) -> Result<ExitCode, String> {
    let config = configuration(&args.overrides, args.processing.settings())?;
    telemetry::logs(&config.log_filter, config.log_json)?;
    config.exposures().iter().for_each(|exposure| tracing::warn!("{exposure}"));
    let traces = config.traces.as_ref().map(Exporter::start).transpose()?;
    let stop = CancellationToken::new();
    let signals = tokio::spawn(watch_signals(stop.clone()));
    let worked = app::work(config, Vec::new(), stop).await;
    signals.abort();
    if let Some(traces) = traces {
        traces.stop().await;
    }
    worked.map(|()| ExitCode::SUCCESS)
}
