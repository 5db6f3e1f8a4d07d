//! Publishing, one message or many.
//!
//! Invariant: every message has an id or a key before its first attempt. So a request whose response was lost,
//! and the part of a batch that met an outage, is sent again and the log holds each message once.

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use uuid::Uuid;

use crate::client::{Client, Notice};
use crate::document::{Document, read};
use crate::envelope::Envelope;
use crate::error::Error;
use crate::problem::Problem;

/// What the response to a publish waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckLevel {
    /// The bus holds the message.
    #[default]
    Stored,
    /// The store holds it too, on disk. The server waits up to 5 s for that, and else answers `stored`.
    Committed,
}

/// How to publish one message.
#[derive(Clone, Debug, Default)]
pub struct PublishOptions {
    /// What to wait for.
    pub ack: AckLevel,
    /// Identifies the message instead of an id of its own: 1 to 255 visible characters (contract, section 3).
    pub idempotency_key: Option<String>,
}

/// The acknowledgement of one message.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Published {
    /// Its sequence.
    pub seq: u64,
    /// Its id.
    pub id: String,
    /// Whether it had been published before.
    pub duplicate: bool,
    /// `stored` or `committed`.
    pub durability: String,
}

/// The outcome for one message of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the log.
    Accepted(Published),
    /// It was refused, and a repeat would be too.
    Rejected(Problem),
}

#[derive(Deserialize)]
struct Batch {
    results: Vec<ItemResult>,
}

#[derive(Deserialize)]
struct ItemResult {
    status: u16,
    #[serde(flatten)]
    published: Published,
    #[serde(default)]
    error: Problem,
}

/// The response to one batch request.
enum Response {
    Results(Vec<ItemResult>),
    TooLarge(Problem),
}

impl Client {
    /// Publishes one message, a JSON object. Without an id and a key it gets a fresh id, so that it is published
    /// once although it is retried.
    ///
    /// # Errors
    /// The server refuses it or cannot be reached. After a transient error it may be in the log: publish it again
    /// under the same id or key to be sure of one.
    pub async fn publish(
        &self,
        message: impl Into<Bytes>,
        options: &PublishOptions,
    ) -> Result<Document<Published>, Error> {
        let mut message = message.into();
        let key = options.idempotency_key.as_ref();
        // The server says what is wrong with a body that is no object.
        if key.is_none()
            && let Ok(envelope) = Envelope::parse(&message)
            && !envelope.has_id()
        {
            message = envelope.encode(Some(Uuid::now_v7())).into();
        }
        let ack = if options.ack == AckLevel::Committed { "committed" } else { "stored" };
        let mut request = self.request(Method::POST, "/v1/messages", &[("ack", ack.to_owned())]);
        request = request.header(CONTENT_TYPE, "application/json").body(message);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.call(request).await.map(Document::new)
    }

    /// Publishes messages, each a JSON object with an id of its own, in order; one outcome for each. At most
    /// [`BATCH_MESSAGES`](crate::limits::BATCH_MESSAGES) and [`BATCH_BYTES`](crate::limits::BATCH_BYTES).
    ///
    /// # Errors
    /// The server could not be reached or had an outage for longer than the client retries, or the response is
    /// not one to a batch. Some messages may be in the log: publish all of them again, under the same ids.
    pub async fn publish_batch(&self, messages: &[Vec<u8>]) -> Result<Vec<Outcome>, Error> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; messages.len()];
        let mut backoff = self.backoff();
        let mut reported = false;
        loop {
            let open: Vec<usize> =
                (0..messages.len()).filter(|&at| outcomes[at].is_none()).collect();
            if open.is_empty() {
                return Ok(outcomes.into_iter().flatten().collect());
            }
            let Some(outage) = self.post_open(messages, &open, &mut outcomes).await? else {
                continue;
            };
            if outcomes.iter().flatten().count() > messages.len() - open.len() {
                backoff = self.backoff();
            }
            let error = Error::Refused(Box::new(outage));
            if !std::mem::replace(&mut reported, true) {
                self.notify(&Notice::Retrying(&error));
            }
            let Some(wait) = backoff.next_wait(None) else { return Err(error) };
            tokio::time::sleep(wait).await;
        }
    }

    /// One round over the messages without an outcome, in halves where the whole is too large: a proxy may allow
    /// less than the server. The outage, if one was met.
    async fn post_open(
        &self,
        messages: &[Vec<u8>],
        open: &[usize],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<Option<Problem>, Error> {
        let mut parts = vec![open];
        let mut outage = None;
        while let Some(part) = parts.pop() {
            match self.post_part(messages, part).await? {
                Response::TooLarge(_) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Response::TooLarge(problem) => {
                    outcomes[part[0]] = Some(Outcome::Rejected(problem));
                }
                Response::Results(results) => {
                    for (&at, ItemResult { status, published, error }) in part.iter().zip(results) {
                        let problem = Problem { status, ..error };
                        outcomes[at] = match status {
                            200..=299 => Some(Outcome::Accepted(published)),
                            429 | 503 => {
                                outage = Some(problem);
                                None
                            }
                            _ => Some(Outcome::Rejected(problem)),
                        };
                    }
                }
            }
        }
        Ok(outage)
    }

    async fn post_part(&self, messages: &[Vec<u8>], part: &[usize]) -> Result<Response, Error> {
        let mut body = Vec::with_capacity(part.iter().map(|&at| messages[at].len() + 1).sum());
        for &at in part {
            body.extend_from_slice(&messages[at]);
            body.push(b'\n');
        }
        let request = self.request(Method::POST, "/v1/messages/batch", &[]);
        let request = request.header(CONTENT_TYPE, "application/x-ndjson").body(body);
        let body = match self.call(request).await {
            Ok(body) => body,
            Err(Error::Refused(problem)) if problem.status == 413 => {
                return Ok(Response::TooLarge(*problem));
            }
            Err(error) => return Err(error),
        };
        let Batch { results } = read(&body)?;
        if results.len() != part.len() {
            let (got, sent) = (results.len(), part.len());
            let text = format!("the server answered {sent} messages with {got} results");
            return Err(Error::Unexpected(text));
        }
        Ok(Response::Results(results))
    }
}
