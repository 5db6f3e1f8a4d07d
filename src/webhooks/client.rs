//! One attempt to deliver a message: a signed POST, and the meaning of its response.
//!
//! Invariant: only a 2xx is a success. Of any other response's body, only the beginning is read, for the
//! error text. The client connects only to the host in the URL: the guard resolves names, redirects are not
//! followed, no proxy of the environment is used. Every wait has a time limit.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};

use super::guard::Guard;
use super::secret::Secret;
use crate::limits::{
    MAX_WEBHOOK_ERROR_BODY, MAX_WEBHOOK_RETRY_AFTER, WEBHOOK_CONNECT_TIMEOUT,
    WEBHOOK_IDLE_CONNECTIONS, WEBHOOK_IDLE_TIMEOUT, WEBHOOK_TIMEOUT,
};
use crate::message::{Record, TraceContext, splice_seq};
use crate::tls;

/// Posts messages to receivers.
#[derive(Clone, Debug)]
pub struct WebhookClient {
    http: Client,
    guard: Guard,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason, for the operator of the receiver.
    pub error: String,
    /// Whether the receiver wants no more messages (status 410).
    pub gone: bool,
    /// The wait in `Retry-After`, at most [`MAX_WEBHOOK_RETRY_AFTER`].
    pub retry_after: Option<Duration>,
    /// The status of the response; `None` if there was none.
    pub status: Option<StatusCode>,
}

impl Failure {
    fn of(error: String) -> Self {
        Self { error, gone: false, retry_after: None, status: None }
    }
}

impl WebhookClient {
    /// A client that connects to the addresses that `guard` allows.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(guard: Guard) -> Result<Self, String> {
        Ok(Self { http: build(guard)?, guard })
    }

    /// Posts a message; `now` is the time of this attempt. Returns the status of the success.
    ///
    /// # Errors
    /// The message was not delivered, or the outcome is unknown.
    pub async fn deliver(
        &self,
        url: &Url,
        secret: &Secret,
        message: &Record,
        trace: Option<&TraceContext>,
        now: DateTime<Utc>,
    ) -> Result<StatusCode, Failure> {
        // The resolver checks names only, so a literal address is checked here.
        self.guard.check(url).map_err(|refused| Failure::of(refused.to_string()))?;
        let mut body = Vec::with_capacity(message.body.len() + 32);
        splice_seq(message.seq, &message.body, &mut body);
        let (id, timestamp) = (delivery_id(message), now.timestamp());
        let signature = secret.sign(&id, timestamp, &body);
        let mut request = self
            .http
            .post(url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body);
        for (name, value) in trace.iter().flat_map(|trace| trace.headers()) {
            request = request.header(name, value);
        }
        match request.send().await {
            Ok(response) if response.status().is_success() => Ok(response.status()),
            Ok(response) => Err(refusal(response, now).await),
            Err(error) => Err(Failure::of(unreached(&error))),
        }
    }
}

fn build(guard: Guard) -> Result<Client, String> {
    tls::http_client()?
        .dns_resolver(guard)
        .connect_timeout(WEBHOOK_CONNECT_TIMEOUT)
        .timeout(WEBHOOK_TIMEOUT)
        .pool_max_idle_per_host(WEBHOOK_IDLE_CONNECTIONS)
        .pool_idle_timeout(WEBHOOK_IDLE_TIMEOUT)
        .build()
        .map_err(|error| format!("no HTTP client for webhooks: {error}"))
}

/// The `webhook-id`. It is the same in every attempt, so that a receiver can recognize a repeat. It contains
/// the sequence, since two messages can have one id (contract, section 1).
fn delivery_id(message: &Record) -> String {
    format!("{}_{}", message.id, message.seq)
}

/// The failure that a response other than 2xx means.
async fn refusal(response: Response, now: DateTime<Utc>) -> Failure {
    let status = response.status();
    let asks = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let retry_after = asks.then(|| retry_after(response.headers(), now)).flatten();
    let mut error = format!("the receiver answered {status}");
    if status.is_redirection() {
        let place = response.headers().get(LOCATION).and_then(|place| place.to_str().ok());
        error.push_str(&format!(
            ", a redirect to {:.200}, which is not followed",
            place.unwrap_or("nowhere")
        ));
    }
    let said = beginning(response).await;
    if !said.is_empty() {
        error.push_str(": ");
        error.push_str(&said);
    }
    Failure { error, gone: status == StatusCode::GONE, retry_after, status: Some(status) }
}

/// The wait in `Retry-After`, given in seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let then = DateTime::parse_from_rfc2822(value).ok()?;
            (then.with_timezone(&Utc) - now).to_std().ok()?
        }
    };
    Some(wait.min(MAX_WEBHOOK_RETRY_AFTER))
}

/// The beginning of a response's body, on one line. The client's time-out limits the wait.
async fn beginning(mut response: Response) -> String {
    let mut read = Vec::new();
    while read.len() < MAX_WEBHOOK_ERROR_BODY {
        match response.chunk().await {
            Ok(Some(chunk)) => read
                .extend_from_slice(&chunk[..chunk.len().min(MAX_WEBHOOK_ERROR_BODY - read.len())]),
            Ok(None) | Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&read);
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.trim().to_owned()
}

/// The reason why there was no response, without the URL, which may contain a secret.
fn unreached(error: &reqwest::Error) -> String {
    let inner = tls::root_cause(error);
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => "no connection to the receiver in time".to_owned(),
        (true, false) => format!("no connection to the receiver: {inner}"),
        (false, true) => "no answer from the receiver in time".to_owned(),
        (false, false) => format!("no answer from the receiver: {inner}"),
    }
}
