//! What sessions and tickets carry, sealed ([`crate::seal`]): no table of them is needed on any server.
//!
//! Invariant: both name the secret or the token that made them, and end with it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::key::SecretId;

/// Who made a session or a ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Holder {
    /// The bearer of a key.
    Key(SecretId),
    /// The bearer of a token. The token itself is too long for a cookie.
    Token(TokenBearer),
}

/// What a token said, as far as its sessions and tickets need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBearer {
    /// The name of the issuer in `JWT_ISSUERS_FILE`.
    #[serde(rename = "j")]
    pub issuer: String,
    /// The subject.
    #[serde(rename = "u")]
    pub subject: String,
    /// The grants of its claim, as JSON.
    #[serde(rename = "g")]
    pub grants: String,
    /// When it ends, in seconds since 1970.
    #[serde(rename = "x")]
    pub expires_s: i64,
    /// The SHA-256 of the token, which identifies it.
    #[serde(rename = "t")]
    pub token: String,
}

/// The session of a browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Identifies the session.
    #[serde(rename = "s")]
    pub id: Uuid,
    /// Who opened it.
    #[serde(rename = "i")]
    pub holder: Holder,
    /// When it ends by itself, in seconds since 1970.
    #[serde(rename = "e")]
    pub expires_s: i64,
}

/// A ticket, which opens streams with one filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Who made it; `None`: a session, or somebody without a credential.
    #[serde(rename = "i")]
    pub holder: Option<Holder>,
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

impl Holder {
    /// How many bytes of grants it carries.
    #[must_use]
    pub fn grant_bytes(&self) -> usize {
        match self {
            Self::Key(_) => 0,
            Self::Token(bearer) => bearer.grants.len(),
        }
    }
}

impl TokenBearer {
    /// When the token ends.
    #[must_use]
    pub fn until(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.expires_s, 0).unwrap_or(DateTime::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seals_of_earlier_versions_open() {
        let session = r#"{"s":"00000000-0000-0000-0000-000000000001","i":{"k":"a","h":"0"},"e":9}"#;
        let session: Session = serde_json::from_str(session).expect("a session");
        assert!(matches!(&session.holder, Holder::Key(_)));
        let ticket = r#"{"i":{"k":"a","h":"0"},"s":null,"f":[],"e":9}"#;
        let ticket: Ticket = serde_json::from_str(ticket).expect("a ticket");
        assert_eq!(ticket.holder, Some(session.holder));
        let none: Ticket =
            serde_json::from_str(r#"{"i":null,"s":null,"f":[],"e":9}"#).expect("one");
        assert_eq!(none.holder, None);
    }

    #[test]
    fn the_bearer_of_a_token_is_read_back() {
        let text = || "x".to_owned();
        let bearer = TokenBearer {
            issuer: text(),
            subject: text(),
            grants: text(),
            expires_s: 9,
            token: text(),
        };
        let json = serde_json::to_string(&Holder::Token(bearer.clone())).expect("JSON");
        let read: Holder = serde_json::from_str(&json).expect("a holder");
        assert_eq!(read, Holder::Token(bearer));
    }
}
