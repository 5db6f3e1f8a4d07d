//! The keys as this server knows them: a snapshot of the store's table in memory. And the issuers of tokens.
//!
//! Invariants: authentication does no I/O. Principals of secrets that a new snapshot has unchanged stay the same, so what
//! they opened goes on; all others end as the new snapshot comes into use, with the reason. Without the store the last
//! snapshot counts, and expiry goes by the clock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};
use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use super::grants::Grants;
use super::jwt::Issuers;
use super::key::{KeyHash, KeyId, KeyText, SecretId};
use super::limits::{KeyLimits, Meter};
use super::principal::{EndReason, KeyInfo, KeyKind, Principal};
use super::refusal::Refusal;
use super::row::read_object;
use super::seals::{Holder, Session};
use crate::store::{DISABLED, KeyRow, KeyTable, SecretRow};

/// All keys. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    snapshot: Arc<RwLock<Snapshot>>,
    sessions: Arc<Mutex<HashMap<Uuid, OpenSession>>>,
    issuers: Arc<Issuers>,
}

/// A session that was used on this server.
#[derive(Debug)]
struct OpenSession {
    principal: Principal,
    until: DateTime<Utc>,
}

#[derive(Debug, Default)]
struct Snapshot {
    version: u64,
    keys: HashMap<KeyId, Vec<Secret>>,
    meters: HashMap<KeyId, Arc<Meter>>,
    revoked_sessions: HashSet<Uuid>,
    /// The key of `ROOT_KEY_FILE`.
    root: Option<Secret>,
}

/// One secret of a key, and who calls with it.
#[derive(Clone, Debug)]
struct Secret {
    hash: KeyHash,
    /// The earlier of the ends of key and secret.
    until: Option<DateTime<Utc>>,
    principal: Principal,
    /// When it was last used, in seconds since 1970; 0 once the store knows.
    used: Arc<AtomicI64>,
}

impl Snapshot {
    fn secrets(&self, id: &KeyId) -> impl Iterator<Item = &Secret> {
        let of_root = self
            .root
            .iter()
            .filter(move |root| root.principal.key().is_some_and(|key| key.id == *id));
        self.keys.get(id).into_iter().flatten().chain(of_root)
    }
}

impl Secret {
    fn open(&self, now: DateTime<Utc>) -> Result<Principal, Refusal> {
        if self.until == Some(DISABLED) {
            return Err(Refusal::Disabled);
        }
        if self.until.is_some_and(|until| until <= now) {
            return Err(Refusal::Expired);
        }
        self.used.store(now.timestamp(), Ordering::Relaxed);
        Ok(self.principal.clone())
    }
}

impl Keyring {
    /// A keyring without keys that accepts the tokens of these issuers.
    #[must_use]
    pub fn with_issuers(issuers: Arc<Issuers>) -> Self {
        Self { issuers, ..Self::default() }
    }

