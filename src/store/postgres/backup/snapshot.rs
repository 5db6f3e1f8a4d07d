//! A snapshot of the database, and `pg_dump` of it.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection as _, Executor as _, Row as _};

use super::programs::Programs;
use crate::limits::STORE_READ_TIMEOUT;
use crate::store::backup::BackupContent;
use crate::store::error::StoreError;
use crate::store::log::read_log_state;
use crate::store::postgres::connection::{self, Role, bounded};
use crate::store::schema::{APPLIED, Step};

/// Begins the transaction whose snapshot is dumped. It reads nothing more, however long `pg_dump` takes.
const BEGIN: &str = "SET idle_in_transaction_session_timeout = 0; \
                     BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// What a restore must know of the database that a copy comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseFacts {
    /// The major version of its server.
    pub version: u32,
    /// The schema with the tables, which a copy names.
    pub schema: String,
}

/// The database at one moment.
pub struct Snapshot {
    connection: PgConnection,
    id: String,
    programs: Programs,
    /// What it holds.
    pub content: BackupContent,
    /// What a restore must know.
    pub database: DatabaseFacts,
}

impl Snapshot {
    /// Takes a snapshot.
    ///
    /// # Errors
    /// The database cannot be reached or has no tables of agentbus; `pg_dump` is missing or older than its server.
    pub async fn take(url: &str) -> Result<Self, StoreError> {
        let options = connection::options(url)?;
        let mut connection = connection::open(&options, Role::Control).await?;
        let database = facts(&mut connection).await?;
        let programs = Programs::new(url, &options);
        programs.check("pg_dump", database.version).await?;
        let read = bounded(STORE_READ_TIMEOUT, async {
            connection.execute(BEGIN).await?;
            let exists = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
            if !sqlx::query_scalar::<_, bool>(exists).fetch_one(&mut connection).await? {
                return Ok(None);
            }
            let sql = "SELECT committed_through, bus, stream_epoch, \
                       (SELECT min(seq) FROM messages) AS first_seq FROM log_state";
            let log = sqlx::query(sql).try_map(|row: PgRow| read_log_state((&row).into()));
            let log = log.fetch_one(&mut connection).await?;
            let schema: Vec<(i64, String)> =
                sqlx::query_as(APPLIED).fetch_all(&mut connection).await?;
            let id = sqlx::query_scalar("SELECT pg_export_snapshot()");
            let id: String = id.fetch_one(&mut connection).await?;
            let schema = schema.into_iter().map(Step::from).collect();
            Ok(Some((id, BackupContent { log, schema })))
        });
        let Some((id, content)) = read.await? else {
            let text = "the database of DATABASE_URL has no tables of agentbus".to_owned();
            return Err(StoreError::Refused(text));
        };
        Ok(Self { connection, id, programs, content, database })
    }

    /// Writes the tables to a new file, in the custom format of `pg_dump`.
    ///
    /// # Errors
    /// `pg_dump` fails, with its own words.
    pub async fn dump(self, to: &Path) -> Result<(), StoreError> {
        let create = File::options().create_new(true).write(true).mode(0o600).open(to);
        create.map_err(|error| StoreError::Unavailable(format!("{}: {error}", to.display())))?;
        let mut command = self.programs.command("pg_dump");
        command.arg("--format=custom").arg("--compress=1").arg(format!("--snapshot={}", self.id));
        // A quoted name is no pattern.
        let schema = self.database.schema.replace('"', "\"\"");
        command.arg(format!("--schema=\"{schema}\""));
        command.args(["--no-owner", "--no-privileges", "--no-publications", "--no-password"]);
        command.arg("--file").arg(to);
        Programs::run(command, "pg_dump").await?;
        let _ = self.connection.close().await;
        Ok(())
    }
}

/// The version and the schema of the database that a connection has.
pub(super) async fn facts(connection: &mut PgConnection) -> Result<DatabaseFacts, StoreError> {
    let sql = "SELECT current_setting('server_version_num')::integer / 10000 AS version, \
               current_schema()::text AS schema";
    let row = bounded(STORE_READ_TIMEOUT, sqlx::query(sql).fetch_one(connection)).await?;
    let read = |row: &PgRow| {
        let version: i32 = row.try_get("version")?;
        Ok::<_, sqlx::Error>((version, row.try_get::<Option<String>, _>("schema")?))
    };
    let (version, schema) = read(&row).map_err(connection::classify)?;
    let schema = schema.ok_or_else(|| {
        let text = "DATABASE_URL names a schema (search_path) that does not exist: create it first";
        StoreError::Refused(text.to_owned())
    })?;
    Ok(DatabaseFacts { version: u32::try_from(version).unwrap_or_default(), schema })
}
