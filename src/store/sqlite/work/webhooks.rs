//! Webhooks and how their deliveries go.

use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{Error, Row};
use uuid::Uuid;

use super::set_aside::time;
use crate::store::sql::{from_db, to_db};
use crate::store::work::{Webhook, kept};

pub(super) async fn create(
    connection: &mut SqliteConnection,
    webhook: &Webhook,
    most: usize,
) -> Result<bool, Error> {
    // This connection is the only one that writes: nobody takes the place that is counted here.
    sqlx::query(
        "INSERT INTO webhooks (id, url, filter, secret, created_at, failures, failing_since, \
         last_success, last_error) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 \
         WHERE (SELECT count(*) FROM webhooks WHERE id <> $1) < $10 ON CONFLICT DO NOTHING",
    )
    .bind(webhook.id)
    .bind(&webhook.url)
    .bind(&webhook.filter)
    .bind(&webhook.secret)
    .bind(webhook.created_at.timestamp_micros())
    .bind(i64::from(webhook.failures))
    .bind(webhook.failing_since.map(|time| time.timestamp_micros()))
    .bind(webhook.last_success.map(|time| time.timestamp_micros()))
    .bind(webhook.last_error.as_deref().map(kept::text))
    .bind(to_db(most as u64))
    .execute(&mut *connection)
    .await?;
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM webhooks WHERE id = $1)")
        .bind(webhook.id)
        .fetch_one(connection)
        .await
}

pub(super) async fn all(pool: &SqlitePool) -> Result<Vec<Webhook>, Error> {
    let rows = sqlx::query("SELECT * FROM webhooks ORDER BY id").fetch_all(pool).await?;
    rows.iter().map(webhook).collect()
}

pub(super) async fn delivered(
    connection: &mut SqliteConnection,
    id: Uuid,
    error: Option<&str>,
    now: i64,
) -> Result<Option<Webhook>, Error> {
    let row = sqlx::query(
        "UPDATE webhooks SET \
         failures = CASE WHEN $2 IS NULL THEN 0 ELSE failures + 1 END, \
         failing_since = CASE WHEN $2 IS NULL THEN NULL \
             ELSE coalesce(failing_since, $3) END, \
         last_success = CASE WHEN $2 IS NULL THEN $3 ELSE last_success END, \
         last_error = coalesce($2, last_error) \
         WHERE id = $1 RETURNING *",
    )
    .bind(id)
    .bind(error.map(kept::text))
    .bind(now)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(webhook).transpose()
}

pub(super) async fn resumed(connection: &mut SqliteConnection, id: Uuid) -> Result<bool, Error> {
    let sql = "UPDATE webhooks SET failures = 0, failing_since = NULL WHERE id = $1";
    let done = sqlx::query(sql).bind(id).execute(connection).await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn delete(connection: &mut SqliteConnection, id: Uuid) -> Result<bool, Error> {
    let done =
        sqlx::query("DELETE FROM webhooks WHERE id = $1").bind(id).execute(connection).await?;
    Ok(done.rows_affected() == 1)
}

fn webhook(row: &SqliteRow) -> Result<Webhook, Error> {
    Ok(Webhook {
        id: row.try_get("id")?,
        url: row.try_get("url")?,
        filter: row.try_get("filter")?,
        secret: row.try_get("secret")?,
        created_at: time(row.try_get("created_at")?)?,
        failures: u32::try_from(from_db(row.try_get("failures")?)).unwrap_or(u32::MAX),
        failing_since: row.try_get::<Option<i64>, _>("failing_since")?.map(time).transpose()?,
        last_success: row.try_get::<Option<i64>, _>("last_success")?.map(time).transpose()?,
        last_error: row.try_get("last_error")?,
    })
}
