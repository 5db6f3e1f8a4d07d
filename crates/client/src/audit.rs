//! The audit log: who did what (contract, section 11).

use serde::Deserialize;
use serde_json::Value;

use crate::client::Client;
use crate::filter::Query;
use crate::pages::Pages;

/// One entry of the audit log.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct AuditEntry {
    /// The number of the entry; it rises.
    pub seq: u64,
    /// When it happened (RFC 3339).
    pub at: String,
    /// Who acted.
    pub actor: Actor,
    /// What was done, or tried.
    pub action: String,
    /// What it was done to.
    pub target: String,
    /// More about it.
    pub detail: Value,
    /// How it ended.
    pub outcome: String,
}

/// Who acted.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Actor {
    /// The id of the key; `None` without one, as for the command line on the store.
    pub id: Option<String>,
    /// The name of the key as it was then, `operator` or `anonymous`.
    pub name: String,
}

impl Client {
    /// The entries after the number `after`, oldest first, at most `limit`.
    #[must_use]
    pub fn audit(&self, after: Option<u64>, limit: Option<u64>) -> Pages<AuditEntry> {
        let query: Query = after.map(|seq| ("after", seq.to_string())).into_iter().collect();
        self.pages("/v1/audit", "entries", query, limit)
    }
}
