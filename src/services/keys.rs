//! Keys: make, list, change, rotate, revoke (contract, section 11).
//!
//! Invariants: a caller makes, changes, rotates and revokes only keys that lie within its own, before and after. The
//! check and the change are of the same state of the key. When a call returns, this server holds to the change. A
//! secret is in one response and nowhere else.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::audit::Audit;
use super::calls::Call;
use super::{Code, Error};
use crate::access::{
    Grants, KeyId, KeyKind, KeyLimits, KeyText, Keyring, Needs, Principal, Renewal, read_object,
};
use crate::clock::Clock;
use crate::limits::{KEY_CHANGE_ATTEMPTS, MAX_KEY_NAME, MAX_KEYS, MAX_OVERLAP_S};
use crate::message::{ObjectReader, format_micros, parse_rfc3339, truncate_to_micros};
use crate::store::{DISABLED, KeyRow, KeyTable, Store};

/// A key, as the API shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Key {
    /// The public id.
    pub id: String,
    /// The key itself, only in the response that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    name: String,
    kind: String,
    grants: Value,
    limits: Value,
    created_at: String,
    created_by: Option<String>,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    /// Until when the replaced secret is accepted, during a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_secret_until: Option<String>,
    /// Whether a restore has disabled it: it opens nothing until it is enabled.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disabled: bool,
}

/// A new secret of a key.
#[derive(Clone, Debug, Serialize)]
pub struct Rotated {
    /// The public id.
    pub id: String,
    /// The key with its new secret.
    pub key: String,
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// For people.
    pub name: String,
    /// Who uses it.
    pub kind: KeyKind,
    /// What it may do.
    pub grants: Grants,
    /// The most that it may do.
    pub limits: KeyLimits,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Changes of a key; `None` leaves a member as it is.
#[derive(Clone, Debug, Default)]
pub struct KeyChange {
    name: Option<String>,
    grants: Option<Grants>,
    limits: Option<KeyLimits>,
    /// `Some(None)`: without an end.
    expires_at: Option<Option<DateTime<Utc>>>,
}

/// A key of the store with its parts read.
struct KnownKey {
    row: KeyRow,
    kind: KeyKind,
    grants: Grants,
    limits: KeyLimits,
}

/// Manages the keys of a deployment.
pub struct Keys {
    pub(super) store: Arc<dyn Store>,
    pub(super) renewal: Arc<Renewal>,
    pub(super) audit: Audit,
    pub(super) clock: Clock,
}

impl NewKey {
    /// Reads a key from JSON: `{name, grants, kind?, limits?, expires_at?}`.
    ///
    /// # Errors
    /// All invalid members together.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let mut form = ObjectReader::parse(json).map_err(Error::unreadable_body)?;
        for name in ["name", "grants"] {
            if !form.has(name) {
                form.fail(name, "is required");
            }
        }
        let name = form.text("name", key_name);
        let grants = form.object("grants", Grants::parse);
        let kind = form.text("kind", str::parse).unwrap_or(KeyKind::Agent);
        let limits = form.object("limits", KeyLimits::parse).unwrap_or_default();
        let expires_at = form.text("expires_at", parse_rfc3339);
        let key =
            name.zip(grants).map(|(name, grants)| Self { name, kind, grants, limits, expires_at });
        form.finish("a key", key).map_err(Error::unreadable_body)
    }
}

impl KeyChange {
    /// Reads changes from JSON: `{name?, grants?, limits?, expires_at?}`; `"expires_at": null` removes the end.
    ///
    /// # Errors
    /// All invalid members together.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let mut form = ObjectReader::parse(json).map_err(Error::unreadable_body)?;
        let removes_end = form.take_null("expires_at");
        let change = Self {
            name: form.text("name", key_name),
            grants: form.object("grants", Grants::parse),
            limits: form.object("limits", KeyLimits::parse),
            expires_at: match removes_end {
                true => Some(None),
                false => form.text("expires_at", parse_rfc3339).map(Some),
            },
        };
        form.finish("a change of a key", Some(change)).map_err(Error::unreadable_body)
    }
}

