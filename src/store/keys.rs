//! Keys.
//!
//! Invariants: only hashes of secrets are stored. Every change names the state it is based on ([`KeyRow::change`]) and is
//! refused at another, so a check of what may be changed and the change itself are of one state. Each change raises the
//! number of keys ([`Versions`](super::Versions)) in the same transaction.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Error;
use uuid::Uuid;

use super::error::StoreError;
use super::sql::{Database, Pool, Row, Statement, limit_to_db};
use super::versions::VERSIONS;

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// Its public id.
    pub id: String,
    /// For people.
    pub name: String,
    /// `agent`, `human` or `service`.
    pub kind: String,
    /// JSON (contract, section 11).
    pub grants: String,
    /// JSON.
    pub limits: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// The key that made it; `None`: the command line or the root key.
    pub created_by: Option<String>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to about a minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// Identifies this state of the key; every change sets a new one.
    pub change: Uuid,
}

/// A secret of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRow {
    /// SHA-256.
    pub hash: Vec<u8>,
    /// The key.
    pub key_id: String,
    /// Until when a replaced secret is accepted; `None` is the current one, and [`DISABLED`] that of a disabled key.
    pub valid_until: Option<DateTime<Utc>>,
}

/// The end of the secret of a key that a restore has disabled. To every version it is an end in the past.
pub const DISABLED: DateTime<Utc> = DateTime::UNIX_EPOCH;

/// All keys at one version, or newer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyTable {
    /// The version. Changes after it may be included.
    pub version: u64,
    /// All keys, by id.
    pub keys: Vec<KeyRow>,
    /// All their secrets.
    pub secrets: Vec<SecretRow>,
    /// Sessions that ended before their time.
    pub revoked_sessions: Vec<Uuid>,
}

/// The part of a store that holds keys.
#[async_trait]
pub trait KeyStore: Database {
    /// All keys.
    async fn keys(&self) -> Result<KeyTable, StoreError> {
        // The version first: what changes in between is read again at the next look.
        let statements = vec![
            Statement::new(VERSIONS),
            Statement::new(KEYS),
            Statement::new(
                "SELECT hash, key_id, valid_until FROM key_secrets ORDER BY key_id, valid_until",
            ),
            Statement::new("SELECT id FROM revoked_sessions"),
        ];
        let read = self.transaction(Pool::Workers, statements).await?;
        let [version, keys, secrets, revoked] = &read[..] else {
            return Err(StoreError::Unavailable("four results were expected".to_owned()));
        };
        Ok(KeyTable {
            version: version.first(|row| row.seq("keys"))?.unwrap_or_default(),
            keys: keys.decode(read_key)?,
            secrets: secrets.decode(read_secret)?,
            revoked_sessions: revoked.decode(|row| row.get("id"))?,
        })
    }

    /// Stores a key and its secret, unless there are `most` keys. Returns whether it is stored.
    async fn create_key(&self, key: &KeyRow, hash: &[u8], most: usize) -> Result<bool, StoreError> {
        let insert = Statement::new(
            "INSERT INTO keys (id, name, kind, grants, limits, created_at, created_by, expires_at, change) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 \
             WHERE (SELECT count(*) FROM keys WHERE id <> $1) < $10 ON CONFLICT DO NOTHING",
        )
        .bind(&*key.id)
        .bind(&*key.name)
        .bind(&*key.kind)
        .bind(&*key.grants)
        .bind(&*key.limits)
        .bind(key.created_at)
        .bind(key.created_by.as_deref())
        .bind(key.expires_at)
        .bind(key.change)
        .bind(limit_to_db(most));
        self.change_keys(&key.id, key.change, vec![insert, add_secret(&key.id, key.change, hash)])
            .await
    }

    /// Sets name, grants, limits and expiry, if the key is still in the state `from`. Returns whether it was.
    async fn update_key(&self, key: &KeyRow, from: Uuid) -> Result<bool, StoreError> {
        let update = Statement::new(
            "UPDATE keys SET name = $3, grants = $4, limits = $5, expires_at = $6, change = $7 \
             WHERE id = $1 AND change = $2",
        )
        .bind(&*key.id)
        .bind(from)
        .bind(&*key.name)
        .bind(&*key.grants)
        .bind(&*key.limits)
        .bind(key.expires_at)
        .bind(key.change);
        self.change_keys(&key.id, key.change, vec![update]).await
    }

    /// Replaces the current secret, which is accepted until `old_until`; older ones end now. Only if the key is still in
    /// the state `from`. Returns whether it was.
    async fn rotate_key(
        &self,
        id: &str,
        from: Uuid,
        change: Uuid,
        hash: &[u8],
        old_until: Option<DateTime<Utc>>,
    ) -> Result<bool, StoreError> {
        let mark = Statement::new("UPDATE keys SET change = $3 WHERE id = $1 AND change = $2");
        let when = |what: &str| {
            Statement::new(format!("{what} AND {IS_FIRST_RUN}"))
                .bind(id)
                .bind(change)
                .bind(hash.to_vec())
        };
        let replace = match old_until {
            None => when("DELETE FROM key_secrets WHERE key_id = $1"),
            Some(until) => {
                when("UPDATE key_secrets SET valid_until = $4 WHERE key_id = $1").bind(until)
            }
        };
        let statements = vec![
            mark.bind(id).bind(from).bind(change),
            when("DELETE FROM key_secrets WHERE key_id = $1 AND valid_until IS NOT NULL"),
            replace,
            add_secret(id, change, hash),
        ];
        self.change_keys(id, change, statements).await
    }

