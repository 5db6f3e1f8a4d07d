//! The flags that name the server, and the key for it.
//!
//! Invariant: the flag overrides the environment, which overrides the default.

use std::time::Duration;

use agentbus_client::limits::RETRY_FOR;
use agentbus_client::{Client, DEFAULT_URL};
use clap::Args;

use super::credential::CredentialArgs;
use super::failure::Failure;
use super::output::Format;
use super::terminal::{eprint_line, plain_lines};

/// Flags by which a command finds its server.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Address of the server; without it AGENTBUS_URL, else http://127.0.0.1:8080
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// Seconds to keep retrying while the server cannot be reached or answers 503 [default: 30; import: 300]
    #[arg(long, value_name = "SECONDS")]
    pub retry_for: Option<u64>,

    /// The key.
    #[command(flatten)]
    pub credential: CredentialArgs,
}

/// Flags of the commands that print documents of the server.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,

    /// The flags that name the server.
    #[command(flatten)]
    pub server: ServerArgs,
}

impl ServerArgs {
    /// A client of the server, with the key if there is one. It reports outages on standard error.
    ///
    /// # Errors
    /// The address is not valid, or the key cannot be read.
    pub fn client(&self) -> Result<Client, Failure> {
        self.client_retrying_for(RETRY_FOR)
    }

    /// Like [`ServerArgs::client`], with this time to retry unless the flag sets one.
    ///
    /// # Errors
    /// The address is not valid, or the key cannot be read.
    pub fn client_retrying_for(&self, default: Duration) -> Result<Client, Failure> {
        let from_env = || std::env::var("AGENTBUS_URL").ok().filter(|url| !url.is_empty());
        let url = self.url.clone().or_else(from_env);
        let mut client = Client::new(url.as_deref().unwrap_or(DEFAULT_URL))?
            .retry_for(self.retry_for.map_or(default, Duration::from_secs));
        if let Some(key) = self.credential.key()? {
            client = client.with_key(&key)?;
        }
        Ok(client.on_notice(|notice| eprint_line(&plain_lines(&format!("agentbus: {notice}")))))
    }
}
