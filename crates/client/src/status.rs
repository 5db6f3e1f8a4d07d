//! The server's reports about itself. They are returned as any JSON, since newer servers may add members.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;

use crate::client::Client;
use crate::document::Document;
use crate::error::Error;
use crate::filter::Query;
use crate::notice::Notice;

impl Client {
    /// The server's name, version, bus, store, uptime and readiness.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn status(&self) -> Result<Document<Value>, Error> {
        self.call(self.get("/v1/status", &[])).await.map(Document::new)
    }

    /// Counts of messages (of one task, if it is given), the range of the log, lag and open streams.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn stats(&self, task: Option<&str>) -> Result<Document<Value>, Error> {
        let query: Query = task.map(|task| ("task", task.to_owned())).into_iter().collect();
        self.call(self.get("/v1/stats", &query)).await.map(Document::new)
    }

    /// Compares the version of the server with that of this client, once for a client and its clones. If the first
    /// numbers differ, it is reported as [`Notice::OtherVersion`]. A server that does not tell its version (the key has
    /// no grant `observe`) is none. Streams and workers do this by themselves.
    pub async fn check_version(&self) {
        if self.version_checked.swap(true, Ordering::Relaxed) {
            return;
        }
        let once = self.clone().retry_for(Duration::ZERO);
        let status = once.status().await.and_then(|status| status.parse());
        let Some(server) = status.as_ref().ok().and_then(|status| status["version"].as_str())
        else {
            return;
        };
        let first = |version: &str| version.split('.').next().map(str::to_owned);
        if first(server) != first(env!("CARGO_PKG_VERSION")) {
            self.notify(&Notice::OtherVersion(server));
        }
    }
}
