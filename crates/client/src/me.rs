//! Who the caller is, and tickets for pages (contract, section 11).

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::client::Client;
use crate::document::{Document, read};
use crate::error::Error;
use crate::filter::Query;
use crate::keys::{Grants, KeyLimits};

/// Who the caller is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Me {
    /// The id of the key; `None` without one.
    pub id: Option<String>,
    /// The name of the key, or `anonymous`.
    pub name: String,
    /// `agent`, `human` or `service`.
    pub kind: Option<String>,
    /// What the caller may do.
    pub grants: Grants,
    /// How much the caller may do on each server.
    pub limits: KeyLimits,
    /// When the key ends by itself (RFC 3339).
    pub expires_at: Option<String>,
}

/// A ticket, with which a page of another origin opens streams.
#[derive(Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Ticket {
    /// The ticket itself: `/v1/stream?ticket=…`.
    pub ticket: String,
    /// Until when it opens streams (RFC 3339).
    pub expires_at: String,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

impl Client {
    /// Who the caller is, and what it may do.
    ///
    /// # Errors
    /// The key is not valid, or the server cannot be reached.
    pub async fn me(&self) -> Result<Document<Me>, Error> {
        self.call(self.get("/v1/me", &[])).await.map(Document::new)
    }

    /// Makes a ticket for streams with this filter. It is valid for `ttl_s` seconds, 60 at most, which is also the
    /// default.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn create_ticket(
        &self,
        filter: impl Into<Query>,
        ttl_s: Option<u64>,
    ) -> Result<Ticket, Error> {
        let mut body = Map::new();
        for (name, value) in filter.into() {
            if name == "broadcast" {
                body.insert(name.to_owned(), Value::Bool(value == "true"));
            } else if let Value::Array(values) =
                body.entry(name).or_insert_with(|| Value::Array(Vec::new()))
            {
                values.push(value.into());
            }
        }
        if let Some(ttl_s) = ttl_s {
            body.insert("ttl_s".to_owned(), ttl_s.into());
        }
        read(&self.call(self.post("/v1/tickets", &body)).await?)
    }
}
