//! Compares the schema of a database with the one of this version.

use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnection;

use crate::store::schema::{APPLIED, SchemaDifference, migrator};

/// Compares the schema with the one of this version.
pub(super) async fn difference(
    connection: &mut PgConnection,
) -> Result<SchemaDifference, sqlx::Error> {
    difference_from(connection, &migrator!("postgres")).await
}

/// As [`difference`], with other migrations than those of this version.
pub(super) async fn difference_from(
    connection: &mut PgConnection,
    migrator: &Migrator,
) -> Result<SchemaDifference, sqlx::Error> {
    let steps = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
    let applied = match sqlx::query_scalar(steps).fetch_one(&mut *connection).await? {
        true => sqlx::query_as(APPLIED).fetch_all(connection).await?,
        false => Vec::new(),
    };
    Ok(SchemaDifference::of(applied, migrator))
}
