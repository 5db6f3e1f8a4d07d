//! What sessions and tickets carry, sealed ([`crate::seal`]): no table of them is needed on any server.
//!
//! Invariant: both name the secret that made them, and end with it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::key::SecretId;

/// The session of a browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Identifies the session.
    #[serde(rename = "s")]
    pub id: Uuid,
    /// The secret that opened it.
    #[serde(rename = "i")]
    pub secret: SecretId,
    /// When it ends by itself, in seconds since 1970.
    #[serde(rename = "e")]
    pub expires_s: i64,
}

/// A ticket, which opens streams with one filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The secret that made it; `None`: made without a key.
    #[serde(rename = "i")]
    pub secret: Option<SecretId>,
    /// The session that made it, if one did: its streams end with it.
    #[serde(rename = "s")]
    pub session: Option<Session>,
    /// The filter: names and values of its parameters.
    #[serde(rename = "f")]
    pub filter: Vec<(String, String)>,
    /// Until when it opens streams, in seconds since 1970.
    #[serde(rename = "e")]
    pub expires_s: i64,
}

impl Session {
    /// When it ends by itself.
    #[must_use]
    pub fn until(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.expires_s, 0).unwrap_or(DateTime::UNIX_EPOCH)
    }
}

impl Ticket {
    /// Until when it opens streams.
    #[must_use]
    pub fn until(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.expires_s, 0).unwrap_or(DateTime::UNIX_EPOCH)
    }
}
