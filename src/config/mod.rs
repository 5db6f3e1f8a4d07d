//! Settings: their sections, defaults and checks.
//!
//! Invariant: an invalid setting stops the start; all invalid ones are reported together, by name. `Debug`
//! never shows secrets.

mod access;
mod http;
mod names;
mod origins;
mod processor;
mod source;
mod traces;
mod webhooks;

use std::path::PathBuf;
use std::time::Duration;

use crate::bus::nats::{NatsConfig, check_credentials};
use crate::limits::DEFAULT_RING_SIZE;
use crate::store::{BusKind, postgres};
pub use access::AccessConfig;
pub use http::{HostRule, HttpConfig, TlsFiles};
pub use names::{NAMES, SECRETS};
pub use origins::OriginRule;
pub use processor::ProcessorConfig;
pub use source::Source;
pub use traces::TraceConfig;
pub use webhooks::WebhookConfig;

/// The default of `RUST_LOG`: libraries log only warnings. The connector of async-nats logs again what it returns.
pub const DEFAULT_LOG_FILTER: &str = "info,async_nats=warn,async_nats::connector=off,sqlx=warn";

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The bus of the log.
    pub bus: BusKind,
    /// The connection to NATS; also needed to switch from NATS to the memory bus.
    pub nats: NatsConfig,
    /// The store.
    pub store: StoreConfig,
    /// Who may come in.
    pub access: AccessConfig,
    /// The listener and its rules.
    pub http: HttpConfig,
    /// How webhooks are delivered.
    pub webhooks: WebhookConfig,
    /// Background processing.
    pub processor: ProcessorConfig,
    /// How many entries the broadcaster's ring has.
    pub ring_size: usize,
    /// The most time that requests and handlers get to end after a stop.
    pub drain: Duration,
    /// Whether logs are JSON lines.
    pub log_json: bool,
    /// Filter of the logs, in the syntax of `RUST_LOG`.
    pub log_filter: String,
    /// Where traces are sent; `None` if they are off.
    pub traces: Option<TraceConfig>,
}

/// Where the store is.
#[derive(Clone)]
pub enum StoreConfig {
    /// A file in this folder.
    Sqlite(PathBuf),
    /// A PostgreSQL database, by its URL, which may contain a password.
    Postgres(String),
}

impl std::fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(dir) => write!(f, "Sqlite({})", dir.display()),
            Self::Postgres(_) => f.write_str("Postgres(***)"),
        }
    }
}

impl Config {
    /// Reads all sections.
    ///
    /// # Errors
    /// A line for each invalid setting, with its name.
    pub fn from_source(source: &Source) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let bus = match source.get("MESSAGE_BUS").unwrap_or("memory") {
            "memory" => BusKind::Memory,
            "nats" => BusKind::Nats,
            _ => {
                errors.push("MESSAGE_BUS must be memory or nats".to_owned());
                BusKind::Memory
            }
        };
        let store = store(source, &mut errors);
        if bus == BusKind::Nats && matches!(store, StoreConfig::Sqlite(_)) {
            errors.push(
                "DATABASE_URL must name a PostgreSQL database when MESSAGE_BUS=nats".to_owned(),
            );
        }
        let log_json = match source.get("LOG_FORMAT").unwrap_or("text") {
            "text" => false,
            "json" => true,
            _ => {
                errors.push("LOG_FORMAT must be text or json".to_owned());
                false
            }
        };
        let access = AccessConfig::from_source(source, &mut errors);
        let nats = nats(source, &mut errors);
        if bus == BusKind::Nats {
            errors.extend(check_credentials(&nats));
        }
        let config = Self {
            bus,
            nats,
            store,
            http: HttpConfig::from_source(source, access.required, &mut errors),
            access,
            processor: ProcessorConfig::from_source(source, &mut errors),
            webhooks: WebhookConfig::from_source(source, &mut errors),
            ring_size: source.parse(
                "RING_SIZE",
                DEFAULT_RING_SIZE,
                "a number of entries",
                &mut errors,
            ),
            drain: seconds(source, "DRAIN_S", 10, &mut errors),
            log_json,
            log_filter: source.get("RUST_LOG").unwrap_or(DEFAULT_LOG_FILTER).to_owned(),
            traces: TraceConfig::from_source(source, &mut errors),
        };
        if !(64..=1_000_000).contains(&config.ring_size) {
            errors.push("RING_SIZE must be 64 to 1000000".to_owned());
        }
        if errors.is_empty() { Ok(config) } else { Err(errors) }
    }

    /// Warnings for the operator at each start, about secrets and messages that others on the network can
    /// read, and about servers that others there can impersonate.
    #[must_use]
    pub fn exposures(&self) -> Vec<String> {
        let nats = (self.bus == BusKind::Nats).then(|| self.nats.exposure()).flatten();
        let store = match &self.store {
            StoreConfig::Sqlite(_) => None,
            StoreConfig::Postgres(url) => postgres::exposure(url),
        };
        let is_open = !self.access.required && !self.http.addr.ip().is_loopback();
        let anonymous = is_open.then(|| {
            format!(
                "HTTP_ADDR={} is not loopback and AUTH=off: every client that reaches it can read and send \
                 everything. Set AUTH=required",
                self.http.addr
            )
        });
        nats.into_iter().chain(store).chain(anonymous).collect()
    }
}

