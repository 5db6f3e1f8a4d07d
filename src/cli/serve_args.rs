//! Flags of the commands that run beside the bus and the store.
//!
//! Invariant: a flag only names a value; what it means, and whether it is
//! valid, is the configuration's to say, so that flag, environment and file
//! are judged by the same rules.

use std::path::PathBuf;

use clap::Args;

/// `agentbus serve`.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeArgs {
    /// Let a simulated squad work against this server, to have something to watch
    #[arg(long)]
    pub demo: bool,

    /// Go from NATS to the memory bus although what the stream still holds cannot be read
    ///
    /// Sequences go on beyond anything the stream can hold; the range left behind is told to
    /// readers as a gap with reason "abandoned", and is published again on return to NATS.
    #[arg(long)]
    pub abandon_tail: bool,

    /// What processes messages.
    #[command(flatten)]
    pub processing: Processing,

    /// Where settings come from.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// `agentbus worker`.
#[derive(Args, Clone, Debug, Default)]
pub struct WorkerArgs {
    /// What processes messages.
    #[command(flatten)]
    pub processing: Processing,

    /// Where settings come from.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// What processes messages, and how many at once.
#[derive(Args, Clone, Debug, Default)]
pub struct Processing {
    /// Run this command for each message, with the message on its standard input (PROCESSOR_EXEC)
    ///
    /// It gets this process's environment without agentbus's own secrets: DATABASE_URL, PGPASSWORD, PGPASSFILE, PGSSLKEY,
    /// NATS_URL, NATS_CREDS, NATS_USER, NATS_PASSWORD, NATS_TOKEN and NATS_TLS_KEY.
    #[arg(long, value_name = "COMMAND")]
    pub exec: Option<String>,

    /// Seconds that the command may take; without it, as long as it likes (PROCESSOR_EXEC_TIMEOUT_S)
    #[arg(long, value_name = "SECONDS")]
    pub exec_timeout: Option<String>,

    /// Tell what the command said last on standard error in its failed attempts, which the API shows; it is
    /// always in the log (PROCESSOR_EXEC_SHOW_STDERR)
    #[arg(long)]
    pub exec_show_stderr: bool,

    /// Messages processed at once (PROCESSOR_CONCURRENCY)
    #[arg(long, value_name = "N")]
    pub concurrency: Option<String>,
}

impl Processing {
    /// The settings that its flags name.
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
    /// Mend what can be mended safely, instead of only saying how
    #[arg(long)]
    pub fix: bool,

    /// Where settings come from.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// `agentbus rebuild`.
#[derive(Args, Clone, Debug, Default)]
pub struct RebuildArgs {
    /// Delete the stream and make it anew; what only it holds is stored first
    #[arg(long)]
    pub yes: bool,

    /// Where settings come from.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Settings given on the command line: they win over environment, `.env` and file.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Settings (win over environment, .env and file)")]
pub struct Overrides {
    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The bus: "memory" (one server, nothing beside it) or "nats" (MESSAGE_BUS)
    #[arg(long, value_name = "BUS")]
    pub message_bus: Option<String>,

    /// Address to listen on, such as 127.0.0.1:8080 (HTTP_ADDR)
    #[arg(long, value_name = "HOST:PORT")]
    pub http_addr: Option<String>,

    /// The store: postgres://…; without it, a SQLite file in the data directory (DATABASE_URL)
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,

    /// Where the memory bus and SQLite keep their files (DATA_DIR)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// The NATS servers, such as nats://127.0.0.1:4222 (NATS_URL)
    #[arg(long, value_name = "URL")]
    pub nats_url: Option<String>,

    /// Any other setting by its name; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,
}

/// Splits `NAME=VALUE`; `drain-s=5` and `DRAIN_S=5` name the same setting.
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
