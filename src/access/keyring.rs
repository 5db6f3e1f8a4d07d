//! The keys as this server knows them: a snapshot of the store's table in memory.
//!
//! Invariants: authentication does no I/O. Principals of secrets that a new snapshot has unchanged stay the same, so what
//! they opened goes on; all others end before the new snapshot is used, with the reason. Without the store the last
//! snapshot counts, and expiry goes by the clock.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::RwLock;

use super::grants::Grants;
use super::key::{KeyHash, KeyId, KeyText};
use super::principal::{EndReason, KeyInfo, KeyKind, Principal};
use crate::message::ObjectReader;
use crate::store::{KeyRow, KeyTable, SecretRow};

/// Why a credential is refused. Callers see one code for all; the log and the audit see which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no key, or of no key that there is.
    #[error("the credential is not a key of this deployment")]
    Unknown,
    /// The key, or this secret of it, has expired.
    #[error("the key has expired")]
    Expired,
}

/// All keys. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Keyring(Arc<RwLock<Snapshot>>);

#[derive(Debug, Default)]
struct Snapshot {
    version: u64,
    keys: HashMap<KeyId, Vec<Secret>>,
}

/// One secret of a key, and who calls with it.
#[derive(Clone, Debug)]
struct Secret {
    hash: KeyHash,
    /// The earlier of the ends of key and secret.
    until: Option<DateTime<Utc>>,
    principal: Principal,
}

impl Keyring {
    /// The version of the snapshot.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.read().version
    }

    /// The caller that has this key.
    ///
    /// # Errors
    /// It is unknown or has expired.
    pub fn authenticate(&self, text: &str, now: DateTime<Utc>) -> Result<Principal, Refusal> {
        let key: KeyText = text.parse().map_err(|_| Refusal::Unknown)?;
        let snapshot = self.0.read();
        let secrets = snapshot.keys.get(key.id()).ok_or(Refusal::Unknown)?;
        let hash = key.hash();
        let found = secrets.iter().find(|secret| secret.hash.is(&hash));
        let secret = found.ok_or(Refusal::Unknown)?;
        if secret.until.is_some_and(|until| until <= now) {
            return Err(Refusal::Expired);
        }
        Ok(secret.principal.clone())
    }

    /// Takes a newer table in. Rows that this version cannot read are left out, and logged: they open nothing.
    pub fn update(&self, table: &KeyTable, now: DateTime<Utc>) {
        let rows: HashMap<&str, &KeyRow> = table.keys.iter().map(|row| (&*row.id, row)).collect();
        let mut snapshot = self.0.write();
        if table.version < snapshot.version {
            return;
        }
        let mut keys: HashMap<KeyId, Vec<Secret>> = HashMap::with_capacity(rows.len());
        for secret in &table.secrets {
            let Some(row) = rows.get(&*secret.key_id) else { continue };
            match read(row, secret) {
                Ok((id, new)) => {
                    let known = snapshot.keys.get(&id).into_iter().flatten();
                    let new = kept(known, new);
                    keys.entry(id).or_default().push(new);
                }
                Err(fault) => tracing::error!(
                    key = row.id,
                    fault,
                    "a key in the store cannot be read: it opens nothing"
                ),
            }
        }
        for (id, secrets) in &snapshot.keys {
            let left = keys.get(id).map_or(&[][..], Vec::as_slice);
            for old in secrets {
                end_unless_kept(old, left, now);
            }
        }
        *snapshot = Snapshot { version: table.version, keys };
    }

    /// Ends the principals whose time is over. Returns when the next one ends.
    pub fn expire(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let snapshot = self.0.read();
        let secrets = snapshot.keys.values().flatten();
        let mut next = None;
        for (until, secret) in secrets.filter_map(|secret| Some((secret.until?, secret))) {
            if until <= now {
                secret.principal.end(EndReason::Expired);
            } else {
                next = Some(next.map_or(until, |next: DateTime<Utc>| next.min(until)));
            }
        }
        next
    }
}

/// The secret, with the principal that it had if key and grants are as they were.
fn kept<'a>(mut known: impl Iterator<Item = &'a Secret>, new: Secret) -> Secret {
    let (key, grants) = (new.principal.key(), new.principal.grants());
    let same = |old: &&Secret| {
        old.hash.is(&new.hash) && old.principal.key() == key && old.principal.grants() == grants
    };
    match known.find(same) {
        Some(old) => Secret { principal: old.principal.clone(), ..new },
        None => new,
    }
}

fn end_unless_kept(old: &Secret, left: &[Secret], now: DateTime<Utc>) {
    let reason = match left.iter().find(|secret| secret.hash.is(&old.hash)) {
        Some(same) if same.principal.is(&old.principal) => return,
        Some(_) => EndReason::Changed,
        None if old.until.is_some_and(|until| until <= now) => EndReason::Expired,
        None => EndReason::Revoked,
    };
    old.principal.end(reason);
}

