//! Brings the schema up to date beside servers that run.
//!
//! Invariant: a migration waits for a lock no longer than [`SCHEMA_LOCK_WAIT`], since everything that servers then
//! want of the same table queues behind it. That is shorter than PostgreSQL's `deadlock_timeout`, so a deadlock ends
//! the migration and never a server's transaction. The migration is rolled back and tried again.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::connection::{bounded, classify};
use super::schema::difference_from;
use super::{membership, rights};
use crate::limits::{SCHEMA_LOCK_PATIENCE, SCHEMA_LOCK_RETRY, STORE_READ_TIMEOUT};
use crate::store::schema::schema_error;
use crate::store::{BusKind, StoreError};

/// Applies the missing migrations, for a server with this bus. Until the connection ends it keeps others from
/// starting whom the server could not run beside.
pub(super) async fn update(
    connection: &mut PgConnection,
    bus: BusKind,
    migrator: &Migrator,
) -> Result<(), StoreError> {
    let may_create = bounded(STORE_READ_TIMEOUT, rights::may_create(connection)).await?;
    let may_create = may_create.map_err(StoreError::Unavailable)?;
    let read = difference_from(connection, migrator);
    let difference = bounded(STORE_READ_TIMEOUT, read).await?;
    if let Some(reason) = difference.refusal() {
        return Err(StoreError::Refused(reason));
    }
    difference.log();
    if let Some(step) = difference.exclusive() {
        let locked = membership::lock(connection, BusKind::Memory).await?;
        locked.map_err(|_| {
            let reason = format!(
                "migration {step} cannot be applied while servers run: stop them all first"
            );
            StoreError::Refused(reason)
        })?;
    } else if !difference.missing.is_empty() {
        membership::lock(connection, bus).await?.map_err(StoreError::Refused)?;
    }
    if !may_create && difference.missing.is_empty() {
        // The migrator would try to create its table, which is there.
        return Ok(());
    }
    migrate(connection, migrator).await
}

async fn migrate(connection: &mut PgConnection, migrator: &Migrator) -> Result<(), StoreError> {
    let deadline = Instant::now() + SCHEMA_LOCK_PATIENCE;
    loop {
        match migrator.run_direct(None, connection, false).await {
            Ok(()) => return Ok(()),
            Err(error) if is_lock_timeout(&error) && Instant::now() < deadline => {
                tracing::info!("a migration waits for a lock: {error}");
                tokio::time::sleep(SCHEMA_LOCK_RETRY).await;
            }
            Err(error) if is_lock_timeout(&error) => {
                return Err(StoreError::Unavailable(format!(
                    "a migration waits for a lock that another session holds, such as a backup or another server's \
                     migration: {error}"
                )));
            }
            Err(error) => return Err(schema_error(error, classify)),
        }
    }
}

/// Whether `lock_timeout` ended the migration (55P03), or a deadlock did (40P01).
fn is_lock_timeout(error: &MigrateError) -> bool {
    let (MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) = error else {
        return false;
    };
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("55P03" | "40P01"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sqlx::migrate::{Migration, MigrationType};
    use sqlx::{AssertSqlSafe, Connection as _, SqlStr};

    use super::*;
    use crate::limits::SCHEMA_LOCK_WAIT;
    use crate::store::Store as _;
    use crate::store::contract_tests::{Server, on_postgres};
    use crate::store::postgres::PostgresStore;
    use crate::store::postgres::connection::{Role, open, options};
    use crate::store::schema::migrator;

    /// All migrations of this version, and then one of the next.
    fn next_version(name: &'static str, sql: &'static str) -> Migrator {
        let mut steps: Vec<Migration> = migrator!("postgres").iter().cloned().collect();
        let sql = SqlStr::from_static(sql);
        steps.push(Migration::new(999, name.into(), MigrationType::Simple, sql, false));
        Migrator::with_migrations(steps)
    }

    async fn connected(server: &Server, role: Role) -> PgConnection {
        let Server::Postgres(url) = server else { panic!("PostgreSQL alone") };
        open(&options(url).expect("an address"), role).await.expect("PostgreSQL answers")
    }

    async fn opened(server: &Server) -> PostgresStore {
        let Server::Postgres(url) = server else { panic!("PostgreSQL alone") };
        PostgresStore::connect(url).await.expect("PostgreSQL opens")
    }

    async fn execute(connection: &mut PgConnection, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(connection).await.expect("SQL runs");
    }

    async fn a_migration_gives_way(server: Server) {
        let store = opened(&server).await;
        let mut backup = connected(&server, Role::Control).await;
        execute(&mut backup, "BEGIN; LOCK TABLE jobs IN ACCESS SHARE MODE").await;
        let next = next_version("more", "ALTER TABLE jobs ADD COLUMN more integer");
        let mut starting = connected(&server, Role::Schema).await;
        let migration = update(&mut starting, BusKind::Nats, &next);
        let servers = async {
            let mut writer = connected(&server, Role::Control).await;
            let (mut longest, begun) = (Duration::ZERO, Instant::now());
            while begun.elapsed() < 3 * SCHEMA_LOCK_RETRY {
                let write = Instant::now();
                execute(&mut writer, "BEGIN; LOCK TABLE jobs IN ROW EXCLUSIVE MODE; COMMIT").await;
                longest = longest.max(write.elapsed());
            }
            execute(&mut backup, "COMMIT").await;
            longest
        };
        let (updated, longest) = tokio::join!(migration, servers);
        updated.expect("once the lock is free");
        let noticed = SCHEMA_LOCK_WAIT / 2..SCHEMA_LOCK_WAIT + Duration::from_secs(1);
        assert!(noticed.contains(&longest), "a write took {longest:?}");
        execute(&mut starting, "SELECT more FROM jobs").await;
        store.close().await;
    }

    #[tokio::test]
    async fn writes_do_not_wait_behind_a_migration_that_waits() {
        on_postgres(a_migration_gives_way).await;
    }

    async fn a_breaking_migration_waits_for_the_end_of_all(server: Server) {
        let store = opened(&server).await;
        let joined = store.join(BusKind::Nats).await.expect("answers").expect("nobody else runs");
        let next = next_version("breaking_more", "ALTER TABLE jobs RENAME TO work");
        let mut starting = connected(&server, Role::Schema).await;
        match update(&mut starting, BusKind::Nats, &next).await {
            Err(StoreError::Refused(reason)) => {
                assert!(reason.contains("0999_breaking_more"), "{reason}")
            }
            other => panic!("{other:?}"),
        }
        execute(&mut starting, "SELECT 1 FROM jobs").await;
        drop(joined);
        update(&mut starting, BusKind::Nats, &next).await.expect("nobody runs");
        starting.close().await.expect("closes");
        // A server that opened the schema before it broke does not join.
        let late = store.join(BusKind::Nats).await.expect("answers");
        assert!(late.err().expect("refused").contains("0999_breaking_more"));
        store.close().await;
    }

    #[tokio::test]
    async fn a_breaking_migration_runs_without_servers() {
        on_postgres(a_breaking_migration_waits_for_the_end_of_all).await;
    }
}
