//! What the server reports about itself. These routes are read as JSON: their members grow with the server.

use serde_json::Value;

use crate::client::Client;
use crate::document::Document;
use crate::error::Error;

impl Client {
    /// Name, version, bus, store, uptime and readiness of the server.
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
