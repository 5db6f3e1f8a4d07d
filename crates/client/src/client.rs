//! A client of one server, and its settings.
//!
//! Invariant: the key goes to this server alone: no redirect is followed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Url};
use serde::Serialize;

use crate::address;
use crate::backoff::Backoff;
use crate::error::Error;
use crate::limits::{CONNECT_TIMEOUT, RETRY_FOR, STREAM_SILENCE};
use crate::notice::{self, Notice};

/// The address of the server if neither the program nor `AGENTBUS_URL` names one.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// A client of one server. Clones share connections.
#[derive(Clone)]
pub struct Client {
    pub(crate) http: reqwest::Client,
    base: Url,
    /// The credential of each request.
    pub(crate) authorization: Option<HeaderValue>,
    retry_for: Duration,
    pub(crate) silence: Duration,
    on_notice: Arc<dyn Fn(&Notice<'_>) + Send + Sync>,
    /// Whether the server's version was compared with the client's.
    pub(crate) version_checked: Arc<AtomicBool>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.address()).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the server at `url`. The scheme may be missing. A path may precede `/v1`. A server on
    /// loopback is reached without a proxy, any other through the proxy of the environment, if there is one.
    ///
    /// # Errors
    /// [`Error::Address`]: `url` is not a valid address, or `https` without the feature `tls`.
    pub fn new(url: &str) -> Result<Self, Error> {
        let base = address::parse_address(url).map_err(Error::Address)?;
        #[cfg(feature = "tls")]
        // Fails only if the process has already installed a provider, which works as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        #[cfg(not(feature = "tls"))]
        if base.scheme() == "https" {
            let text = "https needs the feature `tls` of agentbus-client";
            return Err(Error::Address(text.to_owned()));
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // After a redirect, a POST could be sent as a GET, and the key to another host.
            .redirect(Policy::none())
            .user_agent(concat!("agentbus-rust/", env!("CARGO_PKG_VERSION")));
        if address::is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| {
            Error::Address(format!("cannot make an HTTP client: {}", root_cause(&error)))
        })?;
        Ok(Self {
            http,
            base,
            authorization: None,
            retry_for: RETRY_FOR,
            silence: STREAM_SILENCE,
            on_notice: Arc::new(notice::by_default),
            version_checked: Arc::default(),
        })
    }

    /// A client of the server at `AGENTBUS_URL`, without it at [`DEFAULT_URL`], with the key in `AGENTBUS_KEY`, if
    /// any. A variable that is empty counts as not set.
    ///
    /// # Errors
    /// [`Error::Address`] or [`Error::Key`]: what a variable contains is not valid.
    pub fn from_env() -> Result<Self, Error> {
        let variable = |name| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
        let url = variable("AGENTBUS_URL");
        let client = Self::new(url.as_deref().unwrap_or(DEFAULT_URL).trim())?;
        match variable("AGENTBUS_KEY") {
            Some(key) => client.with_key(key.trim()),
            None => Ok(client),
        }
    }

    /// Sets the key that each request carries, in `Authorization`.
    ///
    /// # Errors
    /// [`Error::Key`]: it is empty or has other characters than visible ASCII. [`Error::Address`]: the address
    /// has a user or password, which need `Authorization` too.
    pub fn with_key(mut self, key: &str) -> Result<Self, Error> {
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::Key("the key must be one word of visible ASCII characters"));
        }
        if !self.base.username().is_empty() || self.base.password().is_some() {
            let address = self.address();
            return Err(Error::Address(format!("{address}: a user and a key cannot both be sent")));
        }
        let value = HeaderValue::try_from(format!("Bearer {key}"));
        let mut value = value.map_err(|_| Error::Key("the key cannot be sent in a header"))?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(self)
    }

    /// Sets for how long a request is retried after transient errors: zero for a single attempt,
    /// [`Duration::MAX`] for ever. The default is 30 s.
    #[must_use]
    pub fn retry_for(mut self, span: Duration) -> Self {
        self.retry_for = span;
        self
    }

    /// Sets after how much silence the connection of a stream counts as lost (half open). The default is 45 s: the
    /// server sends something every 15 s. A stream over a slow proxy may need more.
    #[must_use]
    pub fn silence(mut self, span: Duration) -> Self {
        self.silence = span;
        self
    }

    /// Sets the function that is called when the server cannot be reached, and when it can again (see [`Notice`]).
    /// It must not block. By default notices are warnings of `tracing`, with that feature of the crate.
    #[must_use]
    pub fn on_notice(mut self, report: impl Fn(&Notice<'_>) + Send + Sync + 'static) -> Self {
        self.on_notice = Arc::new(report);
        self
    }

    /// The address of the server, without a password.
    #[must_use]
    pub fn address(&self) -> String {
        address::shown(&self.base)
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.retry_for)
    }

    pub(crate) fn notify(&self, notice: &Notice<'_>) {
        (self.on_notice)(notice);
    }

    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
    ) -> RequestBuilder {
        self.http.request(method, self.url(path, query))
    }

    pub(crate) fn get(&self, path: &str, query: &[(&str, String)]) -> RequestBuilder {
        self.request(Method::GET, path, query)
    }

    pub(crate) fn post(&self, path: &str, body: &impl Serialize) -> RequestBuilder {
        self.request(Method::POST, path, &[]).json(body)
    }

    fn url(&self, path: &str, query: &[(&str, String)]) -> Url {
        let mut url = self.base.clone();
        let prefix = self.base.path().trim_end_matches('/');
        url.set_path(&format!("{prefix}{path}"));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }
}

/// The innermost cause of an error. The outer ones only say that a request failed.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_cannot_be_sent_is_refused_and_not_shown() {
        for wrong in ["", "hunter2 x", "hunter2\r\nX: y", "hunter2\u{e9}"] {
            let error = Client::new("a.example").and_then(|client| client.with_key(wrong));
            let error = error.expect_err("refused");
            assert!(matches!(error, Error::Key(_)) && !error.to_string().contains("hunter2"));
        }
        let both = Client::new("http://ann:secret@a.example")
            .and_then(|client| client.with_key("hunter2"))
            .expect_err("refused");
        assert!(!both.to_string().contains("secret"), "{both}");
    }

    #[test]
    fn an_address_may_lack_its_scheme_and_have_a_path() {
        let url = |base: &str| {
            let client = Client::new(base).expect("a client");
            client.url("/v1/messages", &[("subject", "agent.>".to_owned())]).to_string()
        };
        assert_eq!(url("localhost:8080"), "http://localhost:8080/v1/messages?subject=agent.%3E");
        assert_eq!(
            url("http://a.example/bus/"),
            "http://a.example/bus/v1/messages?subject=agent.%3E"
        );
        for bad in ["", "ftp://a.example", "http://", "http://a.example/?x=1"] {
            assert!(matches!(Client::new(bad), Err(Error::Address(_))), "{bad:?}");
        }
    }
}