fn seconds(source: &Source, name: &str, default: u64, errors: &mut Vec<String>) -> Duration {
    Duration::from_secs(source.parse(name, default, "a number of seconds", errors))
}

fn store(source: &Source, errors: &mut Vec<String>) -> StoreConfig {
    let url = source.get("DATABASE_URL");
    match url {
        Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
            StoreConfig::Postgres(url.to_owned())
        }
        other => {
            if other.is_some() {
                errors.push(
                    "DATABASE_URL must begin with postgres://; for SQLite leave it out and set DATA_DIR"
                        .to_owned(),
                );
            }
            StoreConfig::Sqlite(PathBuf::from(source.get("DATA_DIR").unwrap_or("./data")))
        }
    }
}

fn nats(source: &Source, errors: &mut Vec<String>) -> NatsConfig {
    const DAY: u64 = 24 * 60 * 60;
    let text = |name| source.get(name).map(str::to_owned);
    let path = |name| source.get(name).map(PathBuf::from);
    let mut config = NatsConfig::new(source.get("NATS_URL").unwrap_or("nats://127.0.0.1:4222"));
    if let Some(name) = text("NATS_STREAM_NAME") {
        config.stream_name = name;
    }
    if let Some(name) = text("NATS_JOBS_STREAM_NAME") {
        config.jobs_stream_name = name;
    }
    if let Some(name) = text("NATS_LEASES_STREAM_NAME") {
        config.leases_stream_name = name;
    }
    config.max_msgs =
        source.parse("NATS_MAX_MSGS", config.max_msgs, "a number of messages", errors);
    let rule = "a number of days from 1 to 3650";
    let days = source.parse("NATS_MAX_AGE_DAYS", 7, rule, errors);
    if !(1..=3_650).contains(&days) {
        errors.push(format!("NATS_MAX_AGE_DAYS must be {rule}"));
    }
    config.max_age = Duration::from_secs(days.clamp(1, 3_650) * DAY);
    config.replicas =
        source.parse("NATS_REPLICAS", config.replicas, "a number from 1 to 5", errors);
    config.duplicate_window = seconds(source, "NATS_DUPLICATE_WINDOW_S", 120, errors);
    config.sync_always = source.parse("NATS_SYNC_ALWAYS", false, "true or false", errors);
    config.creds = path("NATS_CREDS");
    config.nkey = path("NATS_NKEY");
    config.user = text("NATS_USER");
    config.password = text("NATS_PASSWORD");
    config.token = text("NATS_TOKEN");
    config.tls_ca = path("NATS_TLS_CA");
    config.tls_cert = path("NATS_TLS_CERT");
    config.tls_key = path("NATS_TLS_KEY");
    if let Some(prefix) = text("NATS_INBOX_PREFIX") {
        config.inbox_prefix = prefix;
    }
    if let Err(error) = config.check() {
        errors.push(error);
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_one_process_on_loopback() {
        let config = Config::from_source(&Source::of(&[])).expect("the defaults are valid");
        assert_eq!(config.bus, BusKind::Memory);
        assert!(config.http.addr.ip().is_loopback());
        assert!(matches!(config.store, StoreConfig::Sqlite(_)));
    }

    #[test]
    fn every_bad_setting_is_named_at_once() {
        let source = Source::of(&[
            ("MESSAGE_BUS", "nats"),
            ("DATABASE_URL", "mysql://x"),
            ("HTTP_ADDR", "0.0.0.0:80"),
            ("RING_SIZE", "many"),
            ("NATS_REPLICAS", "9"),
        ]);
        let errors = Config::from_source(&source).expect_err("five are wrong").join("\n");
        for name in ["DATABASE_URL", "MESSAGE_BUS=nats", "ALLOW_ANONYMOUS", "RING_SIZE", "replicas"]
        {
            assert!(errors.contains(name), "{name} is missing in:\n{errors}");
        }
    }

    #[test]
    fn secrets_on_the_network_are_reported() {
        let exposures = |values: &[(&str, &str)]| {
            let config = Config::from_source(&Source::of(values)).expect("valid");
            let found = config.exposures();
            assert!(!found.join(" ").contains("hunter2"), "{found:?}");
            found.len()
        };
        let nats = |nats: &str, more: &[(&str, &str)]| {
            let base = [
                ("MESSAGE_BUS", "nats"),
                ("NATS_URL", nats),
                ("DATABASE_URL", "postgres://u:hunter2@localhost/d"),
            ];
            exposures(&[&base[..], more].concat())
        };
        let password = ("NATS_PASSWORD", "hunter2");
        assert_eq!(nats("nats://n.example", &[]), 0);
        assert_eq!(nats("nats://u:hunter2@127.0.0.1,nats://u:hunter2@[::1]:1", &[]), 0);
        assert_eq!(nats("nats://localhost,u:hunter2@10.0.0.1:4222", &[]), 1);
        assert_eq!(nats("n.example", &[("NATS_USER", "u"), password]), 1);
        let ca = "/etc/ssl/certs/ca-certificates.crt";
        assert_eq!(nats("n.example", &[("NATS_TOKEN", "hunter2")]), 1);
        assert_eq!(nats("tls://n.example", &[("NATS_USER", "u"), password]), 0);
        assert_eq!(nats("n.example", &[("NATS_TLS_CA", ca), ("NATS_USER", "u"), password]), 0);
        let postgres = |url: &str| exposures(&[("DATABASE_URL", url)]);
        assert_eq!(postgres("postgres://u:hunter2@127.0.0.1/d"), 0);
        assert_eq!(postgres("postgres://u:hunter2@%2Frun%2Fpostgresql/d"), 0);
        assert_eq!(postgres("postgres://u:hunter2@db.example/d"), 1);
        assert_eq!(postgres("postgres://u:hunter2@db.example/d?sslmode=require"), 1);
        assert_eq!(postgres("postgres://u:hunter2@db.example/d?sslmode=verify-full"), 0);
        let open = [("HTTP_ADDR", "0.0.0.0:80"), ("ALLOW_ANONYMOUS", "true")];
        assert_eq!(exposures(&open), 1);
        assert_eq!(exposures(&[open[0], ("AUTH", "required")]), 0);
        // There is no warning about a bus that is not used.
        assert_eq!(exposures(&[("NATS_URL", "nats://u:hunter2@n.example")]), 0);
    }

    #[test]
    fn secrets_do_not_show() {
        let source = Source::of(&[
            ("DATABASE_URL", "postgres://u:hunter2@h/d"),
            ("NATS_USER", "u"),
            ("NATS_PASSWORD", "hunter2"),
        ]);
        let config = Config::from_source(&source).expect("valid");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
