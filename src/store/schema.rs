//! The migrations of the schema. They have the same numbers and names in both databases.
//!
//! Invariant: servers of two versions can run on one database. So a version accepts migrations that it does not
//! know, unless their name says that older versions cannot work with them. The rules for those who write one stand
//! in `docs/architecture.md`.

use std::fmt;

use serde::{Deserialize, Serialize};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Error, SqlStr};

use super::error::StoreError;

/// Every migration of one database's schema, in order. A released migration never changes, since its checksum
/// is stored.
macro_rules! migrator {
    ($database:literal) => {
        $crate::store::schema::migrator_of(
            $crate::store::schema::steps!($database: "0001_log", "0002_state", "0003_work", "0004_jobs", "0005_odd", "0006_queues_deleted", "0007_keys", "0008_schemas", "0009_trace", "0010_erasures"),
        )
    };
}

macro_rules! steps {
    ($database:literal: $($step:literal),+) => {
        [$((
            $step,
            include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/migrations/", $database, "/", $step, ".sql"
            )),
        )),+]
    };
}

pub(super) use {migrator, steps};

/// A migrator of these migrations, each given by number and name, and its SQL.
pub(super) fn migrator_of(steps: [(&'static str, &'static str); 10]) -> Migrator {
    let migrations = steps.into_iter().zip(1..).map(|((step, sql), version)| {
        let name = step.split_once('_').map_or(step, |(_, name)| name);
        Migration::new(version, name.into(), MigrationType::Simple, SqlStr::from_static(sql), false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    // Those that it does not know are judged by `SchemaDifference::refusal`.
    migrator.set_ignore_missing(true);
    migrator
}

/// Selects what [`SchemaDifference::of`] compares.
pub(super) const APPLIED: &str =
    "SELECT version, description FROM _sqlx_migrations ORDER BY version";

/// The beginning of the name of a migration with which older versions cannot work.
const BREAKING: &str = "breaking_";

/// A migration by number and name. Shown like the name of its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    version: i64,
    name: String,
}

impl Step {
    /// Whether servers without this migration cannot work with its schema.
    #[must_use]
    pub fn is_breaking(&self) -> bool {
        self.name.starts_with(BREAKING)
    }
}

impl From<(i64, String)> for Step {
    fn from((version, name): (i64, String)) -> Self {
        Self { version, name }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}_{}", self.version, self.name)
    }
}

/// How the schema of a database differs from that of this version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaDifference {
    /// The migrations that a start of this version applies, in order.
    pub missing: Vec<Step>,
    /// The migrations of newer versions.
    pub unknown: Vec<Step>,
}

impl SchemaDifference {
    /// Compares the applied migrations, by number and name, with those of this version.
    pub(super) fn of(applied: Vec<(i64, String)>, migrator: &Migrator) -> Self {
        let step = |(version, name)| Step { version, name };
        let is_applied = |known: &&Migration| applied.iter().any(|(it, _)| *it == known.version);
        let missing = migrator.iter().filter(|known| !is_applied(known));
        let missing = missing.map(|known| step((known.version, known.description.to_string())));
        let missing = missing.collect();
        let unknown = applied.into_iter().filter(|(version, _)| !migrator.version_exists(*version));
        Self { missing, unknown: unknown.map(step).collect() }
    }

    /// Compares the migrations of a backup with those of this version. Both databases have the same.
    #[must_use]
    pub fn of_backup(steps: &[Step]) -> Self {
        let applied = steps.iter().map(|step| (step.version, step.name.clone())).collect();
        Self::of(applied, &migrator!("sqlite"))
    }

    /// Whether the database has no schema yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.missing.first().is_some_and(|first| first.version == 1)
    }

    /// Why this version cannot work with the schema; `None` if it can.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let breaking = self.unknown.iter().find(|step| step.is_breaking())?;
        Some(format!(
            "a newer version applied migration {breaking} to the database, with which this version cannot work: \
             run the newer version, or restore the backup from before its first start"
        ))
    }

    /// The missing migration that cannot be applied while other servers run, if there is one.
    #[must_use]
    pub fn exclusive(&self) -> Option<&Step> {
        self.missing.iter().find(|step| step.is_breaking())
    }

    /// Logs the migrations of newer versions.
    pub(super) fn log(&self) {
        if !self.unknown.is_empty() {
            let unknown: Vec<String> = self.unknown.iter().map(Step::to_string).collect();
            let unknown = unknown.join(", ");
            tracing::info!(
                "the database has migrations of a newer version, with which this version can work: {unknown}"
            );
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn migrator(steps: &[(i64, &'static str)]) -> Migrator {
        let migration = |(version, name): &(i64, &'static str)| {
            let sql = SqlStr::from_static("SELECT 1");
            Migration::new(*version, (*name).into(), MigrationType::Simple, sql, false)
        };
        Migrator::with_migrations(steps.iter().map(migration).collect())
    }

    fn difference(applied: &[(i64, &str)], known: &[(i64, &'static str)]) -> SchemaDifference {
        let applied = applied.iter().map(|(version, name)| (*version, (*name).to_owned()));
        SchemaDifference::of(applied.collect(), &migrator(known))
    }

    fn names(steps: &[Step]) -> Vec<String> {
        steps.iter().map(Step::to_string).collect()
    }

    #[test]
    fn what_is_missing_and_what_is_unknown_are_told_apart() {
        let found = difference(&[(1, "log"), (12, "more")], &[(1, "log"), (2, "state")]);
        assert_eq!(names(&found.missing), ["0002_state"]);
        assert_eq!(names(&found.unknown), ["0012_more"]);
        assert_eq!((found.refusal(), found.exclusive()), (None, None));
        assert_eq!(difference(&[(1, "log")], &[(1, "log")]), SchemaDifference::default());
    }

    #[test]
    fn a_breaking_migration_refuses_older_versions_and_runs_alone() {
        let older = difference(&[(1, "log"), (2, "breaking_more"), (3, "x")], &[(1, "log")]);
        let reason = older.refusal().expect("refused");
        assert!(reason.contains("0002_breaking_more"), "{reason}");
        let newer = difference(&[(1, "log")], &[(1, "log"), (2, "breaking_more")]);
        assert_eq!(newer.refusal(), None);
        assert_eq!(newer.exclusive().map(Step::to_string).as_deref(), Some("0002_breaking_more"));
    }
}
