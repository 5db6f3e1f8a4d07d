//! Settings of the NATS bus: servers, credentials, streams.
//!
//! Invariant: `Debug` shows no secret, not even one in an address. [`NatsConfig::check`] validates the values
//! once, before a connection is made.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::loopback::is_loopback;

/// Configuration of the JetStream bus. [`NatsConfig::new`] sets the documented defaults.
#[derive(Clone)]
pub struct NatsConfig {
    /// Addresses of the servers, such as `nats://host:4222`. One entry may hold several, separated by commas.
    pub urls: Vec<String>,
    /// Name of the stream.
    pub stream_name: String,
    /// Name of the stream of the work queues.
    pub jobs_stream_name: String,
    /// Name of the stream that records how leases ended.
    pub leases_stream_name: String,
    /// The most messages that the stream keeps.
    pub max_msgs: u64,
    /// How long the stream keeps a message.
    pub max_age: Duration,
    /// The number of servers that keep a copy of the stream, 1 to 5.
    pub replicas: usize,
    /// How long the stream recognises a repeated id; at most `max_age`.
    pub duplicate_window: Duration,
    /// Whether the servers sync each message to disk (`sync_interval: always`). If so, waiting publishes are
    /// sent together in atomic batches. NATS servers do not report this setting to clients.
    pub sync_always: bool,
    /// A `.creds` file: JWT and seed.
    pub creds: Option<PathBuf>,
    /// A file with the seed of a user's nkey.
    pub nkey: Option<PathBuf>,
    /// User name.
    pub user: Option<String>,
    /// Password of `user`.
    pub password: Option<String>,
    /// Token, for servers without users.
    pub token: Option<String>,
    /// PEM file of the authority that signed the servers' certificates. If set, TLS is required.
    pub tls_ca: Option<PathBuf>,
    /// PEM file of the client certificate, for servers that require one.
    pub tls_cert: Option<PathBuf>,
    /// PEM file of the key of the client certificate.
    pub tls_key: Option<PathBuf>,
    /// The subjects of replies begin with it, without a dot at the end.
    pub inbox_prefix: String,
    /// The name of this process's connections in the server's monitoring.
    pub client_name: String,
}

impl NatsConfig {
    /// The default configuration for the servers of `url` (several, separated by commas).
    #[must_use]
    pub fn new(url: &str) -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            urls: vec![url.to_owned()],
            stream_name: "agent-messages".to_owned(),
            jobs_stream_name: "agent-jobs".to_owned(),
            leases_stream_name: "agent-leases".to_owned(),
            max_msgs: 1_000_000,
            max_age: Duration::from_secs(7 * DAY),
            replicas: 1,
            duplicate_window: Duration::from_secs(120),
            sync_always: false,
            creds: None,
            nkey: None,
            user: None,
            password: None,
            token: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            inbox_prefix: "_INBOX".to_owned(),
            client_name: "agentbus".to_owned(),
        }
    }

    /// The server addresses, one by one.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let all = self.urls.iter().flat_map(|entry| entry.split(','));
        all.map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned).collect()
    }

    /// Checks what can be checked without a server.
    ///
    /// # Errors
    /// What is wrong, as text for the operator.
    pub fn check(&self) -> Result<(), String> {
        if self.addresses().is_empty() {
            return Err("NATS_URL has no address".to_owned());
        }
        let forbidden = |c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c);
        let names = [
            ("NATS_STREAM_NAME", &self.stream_name),
            ("NATS_JOBS_STREAM_NAME", &self.jobs_stream_name),
            ("NATS_LEASES_STREAM_NAME", &self.leases_stream_name),
        ];
        for (at, (setting, name)) in names.iter().enumerate() {
            if name.is_empty() || name.contains(forbidden) {
                return Err(format!(
                    "{setting} {name:?} must not be empty nor contain white space or any of . * > / \\"
                ));
            }
            if let Some((other, _)) = names[..at].iter().find(|(_, earlier)| earlier == name) {
                return Err(format!("{setting} {name:?} is the name of {other} too"));
            }
        }
        if self.max_msgs == 0 || i64::try_from(self.max_msgs).is_err() {
            return Err("NATS_MAX_MSGS must be at least 1".to_owned());
        }
        if !(1..=5).contains(&self.replicas) {
            return Err(format!(
                "NATS_REPLICAS={}: JetStream allows 1 to 5 replicas",
                self.replicas
            ));
        }
        if self.duplicate_window > self.max_age {
            return Err("NATS_DUPLICATE_WINDOW_S is longer than NATS_MAX_AGE_DAYS keeps messages"
                .to_owned());
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err("NATS_TLS_CERT needs NATS_TLS_KEY, and the key its certificate".to_owned());
        }
        self.check_credentials()?;
        let is_token = |token: &str| !token.is_empty() && !token.contains(['*', '>']);
        let is_subject = !self.inbox_prefix.contains(|c: char| c.is_whitespace() || c.is_control())
            && self.inbox_prefix.split('.').all(is_token);
        if !is_subject {
            return Err(format!(
                "NATS_INBOX_PREFIX {:?} must be the beginning of a subject, such as _INBOX.agentbus, without wildcards",
                self.inbox_prefix
            ));
        }
        Ok(())
    }

    fn check_credentials(&self) -> Result<(), String> {
        if self.password.is_some() && self.user.is_none() {
            return Err("NATS_PASSWORD needs NATS_USER".to_owned());
        }
        let named = [
            ("NATS_CREDS", self.creds.is_some()),
            ("NATS_NKEY", self.nkey.is_some()),
            ("NATS_USER", self.user.is_some()),
            ("NATS_TOKEN", self.token.is_some()),
        ];
        let mut named = named.into_iter().filter_map(|(name, is_set)| is_set.then_some(name));
        match (named.next(), named.next()) {
            (Some(one), Some(other)) => {
                Err(format!("{one} and {other} are both set: a connection has one user"))
            }
            _ => Ok(()),
        }
    }
}

