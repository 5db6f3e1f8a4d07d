//! One attempt: a signed POST of one message, and what its answer context.
//!
//! Invariant: nothing but a 2xx is a success. The body of an answer is read
//! only to tell a person why an attempt failed, and only its beginning.

use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use std::time::Duration;

use super::client;
use super::guard::Guard;
use super::secret::Secret;
use crate::limits::{MAX_WEBHOOK_ERROR_BODY, MAX_WEBHOOK_RETRY_AFTER};
use crate::message::{Record, splice_seq};

/// Sends messages to receivers.
#[derive(Clone, Debug)]
pub struct WebhookClient {
    http: Client,
    guard: Guard,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For whoever looks after the receiver.
    pub error: String,
    /// The receiver says that it wants no more (410).
    pub gone: bool,
    /// How long it asks to be left alone, bounded.
    pub retry_after: Option<Duration>,
}

impl Failure {
    fn of(error: String) -> Self {
        Self { error, gone: false, retry_after: None }
    }
}

impl WebhookClient {
    /// A courier that goes where `guard` allows.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(guard: Guard) -> Result<Self, String> {
        Ok(Self { http: client::build(guard)?, guard })
    }

    /// Posts the message; `now` is the time of this attempt.
    ///
    /// # Errors
    /// [`Failure`]: it was not delivered, or nobody knows.
    pub async fn deliver(
        &self,
        url: &Url,
        secret: &Secret,
        message: &Record,
        now: DateTime<Utc>,
    ) -> Result<(), Failure> {
        // The resolver never sees a literal address.
        self.guard.check(url).map_err(|refused| Failure::of(refused.to_string()))?;
        let mut body = Vec::with_capacity(message.body.len() + 32);
        splice_seq(message.seq, &message.body, &mut body);
        let (id, timestamp) = (delivery_id(message), now.timestamp());
        let signature = secret.sign(&id, timestamp, &body);
        let request = self
            .http
            .post(url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body);
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(refusal(answer, now).await),
            Err(error) => Err(Failure::of(unreached(&error))),
        }
    }
}

/// The same for every attempt at a message, so that a receiver can tell a repeat;
/// with the sequence, since one id can stand at two (contract, section 1).
fn delivery_id(message: &Record) -> String {
    format!("{}_{}", message.id, message.seq)
}

/// What an answer other than 2xx context.
async fn refusal(answer: Response, now: DateTime<Utc>) -> Failure {
    let status = answer.status();
    let asks = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let retry_after = asks.then(|| retry_after(answer.headers(), now)).flatten();
    let mut error = format!("the receiver answered {status}");
    if status.is_redirection() {
        let place = answer.headers().get(LOCATION).and_then(|place| place.to_str().ok());
        error.push_str(&format!(
            ", a redirect to {:.200}, which is not followed",
            place.unwrap_or("nowhere")
        ));
    }
    let said = beginning(answer).await;
    if !said.is_empty() {
        error.push_str(": ");
        error.push_str(&said);
    }
    Failure { error, gone: status == StatusCode::GONE, retry_after }
}

/// `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3).
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

/// The beginning of an answer's body, on one line. The client's time-out bounds the wait.
async fn beginning(mut answer: Response) -> String {
    let mut read = Vec::new();
    while read.len() < MAX_WEBHOOK_ERROR_BODY {
        match answer.chunk().await {
            Ok(Some(chunk)) => read
                .extend_from_slice(&chunk[..chunk.len().min(MAX_WEBHOOK_ERROR_BODY - read.len())]),
            Ok(None) | Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&read);
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.trim().to_owned()
}

/// Why there was no answer: without the URL, which may hold what is secret.
fn unreached(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => "no connection to the receiver in time".to_owned(),
        (true, false) => format!("no connection to the receiver: {inner}"),
        (false, true) => "no answer from the receiver in time".to_owned(),
        (false, false) => format!("no answer from the receiver: {inner}"),
    }
}
