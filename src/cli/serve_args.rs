//! Flags of the commands that use bus and store directly.
//!
//! Invariant: a flag only sets a value. The configuration validates the value by the same rules as one from
//! the environment or the file.

use std::path::PathBuf;

use clap::Args;

/// `agentbus serve`.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeArgs {
    /// Run a simulated squad of agents against this server
    #[arg(long)]
    pub demo: bool,

    /// Switch from NATS to the memory bus although the rest of the stream cannot be read
    ///
    /// The next sequence is higher than any in the stream. Readers get the range in between as a gap with
    /// reason "abandoned". When the log returns to NATS, the messages left in the stream are published
    /// again.
    #[arg(long)]
    pub abandon_tail: bool,

    /// Processing of messages.
    #[command(flatten)]
    pub processing: Processing,

    /// Settings.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// `agentbus worker`.
#[derive(Args, Clone, Debug, Default)]
pub struct WorkerArgs {
    /// Processing of messages.
    #[command(flatten)]
    pub processing: Processing,

    /// Settings.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Processing of messages.
#[derive(Args, Clone, Debug, Default)]
pub struct Processing {
    /// Command to run for each message, with the message on standard input (PROCESSOR_EXEC)
    ///
    /// It gets the environment of this process without the secrets of agentbus: DATABASE_URL, PGPASSWORD,
    /// PGPASSFILE, PGSSLKEY, NATS_URL, NATS_CREDS, NATS_USER, NATS_PASSWORD, NATS_TOKEN, NATS_TLS_KEY,
    /// HTTP_TLS_KEY, ROOT_KEY_FILE, JWT_ISSUERS_FILE, AGENTBUS_KEY, OTEL_EXPORTER_OTLP_HEADERS,
    /// OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_HEADERS and OTEL_EXPORTER_OTLP_TRACES_ENDPOINT.
    #[arg(long, value_name = "COMMAND")]
    pub exec: Option<String>,

    /// Seconds that the command may take; without it, no limit (PROCESSOR_EXEC_TIMEOUT_S)
    #[arg(long, value_name = "SECONDS")]
    pub exec_timeout: Option<String>,

    /// Show the last standard error of a failed command in the API, too, not only in the log
    /// (PROCESSOR_EXEC_SHOW_STDERR)
    #[arg(long)]
    pub exec_show_stderr: bool,

    /// Most messages in flight (PROCESSOR_CONCURRENCY)
    #[arg(long, value_name = "N")]
    pub concurrency: Option<String>,
}

impl Processing {
    /// The settings that these flags set.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        let show = self.exec_show_stderr.then(|| "true".to_owned());
        let named = [
            ("PROCESSOR_EXEC", &self.exec),
            ("PROCESSOR_EXEC_TIMEOUT_S", &self.exec_timeout),
            ("PROCESSOR_EXEC_SHOW_STDERR", &show),
            ("PROCESSOR_CONCURRENCY", &self.concurrency),
        ];
        let named = named.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        named.map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// `agentbus doctor`.
#[derive(Args, Clone, Debug, Default)]
pub struct DoctorArgs {
    /// Fix what is safe to fix
    #[arg(long)]
    pub fix: bool,

    /// Settings.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// `agentbus rebuild`.
#[derive(Args, Clone, Debug, Default)]
pub struct RebuildArgs {
    /// Confirm: delete the stream and recreate it. Messages that only the stream has are stored first
    #[arg(long)]
    pub yes: bool,

    /// Take the log over from a lost site, of whose stream and database these are the copies
    ///
    /// The stream may be a mirror. The next sequence is higher than any that the lost site can have given.
    /// Readers get the range in between as a gap with reason "abandoned".
    #[arg(long)]
    pub take_over: bool,

    /// Settings.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Settings on the command line.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Settings (override environment, .env and file)")]
pub struct Overrides {
    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The bus: "memory" (one server, without NATS) or "nats" (MESSAGE_BUS)
    #[arg(long, value_name = "BUS")]
    pub message_bus: Option<String>,

    /// Address to listen on, such as 127.0.0.1:8080 (HTTP_ADDR)
    #[arg(long, value_name = "HOST:PORT")]
    pub http_addr: Option<String>,

    /// The store, postgres://…; without it, a SQLite file in the data directory (DATABASE_URL)
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,

    /// Directory of the memory bus and SQLite (DATA_DIR)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// NATS servers, such as nats://127.0.0.1:4222 (NATS_URL)
    #[arg(long, value_name = "URL")]
    pub nats_url: Option<String>,

    /// Any other setting by its name; repeatable
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,
}

impl Overrides {
    /// Whether any flag is given.
    #[must_use]
    pub fn are_given(&self) -> bool {
        let Self { config, message_bus, http_addr, database_url, data_dir, nats_url, set } = self;
        let texts = [message_bus, http_addr, database_url, nats_url];
        config.is_some()
            || data_dir.is_some()
            || !set.is_empty()
            || texts.iter().any(|text| text.is_some())
    }
}

/// Splits `NAME=VALUE`; `drain-s=5` and `DRAIN_S=5` are the same setting.
fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE, such as DRAIN_S=5")?;
    let name = name.trim().to_ascii_uppercase().replace('-', "_");
    let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(format!("'{name}' cannot be the name of a setting"));
    }
    Ok((name, value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_name_and_whatever_follows_the_first_equals_sign() {
        let pair = |a: &str, b: &str| Ok((a.to_owned(), b.to_owned()));
        assert_eq!(setting("DRAIN_S=5"), pair("DRAIN_S", "5"));
        assert_eq!(setting("rust-log=a=debug,b=info"), pair("RUST_LOG", "a=debug,b=info"));
        assert_eq!(setting("NATS_CREDS="), pair("NATS_CREDS", ""));
        assert!(setting("DRAIN_S").is_err());
        assert!(setting("=5").is_err());
        assert!(setting("A B=5").is_err());
    }
}
