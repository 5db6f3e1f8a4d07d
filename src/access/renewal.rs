//! Keeps the keyring as the store has it.
//!
//! Invariant: a change of keys holds on this server within [`KEYS_POLL`] and the time of one read. While the store is
//! away, the last snapshot counts, and a metric says how old it is.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::keyring::Keyring;
use crate::clock::Clock;
use crate::limits::{KEYS_POLL, KEYS_USED_EVERY, MAX_ROOT_KEY_BYTES, MIN_ROOT_KEY_CHARS};
use crate::store::{KeyTable, Store, StoreError};

/// Renews a keyring from the store and `ROOT_KEY_FILE`.
pub struct Renewal {
    keyring: Keyring,
    store: Arc<dyn Store>,
    clock: Clock,
    root_key_file: Option<PathBuf>,
    /// When the keyring last was as the store has it.
    renewed_at: Mutex<Option<DateTime<Utc>>>,
}

impl Renewal {
    /// A renewal of this keyring.
    #[must_use]
    pub fn new(
        keyring: Keyring,
        store: Arc<dyn Store>,
        clock: Clock,
        root_key_file: Option<PathBuf>,
    ) -> Self {
        Self { keyring, store, clock, root_key_file, renewed_at: Mutex::default() }
    }

    /// The keyring.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Reads all keys into the keyring, and returns them.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn load(&self) -> Result<KeyTable, StoreError> {
        let now = self.clock.now();
        let table = self.store.keys().await?;
        self.keyring.update(&table, now);
        *self.renewed_at.lock() = Some(now);
        self.report_age();
        Ok(table)
    }

    /// Reads all keys and the file at the start of a server.
    ///
    /// # Errors
    /// The store does not answer; the file cannot be used, as a text for the operator.
    pub async fn start(&self) -> Result<Result<(), String>, StoreError> {
        if let Some(path) = &self.root_key_file {
            match read_root(path) {
                Ok(root) => self.keyring.set_root(root.as_deref()),
                Err(error) => return Ok(Err(error)),
            }
        }
        self.load().await.map(|_| Ok(()))
    }

    /// Renews until cancelled.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) {
        let mut is_away = false;
        let mut noted_at = tokio::time::Instant::now();
        while cancel.run_until_cancelled(tokio::time::sleep(KEYS_POLL)).await.is_some() {
            self.keyring.expire(self.clock.now());
            self.renew_root();
            let renewed = self.renew().await;
            if let Err(error) = &renewed
                && !is_away
            {
                tracing::warn!(%error, "keys cannot be read: the last known ones count until the store answers");
            }
            is_away = renewed.is_err();
            self.report_age();
            if noted_at.elapsed() >= KEYS_USED_EVERY {
                noted_at = tokio::time::Instant::now();
                self.note_uses().await;
            }
        }
        self.note_uses().await;
    }

    async fn renew(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        if self.store.keys_version().await? == self.keyring.version() {
            *self.renewed_at.lock() = Some(now);
            return Ok(());
        }
        self.load().await.map(drop)
    }

    fn renew_root(&self) {
        let Some(path) = &self.root_key_file else { return };
        match read_root(path) {
            Ok(root) => self.keyring.set_root(root.as_deref()),
            Err(error) => {
                self.keyring.set_root(None);
                tracing::debug!(error, "the root key is not valid now");
            }
        }
    }

    fn report_age(&self) {
        let Some(renewed) = *self.renewed_at.lock() else { return };
        let age = (self.clock.now() - renewed).num_milliseconds().max(0);
        metrics::gauge!("agentbus_keys_age_seconds").set(age as f64 / 1e3);
    }

    async fn note_uses(&self) {
        let uses = self.keyring.take_uses();
        if uses.is_empty() {
            return;
        }
        if let Err(error) = self.store.keys_used(&uses).await {
            tracing::debug!(%error, "the last use of keys was not recorded");
        }
    }
}

/// The key in `ROOT_KEY_FILE`; `None` if there is no such file.
fn read_root(path: &Path) -> Result<Option<String>, String> {
    let fault = |what: &str| format!("ROOT_KEY_FILE={}: {what}", path.display());
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(&error.to_string())),
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = file.metadata().map_err(|error| fault(&error.to_string()))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(fault("others may read or change it; set its mode to 0600"));
        }
    }
    let mut text = String::new();
    let read = file.take(MAX_ROOT_KEY_BYTES).read_to_string(&mut text);
    read.map_err(|error| fault(&error.to_string()))?;
    let key = text.trim();
    if key.len() < MIN_ROOT_KEY_CHARS || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(fault("holds no key: write one line of at least 32 random characters"));
    }
    Ok(Some(key.to_owned()))
}
