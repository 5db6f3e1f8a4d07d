//! Publishes one message or many.
//!
//! Invariant: every message has an id or a key before its first attempt. So if a response is lost, or an
//! outage affects a part of a batch, the messages are sent again, and the log still has each of them once.

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

/// What must have happened before the server responds to a publish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckLevel {
    /// The bus has stored the message.
    #[default]
    Stored,
    /// The store has committed the message to disk too. The server waits up to 5 s for that; after that it
    /// responds with `stored`.
    Committed,
}

/// Options for publishing one message.
#[derive(Clone, Debug, Default)]
pub struct PublishOptions {
    /// What must have happened before the server responds.
    pub ack: AckLevel,
    /// Identifies the message if it has no id: 1 to 255 visible characters (contract, section 3).
    pub idempotency_key: Option<String>,
}

/// The acknowledgement of one message.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Published {
    /// The message's sequence.
    pub seq: u64,
    /// The message's id.
    pub id: String,
    /// Whether the message had already been published.
    pub duplicate: bool,
    /// `stored` or `committed`.
    pub durability: String,
}

/// The outcome for one message of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The message is in the log.
    Accepted(Published),
    /// The message was refused, and a retry would be refused too.
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
    /// Publishes one message, a JSON object. If it has neither id nor key, it gets a new id, so that retries
    /// do not publish it twice.
    ///
    /// # Errors
    /// The server refuses the message or cannot be reached. After a transient error the message may be in the
    /// log. Publish it again with the same id or key: the log will have it once.
    pub async fn publish(
        &self,
        message: impl Into<Bytes>,
        options: &PublishOptions,
    ) -> Result<Document<Published>, Error> {
        let mut message = message.into();
        let key = options.idempotency_key.as_ref();
        // A body that is not an object is sent too: the server reports what is wrong.
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

    /// Publishes messages in order; each must be a JSON object with its own id. Returns one outcome for each.
    /// At most [`BATCH_MESSAGES`](crate::limits::BATCH_MESSAGES) messages with
    /// [`BATCH_BYTES`](crate::limits::BATCH_BYTES) in all.
    ///
    /// # Errors
    /// The server was not reachable, or had an outage, for longer than the client retries; or the response is
    /// not one to a batch. Some messages may be in the log: publish all of them again with the same ids.
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

    /// Posts the messages without an outcome once. If they are too large for one request, posts them in
    /// halves: a proxy may allow less than the server. Returns the problem of an outage, if there was one.
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