impl NatsConfig {
    /// A warning for the operator if a password or token would cross a network unencrypted.
    #[must_use]
    pub fn exposure(&self) -> Option<String> {
        if self.tls_ca.is_some() || self.tls_cert.is_some() {
            return None;
        }
        let ours = self.password.is_some() || self.token.is_some();
        let exposed = self.addresses().into_iter().find(|url| {
            let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
            let (user, host) = rest.rsplit_once('@').map_or((None, rest), |(u, h)| (Some(u), h));
            scheme != "tls"
                && scheme != "wss"
                && (ours || user.is_some())
                && !is_loopback(host_name(host))
        })?;
        Some(format!(
            "NATS_URL {}: a password or token is sent there unencrypted unless that server requires TLS, and an attacker \
             on the network can hide that it does. Use tls:// or set NATS_TLS_CA",
            redact(&exposed)
        ))
    }
}

/// A host without its port and path.
fn host_name(host: &str) -> &str {
    let host = host.split('/').next().unwrap_or(host);
    match host.rsplit_once(':') {
        Some((name, _)) if name.ends_with(']') || !name.contains(':') => name,
        _ => host,
    }
}

/// An address without its user and password, if it has them.
pub(super) fn redact(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://***@{host}"),
        (None, Some((_, host))) => format!("***@{host}"),
        (_, None) => url.to_owned(),
    }
}

impl fmt::Debug for NatsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<String> = self.addresses().iter().map(|url| redact(url)).collect();
        let secret = |value: &Option<String>| value.as_ref().map(|_| "***");
        f.debug_struct("NatsConfig")
            .field("urls", &urls)
            .field("stream_name", &self.stream_name)
            .field("jobs_stream_name", &self.jobs_stream_name)
            .field("leases_stream_name", &self.leases_stream_name)
            .field("max_msgs", &self.max_msgs)
            .field("max_age", &self.max_age)
            .field("replicas", &self.replicas)
            .field("duplicate_window", &self.duplicate_window)
            .field("sync_always", &self.sync_always)
            .field("creds", &self.creds)
            .field("nkey", &self.nkey)
            .field("user", &self.user)
            .field("password", &secret(&self.password))
            .field("token", &secret(&self.token))
            .field("tls_ca", &self.tls_ca)
            .field("tls_cert", &self.tls_cert)
            .field("tls_key", &self.tls_key)
            .field("inbox_prefix", &self.inbox_prefix)
            .field("client_name", &self.client_name)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let mut config = NatsConfig::new("nats://bob:hunter2@a:4222, b:4222");
        config.password = Some("hunter2".to_owned());
        config.token = Some("hunter2".to_owned());
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("nats://***@a:4222"), "{shown}");
        assert_eq!(config.addresses().len(), 2);
    }

    #[test]
    fn refuses_what_jetstream_would_refuse() {
        let good = NatsConfig::new("localhost");
        assert_eq!(good.check(), Ok(()));
        let mut names = good.clone();
        names.stream_name = "a.b".to_owned();
        assert!(names.check().is_err());
        let mut window = good.clone();
        window.duplicate_window = window.max_age + Duration::from_secs(1);
        assert!(window.check().is_err());
        let mut key = good.clone();
        key.tls_key = Some("k".into());
        assert!(key.check().is_err());
        for prefix in ["", "a.", ".a", "a.>", "*", "a b"] {
            let mut inbox = good.clone();
            prefix.clone_into(&mut inbox.inbox_prefix);
            assert!(
                inbox.check().is_err_and(|error| error.contains("NATS_INBOX_PREFIX")),
                "{prefix}"
            );
        }
    }

    #[test]
    fn a_connection_has_one_user() {
        let mut config = NatsConfig::new("localhost");
        config.password = Some("p".to_owned());
        assert_eq!(config.check(), Err("NATS_PASSWORD needs NATS_USER".to_owned()));
        config.user = Some("u".to_owned());
        assert_eq!(config.check(), Ok(()));
        config.nkey = Some("n".into());
        let both = "NATS_NKEY and NATS_USER are both set: a connection has one user";
        assert_eq!(config.check(), Err(both.to_owned()));
    }
}
