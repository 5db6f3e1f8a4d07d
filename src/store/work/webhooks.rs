//! Webhooks, and the results of their deliveries.

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Error;
use uuid::Uuid;

use super::attempts::error_text;
use crate::store::error::StoreError;
use crate::store::sql::{Database, Dialect, Pool, Row, Statement, limit_to_db};

/// A webhook (contract, section 10). Its consumer is `webhook-<id>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// A UUIDv7.
    pub id: Uuid,
    /// The URL that receives the deliveries.
    pub url: String,
    /// The subject pattern of its messages.
    pub filter: String,
    /// The secret `whsec_…`, as Standard Webhooks defines it.
    pub secret: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// Deliveries that failed since the last success.
    pub failures: u32,
    /// When the run of failures began; `None` while there is none.
    pub failing_since: Option<DateTime<Utc>>,
    /// When a delivery last succeeded.
    pub last_success: Option<DateTime<Utc>>,
    /// The error of the last failure.
    pub last_error: Option<String>,
    /// The key that made it; `None`: made without a key.
    pub key_id: Option<String>,
}

impl fmt::Debug for Webhook {
    /// Shows everything except the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Webhook");
        shown.field("id", &self.id).field("url", &self.url).field("filter", &self.filter);
        shown.field("created_at", &self.created_at).field("failures", &self.failures);
        shown.field("failing_since", &self.failing_since).field("last_success", &self.last_success);
        shown.field("last_error", &self.last_error).finish_non_exhaustive()
    }
}

/// The part of a store that holds webhooks.
#[async_trait]
pub trait WebhookStore: Database {
    /// Stores a webhook, unless there are `most` others. Returns whether it is stored.
    async fn create_webhook(&self, webhook: &Webhook, most: usize) -> Result<bool, StoreError> {
        let insert = Statement::new(
            "INSERT INTO webhooks (id, url, filter, secret, created_at, failures, failing_since, \
             last_success, last_error, key_id) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $11 \
             WHERE (SELECT count(*) FROM webhooks WHERE id <> $1) < $10 ON CONFLICT DO NOTHING",
        )
        .bind(webhook.id)
        .bind(&*webhook.url)
        .bind(&*webhook.filter)
        .bind(&*webhook.secret)
        .bind(webhook.created_at)
        .bind(i64::from(webhook.failures))
        .bind(webhook.failing_since)
        .bind(webhook.last_success)
        .bind(webhook.last_error.as_deref().map(error_text))
        .bind(limit_to_db(most))
        .bind(webhook.key_id.as_deref());
        let stored = Statement::new("SELECT id FROM webhooks WHERE id = $1").bind(webhook.id);
        let mut statements = vec![insert, stored];
        if self.dialect() == Dialect::Postgres {
            // Lets one transaction insert at a time: two could both find room for one more row.
            let lock = "LOCK TABLE webhooks IN SHARE ROW EXCLUSIVE MODE";
            statements.insert(0, Statement::new(lock));
        }
        let done = self.transaction(Pool::Workers, statements).await?;
        Ok(done.last().is_some_and(|stored| !stored.is_empty()))
    }

    /// All webhooks, by id.
    async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        let statement = Statement::new(format!("SELECT {COLUMNS} FROM webhooks ORDER BY id"));
        self.select(Pool::Workers, statement).await?.decode(read_webhook)
    }

    /// Records the result of a delivery: an error, or `None` for success, which ends the run of failures.
    /// Returns the webhook as it is then.
    async fn webhook_delivered(
        &self,
        id: Uuid,
        error: Option<&str>,
    ) -> Result<Option<Webhook>, StoreError> {
        let now = self.dialect().wall_time("$3");
        let sql = format!(
            "UPDATE webhooks SET \
             failures = CASE WHEN $2 IS NULL THEN 0 ELSE failures + 1 END, \
             failing_since = CASE WHEN $2 IS NULL THEN NULL ELSE coalesce(failing_since, {now}) END, \
             last_success = CASE WHEN $2 IS NULL THEN {now} ELSE last_success END, \
             last_error = coalesce($2, last_error) \
             WHERE id = $1 RETURNING {COLUMNS}"
        );
        let statement = Statement::new(sql).bind(id).bind(error.map(error_text));
        let statement = self.dialect().bind_wall_time(statement);
        self.change(Pool::Workers, statement).await?.first(read_webhook)
    }

    /// Ends the run of failures without a success, since an operator has resumed the webhook.
    async fn webhook_resumed(&self, id: Uuid) -> Result<bool, StoreError> {
        let sql = "UPDATE webhooks SET failures = 0, failing_since = NULL WHERE id = $1";
        Ok(self.execute(Pool::Workers, Statement::new(sql).bind(id)).await? == 1)
    }

    /// Deletes a webhook (not its consumer), and overwrites its secret wherever the database had it.
    async fn delete_webhook(&self, id: Uuid) -> Result<bool, StoreError>;
}

const COLUMNS: &str = "id, url, filter, secret, created_at, failures, failing_since, \
     last_success, last_error, key_id";

fn read_webhook(row: Row<'_>) -> Result<Webhook, Error> {
    Ok(Webhook {
        id: row.get("id")?,
        url: row.get("url")?,
        filter: row.get("filter")?,
        secret: row.get("secret")?,
        created_at: row.time_set("created_at")?,
        failures: u32::try_from(row.seq("failures")?).unwrap_or(u32::MAX),
        failing_since: row.time("failing_since")?,
        last_success: row.time("last_success")?,
        last_error: row.get("last_error")?,
        key_id: row.get("key_id")?,
    })
}

/// The statement that deletes a webhook.
pub(crate) fn delete_statement(id: Uuid) -> Statement {
    Statement::new("DELETE FROM webhooks WHERE id = $1").bind(id)
}
