//! The migrations of the schema. They have the same numbers and names in both databases.

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Error, SqlStr};

use super::error::StoreError;

/// Every migration of one database's schema, in order. A released migration never changes, since its checksum
/// is stored.
macro_rules! migrator {
    ($database:literal) => {
        $crate::store::schema::migrator_of(
            $crate::store::schema::steps!($database: "1_log", "2_state", "3_work", "4_jobs", "5_odd", "6_queues_deleted", "7_keys", "8_schemas"),
        )
    };
}

macro_rules! steps {
    ($database:literal: $($step:literal),+) => {
        [$((
            $step,
            include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/migrations/", $database, "/000", $step, ".sql"
            )),
        )),+]
    };
}

pub(super) use {migrator, steps};

/// A migrator of these migrations, each given by number and name, and its SQL.
pub(super) fn migrator_of(steps: [(&'static str, &'static str); 8]) -> Migrator {
    let migrations = steps.into_iter().zip(1..).map(|((step, sql), version)| {
        let name = step.split_once('_').map_or(step, |(_, name)| name);
        Migration::new(version, name.into(), MigrationType::Simple, SqlStr::from_static(sql), false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// Whether a database lacks migrations if `last` is its last one.
pub(super) fn lacks_steps(last: Option<i64>, migrator: &Migrator) -> bool {
    last < migrator.iter().map(|step| step.version).max()
}

/// The error of a migration: the database failed, or its schema is of another version.
pub(super) fn schema_error(
    error: MigrateError,
    classify: impl Fn(Error) -> StoreError,
) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => classify(error),
        other => {
            StoreError::Refused(format!("the database's schema is of another version: {other}"))
        }
    }
}
