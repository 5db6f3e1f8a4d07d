//! The server's reports about itself. They are returned as any JSON, since newer servers may add members.

use serde_json::Value;

use crate::client::Client;
use crate::document::Document;
use crate::error::Error;

impl Client {
    /// The server's name, version, bus, store, uptime and readiness.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn status(&self) -> Result<Document<Value>, Error> {
        self.call(self.get("/v1/status", &[])).await.map(Document::new)
    }

    /// Counts of messages, the range of the log, lag and open streams.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn stats(&self) -> Result<Document<Value>, Error> {
        self.call(self.get("/v1/stats", &[])).await.map(Document::new)
    }
}
