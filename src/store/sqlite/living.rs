//! The front of an inbox: what has expired is passed over without its body.

use chrono::{DateTime, Utc};
use sqlx::sqlite::SqlitePool;
use sqlx::{AssertSqlSafe, Error, Row};

use super::read::{bind_all, bounds};
use crate::message::Query;
use crate::store::Living;
use crate::store::plan::{self, Dialect, Plan, from_db};

pub(super) async fn living(
    pool: &SqlitePool,
    query: &Query,
    now: DateTime<Utc>,
) -> Result<Living, Error> {
    let (committed_through, bounds) = bounds(pool, query).await?;
    let mut living = Living { committed_through: from_db(committed_through), ..Living::default() };
    let Some(bounds) = bounds.filter(|bounds| !bounds.is_empty()) else { return Ok(living) };
    let Plan { sql, values, .. } = plan::living(query, bounds, now, Dialect::Sqlite, "messages");
    let row = bind_all(sqlx::query(AssertSqlSafe(sql)), values).fetch_one(pool).await?;
    let looked: i64 = row.try_get(2)?;
    living.add((row.try_get(0)?, row.try_get(1)?, looked, row.try_get(3)?));
    living.more = living.first.is_none() && from_db(looked) > query.limit as u64;
    Ok(living)
}
