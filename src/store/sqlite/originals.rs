//! Rows with all that publishing them again needs.

use chrono::DateTime;
use futures_util::TryStreamExt;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Error, Row};

use super::read::{stored, unreadable};
use crate::limits::MAX_PAGE_BYTES;
use crate::message::Subject;
use crate::store::Original;
use crate::store::plan::to_db;
use crate::store::rows::read_headers;

/// Rows from a sequence on: at most `limit`, and fewer when they are large.
pub(super) async fn from(
    pool: &SqlitePool,
    from: u64,
    limit: usize,
) -> Result<Vec<Original>, Error> {
    let mut rows = sqlx::query(
        "SELECT seq, id, kind, subject, logged_at, body, foreign_payload, foreign_headers \
         FROM messages WHERE seq >= $1 ORDER BY seq LIMIT $2",
    )
    .bind(to_db(from))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch(pool);
    let (mut originals, mut bytes) = (Vec::new(), 0);
    while bytes < MAX_PAGE_BYTES
        && let Some(row) = rows.try_next().await?
    {
        let original = original(&row)?;
        let foreign = original.foreign.as_ref().map_or(0, |(payload, _)| payload.len());
        bytes += (original.stored.body.len() + foreign) as u64;
        originals.push(original);
    }
    Ok(originals)
}

fn original(row: &SqliteRow) -> Result<Original, Error> {
    let payload: Option<Vec<u8>> = row.try_get("foreign_payload")?;
    let foreign = match payload {
        Some(payload) => {
            let headers = read_headers(row.try_get("foreign_headers")?).map_err(unreadable)?;
            Some((payload.into(), headers))
        }
        None => None,
    };
    let logged_at = DateTime::from_timestamp_micros(row.try_get("logged_at")?)
        .ok_or_else(|| unreadable("a time beyond what a calendar has"))?;
    Ok(Original {
        stored: stored(row)?,
        id: row.try_get("id")?,
        subject: Subject::from_log(row.try_get::<String, _>("subject")?),
        foreign,
        logged_at,
    })
}
