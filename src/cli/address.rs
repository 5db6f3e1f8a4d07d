//! Where the server is.
//!
//! Invariant: flag before environment before default; and a server on this
//! machine is never asked for through a proxy.

use std::time::Duration;

use clap::Args;
use reqwest::Url;

use super::client::Client;
use super::failure::Failure;
use super::limits::RETRY_FOR;

/// Where the server is when nobody says so.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// Flags by which a command finds its server.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Address of the server; without it AGENTBUS_URL, else http://127.0.0.1:8080
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// Seconds to keep trying while the server cannot be reached or says 503 [default: 10; import: 300]
    #[arg(long, value_name = "SECONDS")]
    pub retry_for: Option<u64>,
}

impl ServerArgs {
    /// A client for the server that flag or environment name.
    ///
    /// # Errors
    /// The address is none.
    pub fn client(&self) -> Result<Client, Failure> {
        self.client_trying_for(RETRY_FOR)
    }

    /// The same, with another time to keep trying unless the flag gives one.
    ///
    /// # Errors
    /// The address is none.
    pub fn client_trying_for(&self, default: Duration) -> Result<Client, Failure> {
        let retry_for = self.retry_for.map_or(default, Duration::from_secs);
        let from_env = || std::env::var("AGENTBUS_URL").ok().filter(|url| !url.is_empty());
        let url = self.url.clone().or_else(from_env);
        Client::new(url.as_deref().unwrap_or(DEFAULT_URL), retry_for)
    }
}

/// The address of a server; its scheme may be left out, a path may stand in front of `/v1`.
///
/// # Errors
/// It is none, in words.
pub fn parse(text: &str) -> Result<Url, String> {
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&full).map_err(|error| format!("'{text}' is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!("'{text}' must be an http:// or https:// address"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("'{text}' must end with the path in front of /v1"));
    }
    Ok(url)
}

/// Whether a proxy could not possibly reach it for us.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || literal.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_goes_round_every_proxy() {
        for (url, expected) in [
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example", false),
        ] {
            assert_eq!(parse(url).map(|url| is_loopback(&url)), Ok(expected), "{url}");
        }
    }
}
