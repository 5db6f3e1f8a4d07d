//! Logs of the process, to standard error.

use tracing_subscriber::EnvFilter;

/// Writes logs to standard error, as text or JSON lines.
///
/// # Errors
/// The filter (`RUST_LOG`) is not valid.
pub fn logs(filter: &str, json: bool) -> Result<(), String> {
    use std::io::IsTerminal as _;
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("RUST_LOG: {error}"))?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let set = if json { logs.json().try_init() } else { logs.try_init() };
    // A test process starts several servers; the first subscriber stays.
    let _ = set;
    Ok(())
}