    /// The issuers whose tokens are accepted.
    #[must_use]
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// The version of the snapshot.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.snapshot.read().version
    }

    /// The caller that has this key or token.
    ///
    /// # Errors
    /// It is unknown, or has expired, or another fault of a token.
    pub fn authenticate(&self, text: &str, now: DateTime<Utc>) -> Result<Principal, Refusal> {
        let snapshot = self.snapshot.read();
        if let Some(root) = &snapshot.root
            && root.hash.is(&KeyHash::of_text(text))
        {
            return root.open(now);
        }
        if Issuers::is_token(text) {
            return self.issuers.authenticate(text, now);
        }
        let key: KeyText = text.parse().map_err(|_| Refusal::Unknown)?;
        let hash = key.hash();
        let found = snapshot.secrets(key.id()).find(|secret| secret.hash.is(&hash));
        found.ok_or(Refusal::Unknown)?.open(now)
    }

    /// The caller that made a ticket or session.
    ///
    /// # Errors
    /// There is no such secret any more, or it or the token has expired.
    pub fn holder(&self, holder: &Holder, now: DateTime<Utc>) -> Result<Principal, Refusal> {
        let id = match holder {
            Holder::Key(id) => id,
            Holder::Token(bearer) => return self.issuers.bearer(bearer, now),
        };
        let key = id.key().ok_or(Refusal::Unknown)?;
        let snapshot = self.snapshot.read();
        let found = snapshot.secrets(&key).find(|secret| id.names(&secret.hash));
        found.ok_or(Refusal::Unknown)?.open(now)
    }

    /// The caller of a session. The same principal for each request of the session.
    ///
    /// # Errors
    /// The session, or the secret that opened it, has expired or was revoked.
    pub fn session(&self, session: &Session, now: DateTime<Utc>) -> Result<Principal, Refusal> {
        if session.until() <= now {
            return Err(Refusal::Expired);
        }
        if self.snapshot.read().revoked_sessions.contains(&session.id) {
            return Err(Refusal::Unknown);
        }
        let holder = self.holder(&session.holder, now)?;
        let mut sessions = self.sessions.lock();
        if sessions.len() == sessions.capacity() {
            // A session that holds nothing open needs no entry: its next request makes another.
            sessions.retain(|_, known| known.principal.is_held());
            let kept = sessions.len();
            sessions.reserve(kept);
        }
        let until = session.until();
        let known = sessions.entry(session.id);
        let known = known.or_insert_with(|| OpenSession { principal: holder.session(), until });
        if !known.principal.is_session_of(&holder) {
            // The grants of the key have changed meanwhile.
            known.principal = holder.session();
        }
        Ok(known.principal.clone())
    }

    /// The kind of a key, or of the tokens of an issuer; `None` if there is no such key.
    #[must_use]
    pub fn kind_of(&self, id: &str) -> Option<KeyKind> {
        if let Some(kind) = self.issuers.kind_of(id) {
            return Some(kind);
        }
        let id: KeyId = id.parse().ok()?;
        let snapshot = self.snapshot.read();
        let secret = snapshot.secrets(&id).next()?;
        secret.principal.key().map(|key| key.kind)
    }

    /// What a key may do now; `None` if there is no such key, or it has expired.
    #[must_use]
    pub fn principal_of(&self, id: &str, now: DateTime<Utc>) -> Option<Principal> {
        let id: KeyId = id.parse().ok()?;
        let snapshot = self.snapshot.read();
        let is_open = |secret: &&Secret| secret.until.is_none_or(|until| until > now);
        snapshot.secrets(&id).find(is_open).map(|secret| secret.principal.clone())
    }

    /// Whether a restore has disabled a key.
    #[must_use]
    pub fn is_disabled(&self, id: &str) -> bool {
        let Ok(id) = id.parse::<KeyId>() else { return false };
        self.snapshot.read().secrets(&id).any(|secret| secret.until == Some(DISABLED))
    }

    /// Takes a newer table in. Rows that this version cannot read are left out, and logged: they open nothing.
    pub fn update(&self, table: &KeyTable, now: DateTime<Utc>) {
        let rows: HashMap<&str, &KeyRow> = table.keys.iter().map(|row| (&*row.id, row)).collect();
        let mut snapshot = self.snapshot.write();
        if table.version < snapshot.version {
            return;
        }
        let mut next = Snapshot {
            version: table.version,
            revoked_sessions: table.revoked_sessions.iter().copied().collect(),
            root: snapshot.root.clone(),
            ..Snapshot::default()
        };
        for secret in &table.secrets {
            let Some(row) = rows.get(&*secret.key_id) else { continue };
            if let Err(fault) = next.add(row, secret, &snapshot) {
                tracing::error!(
                    key = row.id,
                    fault,
                    "a key in the store cannot be read, so it opens nothing: make another"
                );
            }
        }
        for (id, secrets) in &snapshot.keys {
            let left = next.keys.get(id).map_or(&[][..], Vec::as_slice);
            for old in secrets {
                end_unless_kept(old, left, now);
            }
        }
        for (id, session) in &*self.sessions.lock() {
            if next.revoked_sessions.contains(id) {
                session.principal.end(EndReason::Revoked);
            }
        }
        *snapshot = next;
    }

    /// Sets the key of `ROOT_KEY_FILE`, or that there is none.
    pub fn set_root(&self, text: Option<&str>) {
        let mut snapshot = self.snapshot.write();
        let hash = text.map(KeyHash::of_text);
        let same = match (&snapshot.root, &hash) {
            (None, None) => true,
            (Some(old), Some(new)) => old.hash.is(new),
            _ => false,
        };
        if same {
            return;
        }
        if let Some(old) = snapshot.root.take() {
            old.principal.end(EndReason::Revoked);
        }
        snapshot.root = hash.map(|hash| {
            let info = KeyInfo {
                id: KeyId::root(),
                name: "root".to_owned(),
                kind: KeyKind::Human,
                expires_at: None,
            };
            let meter = Arc::new(Meter::new(KeyLimits::default()));
            Secret::new(info, hash, None, Grants::everything(), meter)
        });
    }

    /// Ends the principals whose time is over.
    pub fn expire(&self, now: DateTime<Utc>) {
        self.issuers.expire(now);
        for secret in self.snapshot.read().keys.values().flatten() {
            if secret.until.is_some_and(|until| until <= now) {
                secret.principal.end(EndReason::Expired);
            }
        }
        self.sessions.lock().retain(|_, session| {
            let is_over = session.until <= now;
            if is_over {
                session.principal.end(EndReason::Expired);
            }
            !is_over
        });
    }

    /// When keys were used since the last call.
    #[must_use]
    pub fn take_uses(&self) -> Vec<(String, DateTime<Utc>)> {
        let snapshot = self.snapshot.read();
        let used = |secret: &Secret| {
            let at = DateTime::from_timestamp(secret.used.swap(0, Ordering::Relaxed), 0)?;
            let is_used = at > DateTime::UNIX_EPOCH;
            is_used.then(|| {
                (secret.principal.key().map_or_else(String::new, |key| key.id.to_string()), at)
            })
        };
        snapshot.keys.values().flatten().filter_map(used).collect()
    }
}

