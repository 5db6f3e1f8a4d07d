//! Consumers: what processes the log.

use serde::Deserialize;
use serde_json::json;

use crate::client::Client;
use crate::document::{Document, list};
use crate::error::Error;

/// A consumer and its position.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Consumer {
    /// Its name.
    pub name: String,
    /// The NATS subjects that it processes, with wildcards.
    pub filter: String,
    /// `running`, `paused` and the like.
    pub state: String,
    /// Why it is in this state, if that needs a reason.
    pub reason: Option<String>,
    /// Messages that wait.
    pub pending: u64,
    /// Messages given to handlers and not settled.
    pub in_flight: u64,
    /// How far it is behind the log.
    pub lag: Lag,
    /// Everything up to this sequence is settled.
    pub processed_through: u64,
    /// Messages processed, in all.
    pub processed: u64,
    /// Attempts that failed, in all.
    pub failed: u64,
    /// Messages given up, in all.
    pub dead_letters: u64,
}

/// How far a consumer is behind the log.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Lag {
    /// In messages.
    pub messages: u64,
    /// In seconds.
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

    /// Stops a consumer; it keeps its position.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn pause_consumer(&self, name: &str) -> Result<Document<Consumer>, Error> {
        self.call(self.post(&path(name, "pause"), &json!({}))).await.map(Document::new)
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
