//! `backup.json`: what a backup holds.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::message::{format_micros, parse_rfc3339};
use crate::store::postgres::DatabaseFacts;
use crate::store::{BackupContent, BusKind, SchemaDifference, Step};

/// The file of a SQLite database in a backup.
pub const SQLITE_FILE: &str = "agentbus.db";
/// The file of a PostgreSQL database in a backup.
pub const POSTGRES_FILE: &str = "agentbus.dump";
/// The name of the manifest.
pub(super) const MANIFEST: &str = "backup.json";
/// The version of the folder's layout. Another layout has a higher one.
const FORMAT: u32 = 1;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// The version of agentbus that made it.
    agentbus: String,
    /// When the backup began, RFC 3339.
    created_at: String,
    /// `sqlite` or `postgres`.
    store: String,
    /// The sequence up to which it is complete.
    pub committed_through: u64,
    /// The bus that the log was on; null: there was no log yet.
    bus: Option<String>,
    /// On NATS: the epoch of the stream.
    pub stream_epoch: Option<Uuid>,
    schema: Vec<Step>,
    /// What a restore must know of the database, if it is PostgreSQL.
    pub postgres: Option<DatabaseFacts>,
    file: BackupFile,
}

/// The file with the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its name in the folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Of its content, hexadecimal.
    pub sha256: String,
}

/// What every format has.
#[derive(Deserialize)]
struct Version {
    format: u32,
    agentbus: String,
}

impl Manifest {
    /// The manifest of a copy that was begun at a time.
    #[must_use]
    pub fn new(
        content: BackupContent,
        postgres: Option<DatabaseFacts>,
        file: BackupFile,
        begun: DateTime<Utc>,
    ) -> Self {
        let store = if postgres.is_some() { "postgres" } else { "sqlite" };
        Self {
            format: FORMAT,
            agentbus: env!("CARGO_PKG_VERSION").to_owned(),
            created_at: format_micros(begun),
            store: store.to_owned(),
            committed_through: content.log.committed_through,
            bus: content.log.bus.map(|bus| bus.as_str().to_owned()),
            stream_epoch: content.log.stream_epoch,
            schema: content.schema,
            postgres,
            file,
        }
    }

    /// Reads the manifest of a folder.
    ///
    /// # Errors
    /// The folder holds no complete backup, or one that this version cannot restore.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let path = folder.join(MANIFEST);
        let shown = folder.display();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && folder.is_dir() => {
                return Err(format!(
                    "{shown} is not a complete backup: it has no {MANIFEST}, which is written last"
                ));
            }
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let unreadable =
            |error: serde_json::Error| format!("{} cannot be read: {error}", path.display());
        let Version { format, agentbus } = serde_json::from_slice(&text).map_err(unreadable)?;
        if format != FORMAT {
            return Err(format!(
                "{shown} was made by agentbus {agentbus} in format {format}, which this version cannot read: restore it \
                 with that version"
            ));
        }
        let manifest: Self = serde_json::from_slice(&text).map_err(unreadable)?;
        if let Some(refusal) = SchemaDifference::of_backup(&manifest.schema).refusal() {
            return Err(format!("{shown} was made by agentbus {agentbus}: {refusal}"));
        }
        manifest.check_file().map_err(|fault| format!("{}: {fault}", path.display()))?;
        Ok(manifest)
    }

    /// The name of the file is never taken from the manifest.
    fn check_file(&self) -> Result<(), String> {
        let expected = if self.postgres.is_some() { POSTGRES_FILE } else { SQLITE_FILE };
        if self.file.name == expected { Ok(()) } else { Err(format!("its file is not {expected}")) }
    }

    /// The file with the store.
    #[must_use]
    pub fn file(&self) -> &BackupFile {
        &self.file
    }

    /// The file with the store, in the backup's folder.
    #[must_use]
    pub fn path_in(&self, folder: &Path) -> PathBuf {
        folder.join(&self.file.name)
    }

    /// The bus that the log was on.
    #[must_use]
    pub fn bus(&self) -> Option<BusKind> {
        self.bus.as_deref().and_then(BusKind::from_name)
    }

    /// When the backup began.
    #[must_use]
    pub fn begun(&self) -> Option<DateTime<Utc>> {
        parse_rfc3339(&self.created_at).ok()
    }
}
