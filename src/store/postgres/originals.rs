//! Rows with all that publishing them again needs.

use sqlx::postgres::{PgPool, PgRow};
use sqlx::{Error, Row};

use super::read::{stored, unreadable};
use crate::limits::MAX_PAGE_BYTES;
use crate::message::Subject;
use crate::store::Original;
use crate::store::plan::to_db;
use crate::store::rows::read_headers;

/// Rows from a sequence on: at most `limit`, and fewer when they are large.
pub(super) async fn from(pool: &PgPool, from: u64, limit: usize) -> Result<Vec<Original>, Error> {
    let rows = sqlx::query(
        "WITH picked AS MATERIALIZED (
             SELECT seq, id, kind, subject, logged_at, body, foreign_payload, foreign_headers
             FROM messages WHERE seq >= $1 ORDER BY seq LIMIT $2
         ), sized AS (
             SELECT *, octet_length(body) + coalesce(octet_length(foreign_payload), 0) AS size
             FROM picked
         ), summed AS (SELECT *, sum(size) OVER (ORDER BY seq) - size AS before FROM sized)
         SELECT * FROM summed WHERE before < $3 ORDER BY seq",
    )
    .bind(to_db(from))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .bind(to_db(MAX_PAGE_BYTES))
    .fetch_all(pool)
    .await?;
    rows.iter().map(original).collect()
}

fn original(row: &PgRow) -> Result<Original, Error> {
    let payload: Option<Vec<u8>> = row.try_get("foreign_payload")?;
    let foreign = match payload {
        Some(payload) => {
            let headers = read_headers(row.try_get("foreign_headers")?).map_err(unreadable)?;
            Some((payload.into(), headers))
        }
        None => None,
    };
    Ok(Original {
        stored: stored(row)?,
        id: row.try_get("id")?,
        subject: Subject::from_log(row.try_get::<String, _>("subject")?),
        foreign,
        logged_at: row.try_get("logged_at")?,
    })
}