fn key_name(text: &str) -> Result<String, &'static str> {
    let is_valid = (1..=MAX_KEY_NAME).contains(&text.len()) && !text.contains(char::is_control);
    if is_valid {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 128 bytes without control characters")
    }
}

/// The overlap in the body of a rotation: `{overlap_s}`, from 0 to a day.
///
/// # Errors
/// The body is invalid.
pub fn parse_overlap(json: &[u8]) -> Result<Duration, Error> {
    let mut form = ObjectReader::parse_optional(json).map_err(Error::unreadable_body)?;
    let overlap = form.whole("overlap_s", 0, MAX_OVERLAP_S).unwrap_or(0);
    form.finish("a rotation", Some(Duration::from_secs(overlap))).map_err(Error::unreadable_body)
}

impl Keys {
    /// The keys of a store for the command line: no server, so no credential is checked here.
    #[must_use]
    pub fn on_store(store: Arc<dyn Store>, clock: Clock) -> Self {
        let keyring = Keyring::default();
        let renewal = Arc::new(Renewal::new(keyring, Arc::clone(&store), clock.clone(), None));
        let (audit, _) = Audit::new(Arc::clone(&store), clock.clone());
        Self { store, renewal, audit, clock }
    }

    /// Makes a key. Its text is in the result, and nowhere else.
    ///
    /// # Errors
    /// The key would not lie within the caller's; there are too many keys; the store is unavailable.
    pub async fn create(&self, principal: &Principal, new: NewKey) -> Result<Key, Error> {
        Call::CreateKey.check(principal)?;
        let text =
            KeyText::generate().ok_or_else(|| Error::overloaded("no key could be made now"))?;
        let row = KeyRow {
            id: text.id().to_string(),
            name: new.name,
            kind: new.kind.as_str().to_owned(),
            grants: to_json(&new.grants),
            limits: to_json(&new.limits),
            created_at: truncate_to_micros(self.clock.now()),
            created_by: principal.identity().map(Cow::into_owned),
            expires_at: new.expires_at,
            last_used_at: None,
            change: Uuid::new_v4(),
        };
        let known = KnownKey { row, kind: new.kind, grants: new.grants, limits: new.limits };
        may_manage(principal, known.kind)?;
        within(principal, &known)?;
        let hash = text.hash();
        if !self.store.create_key(&known.row, hash.as_bytes(), MAX_KEYS).await? {
            let detail =
                format!("there are {MAX_KEYS} keys, as many as there may be: revoke some first");
            return Err(Error::new(Code::TooManyKeys, detail));
        }
        let detail = json!({ "name": known.row.name, "grants": known.grants });
        self.changed(principal, "key.create", &known.row.id, detail).await?;
        Ok(Key { key: Some(text.reveal()), ..view(&known.row, &KeyTable::default()) })
    }

    /// All keys, by id.
    ///
    /// # Errors
    /// The caller lacks a grant; the store is unavailable.
    pub async fn all(&self, principal: &Principal) -> Result<Vec<Key>, Error> {
        Call::ListKeys.check(principal)?;
        let table = self.store.keys().await?;
        Ok(table.keys.iter().map(|row| view(row, &table)).collect())
    }

    /// One key by its id.
    ///
    /// # Errors
    /// The caller lacks a grant; the key does not exist; the store is unavailable.
    pub async fn one(&self, principal: &Principal, id: &str) -> Result<Key, Error> {
        Call::ReadKey.check(principal)?;
        let table = self.store.keys().await?;
        let row = table.keys.iter().find(|row| row.id == id).ok_or_else(Self::missing)?;
        Ok(view(row, &table))
    }

