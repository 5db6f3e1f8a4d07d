//! Dead letters: messages and jobs that were given up.

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::client::{Client, Query};
use crate::document::{Document, read};
use crate::error::Error;
use crate::pages::Pages;

/// A message or job that could not be processed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DeadLetter {
    /// Its own id.
    pub id: Uuid,
    /// `message` or `job`.
    pub kind: String,
    /// The consumer or the queue.
    pub source: String,
    /// Sequence of the message or job.
    pub seq: u64,
    /// NATS subject of the message.
    pub subject: String,
    /// Why it was given up.
    pub reason: String,
    /// Every attempt, oldest first.
    pub attempts: Vec<Attempt>,
    /// When it was given up (RFC 3339).
    pub died_at: String,
    /// The message, where one dead letter was asked for.
    pub message: Option<Box<RawValue>>,
    /// The job, where one dead letter was asked for.
    pub job: Option<Box<RawValue>>,
}

/// One failed attempt.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// Its number, from 1.
    pub attempt: u64,
    /// When it failed (RFC 3339).
    pub at: String,
    /// Why.
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
    /// Dead letters, oldest first, at most `limit`; `query` may have `source` and `kind`.
    #[must_use]
    pub fn dead_letters(&self, query: Query, limit: Option<u64>) -> Pages<DeadLetter> {
        self.pages("/v1/dead-letters", "dead_letters", query, limit)
    }

    /// One dead letter with its attempts and its message or job.
    ///
    /// # Errors
    /// There is none with this id, the server refuses or cannot be reached.
    pub async fn dead_letter(&self, id: Uuid) -> Result<Document<DeadLetter>, Error> {
        self.call(self.get(&path(id), &[])).await.map(Document::new)
    }

    /// Sends one dead letter back to its source, as if it was new.
    ///
    /// # Errors
    /// There is none with this id, the server refuses or cannot be reached.
    pub async fn redrive(&self, id: Uuid) -> Result<Redriven, Error> {
        read(&self.call(self.post(&format!("{}/redrive", path(id)), &json!({}))).await?)
    }

    /// Sends back every dead letter that `query` (`source`, `kind`) names.
    ///
    /// # Errors
    /// The server refuses or cannot be reached; some may have been sent back.
    pub async fn redrive_all(&self, query: Query) -> Result<Redriven, Error> {
        let request = self.request(Method::POST, "/v1/dead-letters/redrive", &query);
        read(&self.call(request.json(&json!({}))).await?)
    }

    /// Discards one dead letter for good.
    ///
    /// # Errors
    /// There is none with this id, the server refuses or cannot be reached.
    pub async fn discard(&self, id: Uuid) -> Result<(), Error> {
        self.call(self.request(Method::DELETE, &path(id), &[])).await.map(drop)
    }
}

fn path(id: Uuid) -> String {
    format!("/v1/dead-letters/{id}")
}
