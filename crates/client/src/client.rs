//! A client of one server, over HTTP.
//!
//! Invariant: a retry sends exactly the bytes of the first attempt. So a request with its own id or key has
//! its effect once, however often the response was lost (contract, section 3, "Outage"). The key goes to this
//! server alone: no redirect is followed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Serialize;

use crate::address;
use crate::backoff::Backoff;
use crate::error::Error;
use crate::limits::{CONNECT_TIMEOUT, RESPONSE_TIMEOUT, RETRY_FOR};
use crate::problem::Problem;

/// Query parameters: filters (contract, section 5), and others that a route accepts.
pub type Query = Vec<(&'static str, String)>;

/// A client of one server. Clones share connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    /// The credential of each request.
    authorization: Option<HeaderValue>,
    retry_for: Duration,
    on_notice: Arc<dyn Fn(&Notice<'_>) + Send + Sync>,
}

/// A report about an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice<'a> {
    /// A request failed for the first time and is being retried.
    Retrying(&'a Error),
    /// The connection of a subscription was lost, for this reason; it is being resumed.
    Disconnected(&'a str),
    /// The connection of the subscription is back.
    Reconnected,
}

impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retrying(error) => write!(f, "{error}; retrying"),
            Self::Disconnected(reason) => write!(f, "{reason}; reconnecting"),
            Self::Reconnected => f.write_str("reconnected"),
        }
    }
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
    /// [`Error::Address`]: `url` is not a valid address.
    pub fn new(url: &str) -> Result<Self, Error> {
        let base = address::parse_address(url).map_err(Error::Address)?;
        // Fails only if the process has already installed a provider, which works as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // After a redirect, a POST could be sent as a GET, and the key to another host.
            .redirect(Policy::none())
            .user_agent(concat!("agentbus/", env!("CARGO_PKG_VERSION")));
        if address::is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| {
            Error::Address(format!("cannot make an HTTP client: {}", root_cause(&error)))
        })?;
        let on_notice = Arc::new(|_: &Notice<'_>| ());
        Ok(Self { http, base, authorization: None, retry_for: RETRY_FOR, on_notice })
    }

    /// Sets the key that each request carries, in `Authorization`.
    ///
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
    /// [`Duration::MAX`] for ever. The default is 10 s.
    #[must_use]
    pub fn retry_for(mut self, span: Duration) -> Self {
        self.retry_for = span;
        self
    }

    /// Sets the function that is called when the server cannot be reached, and when it can again (see [`Notice`]).
    /// It must not block.
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
        let request = self.http.request(method, self.url(path, query));
        match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
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

    /// Sends the request until it succeeds or its error is not transient. Returns the body of the response.
    pub(crate) async fn call(&self, request: RequestBuilder) -> Result<Bytes, Error> {
        let request = request.timeout(RESPONSE_TIMEOUT);
        let mut backoff = self.backoff();
        loop {
            let error = match self.attempt(&request).await {
                Ok(body) => return Ok(body),
                Err(error) if error.is_transient() => error,
                Err(error) => return Err(error),
            };
            let is_first = backoff.is_first();
            let Some(wait) = backoff.next_wait(error.retry_after()) else {
                return Err(error);
            };
            if is_first {
                self.notify(&Notice::Retrying(&error));
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&self, request: &RequestBuilder) -> Result<Bytes, Error> {
        let Some(request) = request.try_clone() else {
            return Err(Error::Unexpected("the request cannot be repeated".to_owned()));
        };
        let response = self.send(request).await?;
        response.bytes().await.map_err(|error| self.unreachable(&error))
    }

    /// Opens a response whose body is read as it arrives. One attempt.
    pub(crate) async fn open(&self, request: RequestBuilder) -> Result<Response, Error> {
        let opened = tokio::time::timeout(RESPONSE_TIMEOUT, self.send(request)).await;
        opened.unwrap_or_else(|_| Err(self.silent()))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let headers = response.headers().clone();
        let body = response.bytes().await.unwrap_or_default();
        Err(Error::Refused(Box::new(Problem::of_response(status, &headers, &body))))
    }

    fn silent(&self) -> Error {
        Error::Unreachable(format!("{} does not respond", self.address()))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        if error.is_timeout() && !error.is_connect() {
            return self.silent();
        }
        let hint = if error.is_connect() { "; is the server running?" } else { "" };
        let cause = root_cause(error);
        Error::Unreachable(format!("cannot reach {}: {cause}{hint}", self.address()))
    }
}

/// The innermost cause of an error. The outer ones only say that a request failed.
fn root_cause(error: &dyn std::error::Error) -> String {
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
    fn every_request_carries_the_key_and_no_debug_text_shows_it() {
        let client = Client::new("https://a.example").and_then(|client| client.with_key("hunter2"));
        let client = client.expect("a client");
        let request = client.post("/v1/messages", &());
        assert!(!format!("{client:?} {request:?}").contains("hunter2"));
        let request = request.build().expect("a request");
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer hunter2");
        assert!(!format!("{request:?}").contains("hunter2"));
    }

    #[test]
    fn a_key_that_cannot_be_sent_is_refused_and_not_shown() {
        for wrong in ["", "hunter2 x", "hunter2\r\nX: y", "hunter2\u{e9}"] {
            let error = Client::new("a.example").and_then(|client| client.with_key(wrong));
            let error = error.expect_err("refused");
            assert!(matches!(error, Error::Key(_)) && !error.to_string().contains("hunter2"));
        }
        let both = Client::new("https://ann:secret@a.example")
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
            url("https://a.example/bus/"),
            "https://a.example/bus/v1/messages?subject=agent.%3E"
        );
        for bad in ["", "ftp://a.example", "http://", "http://a.example/?x=1"] {
            assert!(matches!(Client::new(bad), Err(Error::Address(_))), "{bad:?}");
        }
    }
}