    /// Enables a key that a restore has disabled, if it is still in the state `from`. Returns whether it was.
    async fn enable_key(&self, id: &str, from: Uuid, change: Uuid) -> Result<bool, StoreError> {
        let mark = Statement::new("UPDATE keys SET change = $3 WHERE id = $1 AND change = $2");
        let enable = Statement::new(
            "UPDATE key_secrets SET valid_until = NULL WHERE key_id = $1 AND valid_until = $3 \
             AND EXISTS (SELECT 1 FROM keys WHERE id = $1 AND change = $2)",
        );
        let statements = vec![
            mark.bind(id).bind(from).bind(change),
            enable.bind(id).bind(change).bind(DISABLED),
        ];
        self.change_keys(id, change, statements).await
    }

    /// Deletes a key with its secrets, if it is still in the state `from`. Returns whether it was.
    async fn delete_key(&self, id: &str, from: Uuid) -> Result<bool, StoreError> {
        let delete = "DELETE FROM keys WHERE id = $1 AND change = $2 RETURNING id";
        // The secrets go with the key (ON DELETE CASCADE).
        let statements =
            vec![Statement::new(RAISE_VERSION), Statement::new(delete).bind(id).bind(from)];
        let done = self.transaction(Pool::Workers, statements).await?;
        Ok(done.last().is_some_and(|deleted| !deleted.is_empty()))
    }

    /// Ends a session before its time, `until`. Deletes the rows of sessions that have ended by `now`.
    async fn revoke_session(
        &self,
        id: Uuid,
        until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let insert =
            "INSERT INTO revoked_sessions (id, until) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let statements = vec![
            Statement::new(RAISE_VERSION),
            Statement::new("DELETE FROM revoked_sessions WHERE until <= $1").bind(now),
            Statement::new(insert).bind(id).bind(until),
        ];
        self.transaction(Pool::Workers, statements).await?;
        Ok(())
    }

    /// Notes when keys were last used; does not count as a change.
    async fn keys_used(&self, used: &[(String, DateTime<Utc>)]) -> Result<(), StoreError> {
        let note = |(id, at): &(String, DateTime<Utc>)| {
            let sql = "UPDATE keys SET last_used_at = $2 WHERE id = $1 \
                       AND (last_used_at IS NULL OR last_used_at < $2)";
            Statement::new(sql).bind(&**id).bind(*at)
        };
        self.transaction(Pool::Workers, used.iter().map(note).collect()).await?;
        Ok(())
    }

    /// Runs changes of one key in a transaction that raises the version; returns whether the key has the state `change`
    /// then.
    async fn change_keys(
        &self,
        id: &str,
        change: Uuid,
        statements: Vec<Statement>,
    ) -> Result<bool, StoreError> {
        let find = "SELECT id FROM keys WHERE id = $1 AND change = $2";
        // The version's row is a lock as well: changes come one after the other.
        let mut all = vec![Statement::new(RAISE_VERSION)];
        all.extend(statements);
        all.push(Statement::new(find).bind(id).bind(change));
        let done = self.transaction(Pool::Workers, all).await?;
        Ok(done.last().is_some_and(|found| !found.is_empty()))
    }
}

const RAISE_VERSION: &str = "UPDATE versions SET keys = keys + 1";

/// The key has the state `$2`, and the secret `$3` is not there yet: the transaction did not run before. One whose answer
/// was lost runs again.
const IS_FIRST_RUN: &str = "EXISTS (SELECT 1 FROM keys WHERE id = $1 AND change = $2) \
                            AND NOT EXISTS (SELECT 1 FROM key_secrets WHERE hash = $3)";

/// Adds the current secret of a key that is in this state.
fn add_secret(id: &str, change: Uuid, hash: &[u8]) -> Statement {
    Statement::new(
        "INSERT INTO key_secrets (hash, key_id) SELECT $3, $1 WHERE EXISTS \
         (SELECT 1 FROM keys WHERE id = $1 AND change = $2) ON CONFLICT DO NOTHING",
    )
    .bind(id)
    .bind(change)
    .bind(hash.to_vec())
}

const KEYS: &str = "SELECT id, name, kind, grants, limits, created_at, created_by, expires_at, \
     last_used_at, change FROM keys ORDER BY id";

fn read_key(row: Row<'_>) -> Result<KeyRow, Error> {
    Ok(KeyRow {
        id: row.get("id")?,
        name: row.get("name")?,
        kind: row.get("kind")?,
        grants: row.get("grants")?,
        limits: row.get("limits")?,
        created_at: row.time_set("created_at")?,
        created_by: row.get("created_by")?,
        expires_at: row.time("expires_at")?,
        last_used_at: row.time("last_used_at")?,
        change: row.get("change")?,
    })
}

fn read_secret(row: Row<'_>) -> Result<SecretRow, Error> {
    Ok(SecretRow {
        hash: row.get("hash")?,
        key_id: row.get("key_id")?,
        valid_until: row.time("valid_until")?,
    })
}
