//! The HTTP client that every client command shares.
//!
//! Invariant: a request is repeated only as it was, byte for byte, so whoever
//! posts under an id or a key of its own ends with exactly one message however
//! often the answer was lost (contract, section 3, "Outage").

use std::time::Duration;

use bytes::Bytes;
use indicatif::ProgressBar;
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, StatusCode, Url};

use super::address;
use super::backoff::Backoff;
use super::failure::Failure;
use super::limits::{ANSWER_TIMEOUT, CONNECT_TIMEOUT};
use super::output::tell;
use super::refusal::{Refusal, retry_after};

/// Speaks to one server.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    retry_for: Duration,
    /// Whose lines must not be torn by a notice.
    bar: ProgressBar,
    quiet: bool,
}

impl Client {
    /// A client for the server at `url`, which may have a path in front of `/v1`.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(url: &str, retry_for: Duration) -> Result<Self, Failure> {
        let base = address::parse(url).map_err(Failure::Usage)?;
        // Fails only where a provider is installed already, which is as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // A POST that is redirected may become a GET: better refused than lost.
            .redirect(Policy::none())
            .user_agent(concat!("agentbus/", env!("CARGO_PKG_VERSION")));
        if address::is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| Failure::Failed(format!("no HTTP client: {}", causes(&error))))?;
        let bar = ProgressBar::hidden();
        Ok(Self { http, base, retry_for, bar, quiet: false })
    }

    /// The same client, which writes its notices above a progress bar.
    #[must_use]
    pub fn above(mut self, bar: &ProgressBar) -> Self {
        self.bar = bar.clone();
        self
    }

    /// The same client, which waits without a word.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// The address of the server.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.base.to_string()
    }

    /// How long a request is tried again.
    #[must_use]
    pub fn retry_for(&self) -> Duration {
        self.retry_for
    }

    /// A GET of `path`.
    pub fn get(&self, path: &str, query: &[(&str, String)]) -> RequestBuilder {
        self.http.get(self.address(path, query))
    }

    /// A PUT of `body` to `path`.
    pub fn put(&self, path: &str, media: &str, body: Bytes) -> RequestBuilder {
        self.http.put(self.address(path, &[])).header("content-type", media).body(body)
    }

    /// A POST of `body` to `path`.
    pub fn post(
        &self,
        path: &str,
        query: &[(&str, String)],
        media: &str,
        body: Bytes,
    ) -> RequestBuilder {
        self.http.post(self.address(path, query)).header("content-type", media).body(body)
    }

    /// A DELETE of `path`.
    pub fn delete(&self, path: &str, query: &[(&str, String)]) -> RequestBuilder {
        self.http.delete(self.address(path, query))
    }

    /// A PATCH of `path` with a JSON body.
    pub fn patch(&self, path: &str, body: Bytes) -> RequestBuilder {
        let request = self.http.patch(self.address(path, &[]));
        request.header("content-type", "application/json").body(body)
    }

    fn address(&self, path: &str, query: &[(&str, String)]) -> Url {
        let mut address = self.base.clone();
        let prefix = self.base.path().trim_end_matches('/');
        address.set_path(&format!("{prefix}{path}"));
        if !query.is_empty() {
            address.query_pairs_mut().extend_pairs(query);
        }
        address
    }

    /// Sends until there is an answer that repeating would not change; gives
    /// the body of a success.
    ///
    /// # Errors
    /// The server refused, or could not be asked in the time there was.
    pub async fn call(&self, build: impl Fn() -> RequestBuilder) -> Result<Bytes, Refusal> {
        let mut backoff = Backoff::trying_for(self.retry_for);
        loop {
            let (refusal, asked_for) = match self.once(build().timeout(ANSWER_TIMEOUT)).await {
                Ok((status, _, body)) if status.is_success() => return Ok(body),
                Ok((status, headers, body)) => {
                    (Refusal::answered(status, &headers, &body), retry_after(&headers))
                }
                Err(error) => (Refusal::Unreachable(self.unreachable(&error)), None),
            };
            if !refusal.is_passing() {
                return Err(refusal);
            }
            let first = backoff.is_fresh();
            let Some(wait) = backoff.next_wait(asked_for) else {
                return Err(refusal);
            };
            if first {
                self.notice(&format!("{}; trying again", refusal.words()));
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn once(
        &self,
        request: RequestBuilder,
    ) -> reqwest::Result<(StatusCode, HeaderMap, Bytes)> {
        let answer = request.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        Ok((status, headers, answer.bytes().await?))
    }

    /// Opens an answer that is read as it comes; one attempt.
    ///
    /// # Errors
    /// The server refused, or could not be asked; and how long it asks to wait.
    pub async fn open(
        &self,
        request: RequestBuilder,
    ) -> Result<Response, (Refusal, Option<Duration>)> {
        let silent = || (Refusal::Unreachable(format!("{} gives no answer", self.shown())), None);
        let answer = match tokio::time::timeout(ANSWER_TIMEOUT, request.send()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err((Refusal::Unreachable(self.unreachable(&error)), None)),
            Err(_) => return Err(silent()),
        };
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = match tokio::time::timeout(ANSWER_TIMEOUT, answer.bytes()).await {
            Ok(body) => body.unwrap_or_default(),
            Err(_) => return Err(silent()),
        };
        Err((Refusal::answered(status, &headers, &body), retry_after(&headers)))
    }

    /// Tells a person at the terminal something in passing.
    pub fn notice(&self, words: &str) {
        if !self.quiet {
            self.bar.suspend(|| tell(&format!("agentbus: {words}")));
        }
    }

    /// The address as it may be shown: without a password.
    fn shown(&self) -> String {
        let mut base = self.base.clone();
        if base.password().is_some() {
            // Fails only for addresses without a host, which none of ours is.
            let _ = base.set_password(Some("***"));
        }
        base.as_str().trim_end_matches('/').to_owned()
    }

    fn unreachable(&self, error: &reqwest::Error) -> String {
        let shown = self.shown();
        if error.is_timeout() && !error.is_connect() {
            return format!("{shown} gives no answer");
        }
        let hint = if error.is_connect() { "; is the server running?" } else { "" };
        format!("cannot reach {shown}: {}{hint}", causes(error))
    }
}

/// The innermost cause: the outer ones say that a request had an error.
fn causes(error: &dyn std::error::Error) -> String {
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
    fn an_address_may_lack_its_scheme_and_have_a_path() {
        let address = |base: &str| {
            let client = Client::new(base, Duration::ZERO).expect("a client");
            client.address("/v1/messages", &[("subject", "agent.>".to_owned())]).to_string()
        };
        assert_eq!(
            address("localhost:8080"),
            "http://localhost:8080/v1/messages?subject=agent.%3E"
        );
        assert_eq!(
            address("https://a.example/bus/"),
            "https://a.example/bus/v1/messages?subject=agent.%3E"
        );
        for bad in ["", "ftp://a.example", "http://", "http://a.example/?x=1"] {
            assert!(matches!(Client::new(bad, Duration::ZERO), Err(Failure::Usage(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let client = Client::new("http://ann:secret@a.example", Duration::ZERO).expect("a client");
        assert_eq!(client.shown(), "http://ann:***@a.example");
    }
}