fn read(row: &KeyRow, secret: &SecretRow) -> Result<(KeyId, Secret), &'static str> {
    let id: KeyId = row.id.parse()?;
    let kind: KeyKind = row.kind.parse()?;
    let hash = secret.hash.as_slice().try_into().map_err(|_| "a hash of another length")?;
    let mut object =
        ObjectReader::parse(row.grants.as_bytes()).map_err(|_| "its grants are not JSON")?;
    let grants = Grants::parse(&mut object);
    let grants = object.finish("grants", grants).map_err(|_| "its grants are not known")?;
    let until = match (row.expires_at, secret.valid_until) {
        (Some(key), Some(secret)) => Some(key.min(secret)),
        (key, secret) => key.or(secret),
    };
    let info = KeyInfo { id: id.clone(), name: row.name.clone(), kind, expires_at: row.expires_at };
    let principal = Principal::with_key(info, grants);
    Ok((id, Secret { hash: KeyHash::of_bytes(hash), until, principal }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use uuid::Uuid;

    fn at(hour: u32) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + i64::from(hour) * 3_600, 0).expect("a time")
    }

    /// A table of one key with these secrets and their ends.
    fn table(
        version: u64,
        grants: &str,
        secrets: &[(&KeyText, Option<DateTime<Utc>>)],
    ) -> KeyTable {
        let id = secrets[0].0.id().to_string();
        let key = KeyRow {
            id: id.clone(),
            name: "ann's".to_owned(),
            kind: "agent".to_owned(),
            grants: grants.to_owned(),
            limits: "{}".to_owned(),
            created_at: at(0),
            created_by: None,
            expires_at: Some(at(10)),
            last_used_at: None,
            change: Uuid::nil(),
        };
        let secret = |(text, valid_until): &(&KeyText, _)| SecretRow {
            hash: text.hash().as_bytes().to_vec(),
            key_id: id.clone(),
            valid_until: *valid_until,
        };
        KeyTable { version, secrets: secrets.iter().map(secret).collect(), keys: vec![key] }
    }

    const ANN: &str = r#"{"as":["ann"]}"#;

    fn ended(principal: &Principal) -> Option<EndReason> {
        principal.ended().now_or_never()
    }

    #[test]
    fn a_key_opens_until_it_expires() {
        let (ring, text) = (Keyring::default(), KeyText::generate().expect("random bytes"));
        let stranger = KeyText::generate().expect("random bytes").reveal();
        assert_eq!(ring.authenticate(&text.reveal(), at(1)).err(), Some(Refusal::Unknown), "empty");
        ring.update(&table(1, ANN, &[(&text, None)]), at(1));
        let principal = ring.authenticate(&text.reveal(), at(1)).expect("a key");
        assert!(principal.grants().names.allows("ann") && principal.key().is_some());
        for wrong in ["", "ab_", &stranger, &text.reveal()[1..]] {
            assert_eq!(ring.authenticate(wrong, at(1)).err(), Some(Refusal::Unknown), "{wrong}");
        }
        let other_secret = KeyText::generate_for(text.id().clone()).expect("random bytes");
        let refusal = ring.authenticate(&other_secret.reveal(), at(1)).err();
        assert_eq!(refusal, Some(Refusal::Unknown));
        assert_eq!(ring.expire(at(9)), Some(at(10)));
        assert_eq!(ended(&principal), None);
        assert_eq!(ring.authenticate(&text.reveal(), at(10)).err(), Some(Refusal::Expired));
        assert_eq!(ring.expire(at(10)), None);
        assert_eq!(ended(&principal), Some(EndReason::Expired));
    }

    #[test]
    fn a_change_ends_what_it_concerns_and_nothing_else() {
        let ring = Keyring::default();
        let old = KeyText::generate().expect("random bytes");
        let new = KeyText::generate_for(old.id().clone()).expect("random bytes");
        let caller = |text: &KeyText| ring.authenticate(&text.reveal(), at(1)).expect("a key");
        ring.update(&table(1, ANN, &[(&old, None)]), at(1));
        let first = caller(&old);
        // A rotation with an overlap: the old secret goes on for so long.
        ring.update(&table(2, ANN, &[(&old, Some(at(2))), (&new, None)]), at(1));
        assert_eq!((ended(&first), caller(&old).is(&first)), (None, true));
        assert_eq!(ring.authenticate(&old.reveal(), at(2)).err(), Some(Refusal::Expired));
        // Without one: it is revoked.
        let second = caller(&new);
        ring.update(&table(3, ANN, &[(&new, None)]), at(1));
        assert_eq!((ended(&first), ended(&second)), (Some(EndReason::Revoked), None));
        // Other grants.
        ring.update(&table(4, "{}", &[(&new, None)]), at(1));
        assert_eq!(ended(&second), Some(EndReason::Changed));
        let third = caller(&new);
        // An older table, read before and arrived late, changes nothing.
        ring.update(&table(3, ANN, &[(&new, None)]), at(1));
        assert_eq!((ring.version(), caller(&new).is(&third)), (4, true));
        ring.update(&KeyTable { version: 5, ..KeyTable::default() }, at(1));
        assert_eq!(ended(&third), Some(EndReason::Revoked));
    }

    #[test]
    fn a_row_that_cannot_be_read_opens_nothing() {
        let (ring, text) = (Keyring::default(), KeyText::generate().expect("random bytes"));
        for grants in ["", "[]", r#"{"can":["fly"]}"#, r#"{"more":[]}"#] {
            ring.update(&table(1, grants, &[(&text, None)]), at(1));
            assert_eq!(ring.authenticate(&text.reveal(), at(1)).err(), Some(Refusal::Unknown));
        }
    }
}
