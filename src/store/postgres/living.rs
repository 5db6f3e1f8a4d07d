//! The front of an inbox: what has expired is passed over without its body.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Error, Row};

use super::partitions;
use super::read::{Ground, TABLE, bind_all, further, ground, nearest};
use crate::message::Query;
use crate::store::Living;
use crate::store::plan::{self, Bounds, Dialect, Plan, from_db};

pub(super) async fn living(
    pool: &PgPool,
    query: &Query,
    now: DateTime<Utc>,
) -> Result<Living, Error> {
    let Ground { committed_through, bounds, attached } = ground(pool, query).await?;
    let mut living = Living { committed_through: from_db(committed_through), ..Living::default() };
    let Some(bounds) = bounds.filter(|bounds| !bounds.is_empty()) else { return Ok(living) };
    let near = nearest(query, bounds);
    let table = near.partition.filter(|_| attached).map(partitions::name);
    look(pool, query, now, near.bounds, table.as_deref().unwrap_or(TABLE), &mut living).await?;
    if living.first.is_none() && !living.more {
        for window in further(pool, query, bounds, near.bounds).await? {
            look(pool, query, now, window, TABLE, &mut living).await?;
            if living.first.is_some() || living.more {
                break;
            }
        }
    }
    Ok(living)
}

/// Looks at a window too, as long as the query's limit lasts.
async fn look(
    pool: &PgPool,
    query: &Query,
    now: DateTime<Utc>,
    window: Bounds,
    table: &str,
    living: &mut Living,
) -> Result<(), Error> {
    // All that was looked at so far has expired.
    let looked = usize::try_from(living.expired).unwrap_or(usize::MAX);
    let rest = Query { limit: query.limit.saturating_sub(looked), ..query.clone() };
    let Plan { sql, values, .. } = plan::living(&rest, window, now, Dialect::Postgres, table);
    let row = bind_all(sqlx::query(AssertSqlSafe(sql)), values).fetch_one(pool).await?;
    living.add((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?));
    living.more = living.first.is_none() && living.expired > query.limit as u64;
    Ok(())
}
