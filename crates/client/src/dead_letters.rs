//! Dead letters: messages and jobs that were given up.

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::client::Client;
use crate::document::{Document, read};
use crate::error::Error;
use crate::filter::Query;
use crate::pages::Pages;

/// A message or job that was given up.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DeadLetter {
    /// The id of the dead letter.
    pub id: Uuid,
    /// `message` or `job`.
    pub kind: String,
    /// The name of the consumer or queue that gave up.
    pub source: String,
    /// The sequence of the message or job.
    pub seq: u64,
    /// The NATS subject of the message.
    pub subject: String,
    /// Why the message or job was given up.
    pub reason: String,
    /// Every attempt, oldest first.
    pub attempts: Vec<Attempt>,
    /// When the message or job was given up (RFC 3339).
    pub died_at: String,
    /// The message; only in the response of [`Client::dead_letter`].
    pub message: Option<Box<RawValue>>,
    /// The job; only in the response of [`Client::dead_letter`].
    pub job: Option<Box<RawValue>>,
}

/// One failed attempt.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// The number of the attempt; the first is 1.
    pub attempt: u64,
    /// When the attempt failed (RFC 3339).
    pub at: String,
    /// Why the attempt failed.
    pub error: String,
}

/// The outcome of a redrive.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Redriven {
    /// Dead letters that were sent back to their source.
    pub redriven: u64,
    /// Dead letters whose source does not exist any more.
    pub skipped: u64,
}

impl Client {
    /// Dead letters, oldest first, at most `limit`. `query` may filter by `source` and `kind`.
    #[must_use]
    pub fn dead_letters(&self, query: Query, limit: Option<u64>) -> Pages<DeadLetter> {
        self.pages("/v1/dead-letters", "dead_letters", query, limit)
    }

    /// One dead letter with its attempts and its message or job.
    ///
    /// # Errors
    /// There is no dead letter with this id, or the server refuses or cannot be reached.
    pub async fn dead_letter(&self, id: Uuid) -> Result<Document<DeadLetter>, Error> {
        self.call(self.get(&path(id), &[])).await.map(Document::new)
    }

    /// Sends one dead letter back to its source, as if it were new.
    ///
    /// # Errors
    /// There is no dead letter with this id, or the server refuses or cannot be reached.
    pub async fn redrive(&self, id: Uuid) -> Result<Redriven, Error> {
        read(&self.call_once(self.post(&format!("{}/redrive", path(id)), &json!({}))).await?)
    }

    /// Sends every dead letter that matches `query` (`source`, `kind`) back to its source. After an error, some may have
    /// been sent back: repeat it.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn redrive_all(&self, query: Query) -> Result<Redriven, Error> {
        let request = self.request(Method::POST, "/v1/dead-letters/redrive", &query);
        read(&self.call_once(request.json(&json!({}))).await?)
    }

    /// Discards one dead letter for good.
    ///
    /// # Errors
    /// There is no dead letter with this id, or the server refuses or cannot be reached.
    pub async fn discard(&self, id: Uuid) -> Result<(), Error> {
        self.call_ending(self.request(Method::DELETE, &path(id), &[]), 404).await.map(drop)
    }
}

fn path(id: Uuid) -> String {
    format!("/v1/dead-letters/{id}")
}