impl Snapshot {
    /// Adds a secret, with the principal that it had in the snapshot before if key and grants are the same.
    fn add(&mut self, row: &KeyRow, secret: &SecretRow, before: &Self) -> Result<(), &'static str> {
        let id: KeyId = row.id.parse()?;
        let kind: KeyKind = row.kind.parse()?;
        let hash = secret.hash.as_slice().try_into().map_err(|_| "its hash has another length")?;
        let hash = KeyHash::of_bytes(hash);
        let grants = read_object(&row.grants, Grants::parse).ok_or("its grants are not known")?;
        let limits =
            read_object(&row.limits, KeyLimits::parse).ok_or("its limits are not known")?;
        let until = match (row.expires_at, secret.valid_until) {
            (Some(key), Some(secret)) => Some(key.min(secret)),
            (key, secret) => key.or(secret),
        };
        let meter = self.meters.entry(id.clone()).or_insert_with(|| {
            let known = before.meters.get(&id).filter(|known| known.limits() == limits);
            known.cloned().unwrap_or_else(|| Arc::new(Meter::new(limits)))
        });
        let info =
            KeyInfo { id: id.clone(), name: row.name.clone(), kind, expires_at: row.expires_at };
        let same = |old: &&Secret| {
            old.hash.is(&hash)
                && old.principal.key() == Some(&info)
                && *old.principal.grants() == grants
                && old.principal.meter().is_some_and(|old| Arc::ptr_eq(old, meter))
        };
        let new = match before.keys.get(&id).and_then(|known| known.iter().find(same)) {
            Some(old) => Secret { until, ..old.clone() },
            None => Secret::new(info, hash, until, grants, Arc::clone(meter)),
        };
        self.keys.entry(id).or_default().push(new);
        Ok(())
    }
}

impl Secret {
    fn new(
        info: KeyInfo,
        hash: KeyHash,
        until: Option<DateTime<Utc>>,
        grants: Grants,
        meter: Arc<Meter>,
    ) -> Self {
        let id = SecretId::new(&info.id, &hash);
        let principal = Principal::with_key(info, Holder::Key(id), grants, meter);
        Self { hash, until, principal, used: Arc::default() }
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
        KeyTable {
            version,
            secrets: secrets.iter().map(secret).collect(),
            keys: vec![key],
            revoked_sessions: Vec::new(),
        }
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
        ring.expire(at(9));
        assert_eq!(ended(&principal), None);
        assert_eq!(ring.authenticate(&text.reveal(), at(10)).err(), Some(Refusal::Expired));
        ring.expire(at(10));
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
    fn sessions_that_hold_nothing_open_take_no_memory() {
        let (ring, text) = (Keyring::default(), KeyText::generate().expect("random bytes"));
        ring.update(&table(1, ANN, &[(&text, None)]), at(1));
        let holder = ring.authenticate(&text.reveal(), at(1)).expect("a key");
        let session = || Session {
            id: Uuid::new_v4(),
            holder: holder.holder().expect("a key").clone(),
            expires_s: at(9).timestamp(),
        };
        let kept = session();
        let open = ring.session(&kept, at(1)).expect("a session");
        for _ in 0..10_000 {
            ring.session(&session(), at(1)).expect("a session");
        }
        let entries = ring.sessions.lock().len();
        assert!(entries < 100, "{entries} sessions");
        assert!(ring.session(&kept, at(1)).expect("a session").is(&open));
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
