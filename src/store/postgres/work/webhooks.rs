//! Webhooks and how their deliveries go.

use sqlx::postgres::{PgPool, PgRow};
use sqlx::{Error, Row};
use uuid::Uuid;

use crate::store::sql::{from_db, to_db};
use crate::store::work::{Webhook, kept};

pub(super) async fn create(pool: &PgPool, webhook: &Webhook, most: usize) -> Result<bool, Error> {
    let mut transaction = pool.begin().await?;
    // One at a time: two could count the same last place.
    sqlx::query("LOCK TABLE webhooks IN SHARE ROW EXCLUSIVE MODE")
        .execute(&mut *transaction)
        .await?;
    sqlx::query(
        "INSERT INTO webhooks (id, url, filter, secret, created_at, failures, failing_since, \
         last_success, last_error) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 \
         WHERE (SELECT count(*) FROM webhooks WHERE id <> $1) < $10 ON CONFLICT DO NOTHING",
    )
    .bind(webhook.id)
    .bind(&webhook.url)
    .bind(&webhook.filter)
    .bind(&webhook.secret)
    .bind(webhook.created_at)
    .bind(i64::from(webhook.failures))
    .bind(webhook.failing_since)
    .bind(webhook.last_success)
    .bind(webhook.last_error.as_deref().map(kept::text))
    .bind(to_db(most as u64))
    .execute(&mut *transaction)
    .await?;
    let kept = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM webhooks WHERE id = $1)")
        .bind(webhook.id)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(kept)
}

pub(super) async fn all(pool: &PgPool) -> Result<Vec<Webhook>, Error> {
    let rows = sqlx::query("SELECT * FROM webhooks ORDER BY id").fetch_all(pool).await?;
    rows.iter().map(webhook).collect()
}

pub(super) async fn delivered(
    pool: &PgPool,
    id: Uuid,
    error: Option<&str>,
) -> Result<Option<Webhook>, Error> {
    let row = sqlx::query(
        "UPDATE webhooks SET \
         failures = CASE WHEN $2::text IS NULL THEN 0 ELSE failures + 1 END, \
         failing_since = CASE WHEN $2 IS NULL THEN NULL \
             ELSE coalesce(failing_since, clock_timestamp()) END, \
         last_success = CASE WHEN $2 IS NULL THEN clock_timestamp() ELSE last_success END, \
         last_error = coalesce($2, last_error) \
         WHERE id = $1 RETURNING *",
    )
    .bind(id)
    .bind(error.map(kept::text))
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(webhook).transpose()
}

pub(super) async fn resumed(pool: &PgPool, id: Uuid) -> Result<bool, Error> {
    let sql = "UPDATE webhooks SET failures = 0, failing_since = NULL WHERE id = $1";
    let done = sqlx::query(sql).bind(id).execute(pool).await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn delete(pool: &PgPool, id: Uuid) -> Result<bool, Error> {
    let done = sqlx::query("DELETE FROM webhooks WHERE id = $1").bind(id).execute(pool).await?;
    Ok(done.rows_affected() == 1)
}

fn webhook(row: &PgRow) -> Result<Webhook, Error> {
    Ok(Webhook {
        id: row.try_get("id")?,
        url: row.try_get("url")?,
        filter: row.try_get("filter")?,
        secret: row.try_get("secret")?,
        created_at: row.try_get("created_at")?,
        failures: u32::try_from(from_db(row.try_get("failures")?)).unwrap_or(u32::MAX),
        failing_since: row.try_get("failing_since")?,
        last_success: row.try_get("last_success")?,
        last_error: row.try_get("last_error")?,
    })
}
