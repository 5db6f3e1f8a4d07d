//! Keys: who may do what (contract, section 11).
//!
//! Invariant: the text of a key is only in the response that made it, and `Debug` does not show it.

use std::fmt;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::client::Client;
use crate::document::{Document, list};
use crate::error::Error;

/// A key.
#[derive(Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Key {
    /// The key's public id.
    pub id: String,
    /// The name, for people.
    pub name: String,
    /// `agent`, `human` or `service`.
    pub kind: String,
    /// What the key may do.
    pub grants: Grants,
    /// How much the key may do on each server.
    pub limits: KeyLimits,
    /// When the key was made (RFC 3339).
    pub created_at: String,
    /// The id of the key that made it; `None` for the command line on the store.
    pub created_by: Option<String>,
    /// When the key ends by itself (RFC 3339).
    pub expires_at: Option<String>,
    /// When the key was last used (RFC 3339), to about a minute.
    pub last_used_at: Option<String>,
    /// Until when the secret that was replaced is accepted (RFC 3339).
    pub old_secret_until: Option<String>,
    /// Whether a restore has disabled the key: it opens nothing until it is enabled.
    pub disabled: bool,
    /// The key itself; only in the response that made or rotated it.
    pub key: Option<String>,
}

/// What a key may do. A missing list grants nothing.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Grants {
    /// Senders as which it may write, and whose inboxes it may read and acknowledge; `*` is any.
    #[serde(rename = "as", skip_serializing_if = "Vec::is_empty")]
    pub senders: Vec<String>,
    /// NATS subjects that it may publish on, with wildcards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<String>,
    /// NATS subjects that it may read, with wildcards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<String>,
    /// Queues that it may put jobs into; `*` is any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub enqueue: Vec<String>,
    /// Queues that it may lease jobs from; `*` is any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub work: Vec<String>,
    /// What else it may do: `observe`, `process`, `keys` and others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub can: Vec<String>,
}

/// How much a key may do on each server; `None` sets no limit.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct KeyLimits {
    /// Requests a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_s: Option<u64>,
    /// Messages a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_per_s: Option<u64>,
    /// Bytes of messages a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_day: Option<u64>,
    /// Streams open at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams: Option<u64>,
}

/// A key to make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NewKey {
    /// The name, for people.
    pub name: String,
    /// What it may do.
    pub grants: Grants,
    /// `agent`, `human` or `service`; `None` for `agent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// How much it may do.
    #[serde(skip_serializing_if = "KeyLimits::is_empty")]
    pub limits: KeyLimits,
    /// When it ends by itself (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// A change of a key; `None` leaves a member as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KeyChange {
    /// The new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it may do from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grants: Option<Grants>,
    /// How much it may do from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<KeyLimits>,
    /// When it ends by itself (RFC 3339); `Some(None)` takes the end away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Option<String>>,
}

impl KeyLimits {
    /// Whether there is no limit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// All keys.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn keys(&self) -> Result<Vec<Document<Key>>, Error> {
        list(&self.call(self.get("/v1/keys", &[])).await?, "keys")
    }

    /// One key.
    ///
    /// # Errors
    /// There is no key with this id, or the server refuses or cannot be reached.
    pub async fn key(&self, id: &str) -> Result<Document<Key>, Error> {
        self.call(self.get(&path(id), &[])).await.map(Document::new)
    }

    /// Makes a key. The request has no id, so it is not repeated when its response is lost: then there may be
    /// a key whose secret is lost.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn create_key(&self, key: &NewKey) -> Result<Document<Key>, Error> {
        self.call_once(self.post("/v1/keys", key)).await.map(Document::new)
    }

    /// Gives a key a new secret. The latest old one is accepted for `overlap_s` seconds more, all older ones
    /// end now. It is not repeated when its response is lost, as in [`Client::create_key`].
    ///
    /// # Errors
    /// There is no key with this id, or the server refuses or cannot be reached.
    pub async fn rotate_key(&self, id: &str, overlap_s: u64) -> Result<Document<Key>, Error> {
        let request = self.post(&format!("{}/rotate", path(id)), &json!({"overlap_s": overlap_s}));
        self.call_once(request).await.map(Document::new)
    }

    /// Changes a key; what the change leaves out stays.
    ///
    /// # Errors
    /// There is no key with this id, or the server refuses or cannot be reached.
    pub async fn update_key(&self, id: &str, change: &KeyChange) -> Result<Document<Key>, Error> {
        let request = self.request(Method::PATCH, &path(id), &[]).json(change);
        self.call(request).await.map(Document::new)
    }

    /// Revokes a key: everything that it opened ends.
    ///
    /// # Errors
    /// There is no key with this id, or the server refuses or cannot be reached.
    pub async fn revoke_key(&self, id: &str) -> Result<(), Error> {
        self.call_ending(self.request(Method::DELETE, &path(id), &[]), 404).await.map(drop)
    }
}

fn path(id: &str) -> String {
    format!("/v1/keys/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_has_only_what_is_set() {
        let grants = Grants { senders: vec!["ann".to_owned()], ..Grants::default() };
        let new = NewKey { name: "a".to_owned(), grants, ..NewKey::default() };
        let json = serde_json::to_string(&new).expect("JSON");
        assert_eq!(json, r#"{"name":"a","grants":{"as":["ann"]}}"#);
    }

    #[test]
    fn a_key_does_not_show_its_secret() {
        let json = r#"{"id":"k1","name":"a","key":"ab_k1_hunter2","more":1}"#;
        let document: Document<Key> = Document::new(json.into());
        let key = document.parse().expect("a key");
        assert_eq!(key.key.as_deref(), Some("ab_k1_hunter2"));
        assert!(!format!("{key:?} {document:?}").contains("hunter2"));
    }
}
