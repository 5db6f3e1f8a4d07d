//! Keeps the keyring as the store and `ROOT_KEY_FILE` have it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::keyring::Keyring;
use super::secret_file;
use crate::clock::Clock;
use crate::limits::{KEYS_USED_EVERY, MAX_ROOT_KEY_BYTES, MIN_ROOT_KEY_CHARS};
use crate::renewal::Snapshot;
use crate::store::{KeyTable, Store, StoreError, Versions};

/// Renews a keyring from the store and `ROOT_KEY_FILE`.
pub struct Renewal {
    keyring: Keyring,
    store: Arc<dyn Store>,
    clock: Clock,
    root_key_file: Option<PathBuf>,
    /// When the uses of keys were last noted.
    noted: Mutex<Instant>,
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
        Self { keyring, store, clock, root_key_file, noted: Mutex::new(Instant::now()) }
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

#[async_trait]
impl Snapshot for Renewal {
    fn name(&self) -> &'static str {
        "keys"
    }

    fn is_current(&self, stored: &Versions) -> bool {
        stored.keys == self.keyring.version()
    }

    async fn renew(&self) -> Result<(), StoreError> {
        self.load().await.map(drop)
    }

    async fn tick(&self) {
        self.keyring.expire(self.clock.now());
        self.renew_root();
        let is_due = self.noted.lock().elapsed() >= KEYS_USED_EVERY;
        if is_due {
            *self.noted.lock() = Instant::now();
            self.note_uses().await;
        }
    }

    async fn end(&self) {
        self.note_uses().await;
    }
}

/// The key in `ROOT_KEY_FILE`; `None` if there is no such file.
fn read_root(path: &Path) -> Result<Option<String>, String> {
    let fault = |what: &str| format!("ROOT_KEY_FILE={}: {what}", path.display());
    let found = secret_file::read(path, MAX_ROOT_KEY_BYTES).map_err(|error| fault(&error))?;
    let Some(bytes) = found else { return Ok(None) };
    let key = str::from_utf8(&bytes).unwrap_or_default().trim();
    if key.len() < MIN_ROOT_KEY_CHARS || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(fault("holds no key: write one line of at least 32 random characters"));
    }
    Ok(Some(key.to_owned()))
}
