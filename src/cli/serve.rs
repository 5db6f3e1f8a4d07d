//! `agentbus serve`: the server.

use std::net::SocketAddr;
use std::process::ExitCode;

use agentbus_client::Client;
use tokio_util::sync::CancellationToken;

use super::credential::CredentialArgs;
use super::demo;
use super::failure::Failure;
use super::serve_args::{Overrides, ServeArgs};
use crate::config::{Config, Source};
use crate::limits::SERVER_FILES;
use crate::telemetry::Exporter;
use crate::{app, open_files, shutdown, telemetry};

/// Messages a second of the demo squad: so few that people can read them live.
const DEMO_RATE: f64 = 4.0;

/// Serves until a signal. After a second signal the process ends at once.
///
/// # Errors
/// The reason why the server could not start, or the part that failed.
pub async fn run(args: ServeArgs) -> Result<ExitCode, String> {
    let config = configuration(&args.overrides, args.processing.settings())?;
    telemetry::logs(&config.log_filter, config.log_json)?;
    config.exposures().iter().for_each(|exposure| tracing::warn!("{exposure}"));
    if args.demo && config.http.tls.is_some() {
        return Err(
            "--demo needs a server without TLS: unset HTTP_TLS_CERT and HTTP_TLS_KEY".to_owned()
        );
    }
    raise_file_limit(config.http.max_connections);
    let metrics = telemetry::metrics()?;
    let traces = config.traces.as_ref().map(Exporter::start).transpose()?;
    let stop = CancellationToken::new();
    let signals = tokio::spawn(watch_signals(stop.clone()));
    let options = app::Options { abandon_tail: args.abandon_tail, handlers: Vec::new() };
    let squad = args.demo.then(|| stop.clone());
    let mut demo_task = None;
    let served = app::run(config, options, metrics, stop, |addr| {
        if let Some(stop) = squad {
            demo_task = Some(tokio::spawn(run_demo(addr, stop)));
        }
    })
    .await;
    signals.abort();
    if let Some(task) = demo_task {
        task.abort();
    }
    if let Some(traces) = traces {
        traces.stop().await;
    }
    served.map(|()| ExitCode::SUCCESS)
}

/// Raises the limit of open files; warns if it is still too low.
fn raise_file_limit(max_connections: usize) {
    let before = open_files::limit();
    open_files::raise();
    let now = open_files::limit();
    if now != before {
        tracing::info!(?before, ?now, "raised the limit of open files");
    }
    let needed = u64::try_from(max_connections + SERVER_FILES).unwrap_or(u64::MAX);
    if let Some(limit) = now.filter(|limit| *limit < needed) {
        tracing::warn!(
            "MAX_CONNECTIONS={max_connections} needs {needed} open files and the limit is {limit}: raise the hard \
             limit (LimitNOFILE= in systemd, ulimit -Hn), or lower MAX_CONNECTIONS"
        );
    }
}

/// The configuration from flags, environment, `.env` and file. `more` are flags that only one command has.
///
/// # Errors
/// Each wrong setting on a line.
pub fn configuration(overrides: &Overrides, more: Vec<(String, String)>) -> Result<Config, String> {
    let named = flags(overrides).into_iter().chain(more).collect();
    let source = Source::of_process(named, overrides.config.as_deref());
    source.and_then(|source| Config::from_source(&source)).map_err(|errors| errors.join("\n"))
}

/// The settings that these flags set.
fn flags(overrides: &Overrides) -> Vec<(String, String)> {
    let path = |path: &std::path::PathBuf| path.to_string_lossy().into_owned();
    let named = [
        ("MESSAGE_BUS", overrides.message_bus.clone()),
        ("HTTP_ADDR", overrides.http_addr.clone()),
        ("DATABASE_URL", overrides.database_url.clone()),
        ("DATA_DIR", overrides.data_dir.as_ref().map(path)),
        ("NATS_URL", overrides.nats_url.clone()),
    ];
    let named = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    overrides.set.iter().cloned().chain(named).collect()
}

/// Runs the simulated squad as a client of this server.
async fn run_demo(addr: SocketAddr, stop: CancellationToken) {
    let args = demo::SquadArgs { rate: DEMO_RATE, tasks: None, seed: None };
    let squad = async {
        let mut client = Client::new(&format!("http://{addr}"))?;
        if let Some(key) = CredentialArgs::default().key()? {
            client = client.with_key(&key)?;
        }
        demo::run_squad(client, args, None, stop).await.map_err(Failure::from)
    };
    if let Err(failure) = squad.await {
        tracing::warn!(?failure, "the demo squad stopped");
    }
}

pub(super) async fn watch_signals(stop: CancellationToken) {
    match shutdown::signal().await {
        Ok(name) => tracing::info!(signal = name, "stopping"),
        Err(error) => {
            tracing::error!(%error, "cannot watch for signals; stop the process with SIGKILL");
            return;
        }
    }
    stop.cancel();
    if let Ok(name) = shutdown::signal().await {
        tracing::warn!(signal = name, "second signal: ending at once");
        std::process::exit(130);
    }
}