    /// Changes name, grants, limits or expiry of a key.
    ///
    /// # Errors
    /// The key, before or after, does not lie within the caller's; it does not exist; the store is unavailable.
    pub async fn change(
        &self,
        principal: &Principal,
        id: &str,
        change: &KeyChange,
    ) -> Result<Key, Error> {
        Call::ChangeKey.check(principal)?;
        for _ in 0..KEY_CHANGE_ATTEMPTS {
            let old = self.known(id).await?;
            may_manage(principal, old.kind)?;
            within(principal, &old)?;
            let grants = change.grants.clone().unwrap_or_else(|| old.grants.clone());
            let limits = change.limits.unwrap_or(old.limits);
            let row = KeyRow {
                name: change.name.clone().unwrap_or_else(|| old.row.name.clone()),
                grants: to_json(&grants),
                limits: to_json(&limits),
                expires_at: change.expires_at.unwrap_or(old.row.expires_at),
                change: Uuid::new_v4(),
                ..old.row.clone()
            };
            let new = KnownKey { row, kind: old.kind, grants, limits };
            within(principal, &new)?;
            if self.store.update_key(&new.row, old.row.change).await? {
                let detail = json!({ "name": new.row.name, "grants": new.grants });
                let table = self.changed(principal, "key.change", id, detail).await?;
                return Ok(view(&new.row, &table));
            }
        }
        Err(overtaken())
    }

    /// Replaces the secret of a key. The latest old one is accepted for the overlap, all older ones end now.
    ///
    /// # Errors
    /// The key does not lie within the caller's; it does not exist; the store is unavailable.
    pub async fn rotate(
        &self,
        principal: &Principal,
        id: &str,
        overlap: Duration,
    ) -> Result<Rotated, Error> {
        Call::RotateKey.check(principal)?;
        for _ in 0..KEY_CHANGE_ATTEMPTS {
            let old = self.known(id).await?;
            may_manage(principal, old.kind)?;
            within(principal, &old)?;
            let key: KeyId = id.parse().map_err(|_| Self::missing())?;
            let text = KeyText::generate_for(key);
            let text = text.ok_or_else(|| Error::overloaded("no key could be made now"))?;
            let until =
                (!overlap.is_zero()).then(|| truncate_to_micros(self.clock.now() + overlap));
            let hash = text.hash();
            let rotated =
                self.store.rotate_key(id, old.row.change, Uuid::new_v4(), hash.as_bytes(), until);
            if rotated.await? {
                let detail = json!({ "overlap_s": overlap.as_secs() });
                self.changed(principal, "key.rotate", id, detail).await?;
                return Ok(Rotated { id: id.to_owned(), key: text.reveal() });
            }
        }
        Err(overtaken())
    }

    /// Enables a key that a restore has disabled: its secret is accepted again. A key that is enabled stays as it is.
    ///
    /// # Errors
    /// The key does not exist; the store is unavailable.
    pub async fn enable(&self, principal: &Principal, id: &str) -> Result<Key, Error> {
        Call::ChangeKey.check(principal)?;
        for _ in 0..KEY_CHANGE_ATTEMPTS {
            let old = self.known(id).await?;
            may_manage(principal, old.kind)?;
            within(principal, &old)?;
            if self.store.enable_key(id, old.row.change, Uuid::new_v4()).await? {
                let detail = json!({ "name": old.row.name });
                let table = self.changed(principal, "key.enable", id, detail).await?;
                return Ok(view(&old.row, &table));
            }
        }
        Err(overtaken())
    }

    /// Revokes a key: it and everything that it opened ends.
    ///
    /// # Errors
    /// The key does not lie within the caller's; it does not exist; the store is unavailable.
    pub async fn revoke(&self, principal: &Principal, id: &str) -> Result<(), Error> {
        Call::RevokeKey.check(principal)?;
        for _ in 0..KEY_CHANGE_ATTEMPTS {
            let old = self.known(id).await?;
            within(principal, &old)?;
            if self.store.delete_key(id, old.row.change).await? {
                let detail = json!({ "name": old.row.name });
                self.changed(principal, "key.revoke", id, detail).await?;
                return Ok(());
            }
        }
        Err(overtaken())
    }

