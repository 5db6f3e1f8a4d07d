//! Consumers, which process the messages of the log on the server.

use serde::Deserialize;
use serde_json::json;

use crate::client::Client;
use crate::document::{Document, list};
use crate::error::Error;

/// A consumer and its position.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Consumer {
    /// The consumer's name.
    pub name: String,
    /// The NATS subjects of the messages that it processes, with wildcards.
    pub filter: String,
    /// `running`, `paused` and the like.
    pub state: String,
    /// Why the consumer is in this state, if there is a reason to report.
    pub reason: Option<String>,
    /// Messages that wait for their first or a further attempt.
    pub pending: u64,
    /// Messages in flight: passed to handlers and not settled.
    pub in_flight: u64,
    /// How far the consumer is behind the log.
    pub lag: Lag,
    /// Every message up to this sequence is settled.
    pub processed_through: u64,
    /// Messages processed since the consumer exists.
    pub processed: u64,
    /// Failed attempts since the consumer exists.
    pub failed: u64,
    /// Messages that became dead letters.
    pub dead_letters: u64,
}

/// How far a consumer is behind the log.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Lag {
    /// The number of messages that it is behind.
    pub messages: u64,
    /// The age of the oldest message that is not processed, in seconds.
    pub seconds: f64,
}

impl Client {
    /// All consumers.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn consumers(&self) -> Result<Vec<Document<Consumer>>, Error> {
        list(&self.call(self.get("/v1/consumers", &[])).await?, "consumers")
    }

    /// Pauses a consumer, which keeps its position. The reason is shown with it.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn pause_consumer(
        &self,
        name: &str,
        reason: Option<&str>,
    ) -> Result<Document<Consumer>, Error> {
        let body = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
        self.call(self.post(&path(name, "pause"), &body)).await.map(Document::new)
    }

    /// Resumes a consumer at its position.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn resume_consumer(&self, name: &str) -> Result<Document<Consumer>, Error> {
        self.call(self.post(&path(name, "resume"), &json!({}))).await.map(Document::new)
    }

    /// Makes a consumer process again everything from sequence `from` on.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn reset_consumer(&self, name: &str, from: u64) -> Result<Document<Consumer>, Error> {
        let body = json!({ "from": from });
        self.call(self.post(&path(name, "reset"), &body)).await.map(Document::new)
    }
}

fn path(name: &str, action: &str) -> String {
    format!("/v1/consumers/{name}/{action}")
}