    /// Records a change, and makes this server hold to it. Returns all keys as they are then.
    async fn changed(
        &self,
        principal: &Principal,
        action: &str,
        id: &str,
        detail: Value,
    ) -> Result<KeyTable, Error> {
        // Recorded first: the change stands, even if the keys cannot be read again now.
        self.audit.done(principal, action, id, detail).await;
        Ok(self.renewal.load().await?)
    }

    /// The error for a key that does not exist.
    #[must_use]
    pub fn missing() -> Error {
        Error::not_found("there is no key with this id")
    }

    /// The key to be changed. That of `ROOT_KEY_FILE` is changed by its file alone.
    async fn known(&self, id: &str) -> Result<KnownKey, Error> {
        let is_root = id == KeyId::root().as_str();
        if is_root && self.renewal.keyring().kind_of(id).is_some() {
            return Err(Needs("ROOT_KEY_FILE".to_owned()).into());
        }
        let table = self.store.keys().await?;
        let row = table.keys.into_iter().find(|row| row.id == id).ok_or_else(Self::missing)?;
        KnownKey::read(row).ok_or_else(|| {
            Error::internal(format!("the row of key {id} was written by another version"))
        })
    }
}

/// Checks that the caller may make, change or rotate a key of this kind.
fn may_manage(principal: &Principal, kind: KeyKind) -> Result<(), Needs> {
    if kind == KeyKind::Human && !principal.is_human() {
        return Err(Needs("kind human".to_owned()));
    }
    Ok(())
}

/// Checks that a key lies within the caller's own.
fn within(principal: &Principal, key: &KnownKey) -> Result<(), Needs> {
    if let Some(lacking) = principal.grants().lacking(&key.grants) {
        return Err(Needs(lacking));
    }
    let own = principal.key();
    let outlives = own
        .and_then(|own| own.expires_at)
        .is_some_and(|own_end| key.row.expires_at.is_none_or(|end| end > own_end));
    if outlives {
        return Err(Needs("a key that lives as long".to_owned()));
    }
    if principal.meter().is_some_and(|own| !own.limits().covers(&key.limits)) {
        return Err(Needs("limits as wide".to_owned()));
    }
    Ok(())
}

impl KnownKey {
    /// Reads a row as the keyring does; `None` for one that opens nothing.
    fn read(row: KeyRow) -> Option<Self> {
        let kind = row.kind.parse().ok()?;
        let grants = read_object(&row.grants, Grants::parse)?;
        let limits = read_object(&row.limits, KeyLimits::parse)?;
        Some(Self { row, kind, grants, limits })
    }
}

/// A key as the API shows it, with what the table says of its secrets.
fn view(row: &KeyRow, table: &KeyTable) -> Key {
    let json = |text: &str| serde_json::from_str(text).unwrap_or_default();
    let secrets = table.secrets.iter().filter(|secret| secret.key_id == row.id);
    let ends: Vec<DateTime<Utc>> = secrets.filter_map(|secret| secret.valid_until).collect();
    let disabled = ends.contains(&DISABLED);
    let old_until = ends.into_iter().filter(|end| *end != DISABLED).max();
    Key {
        id: row.id.clone(),
        key: None,
        name: row.name.clone(),
        kind: row.kind.clone(),
        grants: json(&row.grants),
        limits: json(&row.limits),
        created_at: format_micros(row.created_at),
        created_by: row.created_by.clone(),
        expires_at: row.expires_at.map(format_micros),
        last_used_at: row.last_used_at.map(format_micros),
        old_secret_until: old_until.map(format_micros),
        disabled,
    }
}

/// The error for a change that others have overtaken again and again.
fn overtaken() -> Error {
    Error::overloaded("others change this key at the same time; repeat the request")
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
