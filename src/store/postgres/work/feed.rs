//! Removes messages from a feed.

use async_trait::async_trait;
use sqlx::Error;
use sqlx::postgres::PgPool;

use super::{dead_letters, set_aside};
use crate::store::StoreError;
use crate::store::postgres::PostgresStore;
use crate::store::sql::{Pool, to_db};
use crate::store::work::feed::read_feed;
use crate::store::work::{DeadLetter, FeedClaim, FeedStore, SetAside};

#[async_trait]
impl FeedStore for PostgresStore {
    async fn leave(
        &self,
        name: &str,
        claim: FeedClaim,
        aside: &[&SetAside],
        dead: &[&DeadLetter],
    ) -> Result<bool, StoreError> {
        self.run(Pool::Workers, || leave(&self.workers, name, claim, aside, dead)).await
    }
}

async fn leave(
    pool: &PgPool,
    name: &str,
    claim: FeedClaim,
    aside: &[&SetAside],
    dead: &[&DeadLetter],
) -> Result<bool, Error> {
    let mut transaction = pool.begin().await?;
    let row = sqlx::query(
        "SELECT feed_floor, feed_top, feed_to, feed_done FROM consumers \
         WHERE name = $1 AND generation = $2 AND feed_owner = $3 FOR NO KEY UPDATE",
    )
    .bind(name)
    .bind(claim.generation)
    .bind(claim.owner)
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(mut feed) = row.as_ref().map(|row| read_feed(row.into())).transpose()?.flatten()
    else {
        transaction.rollback().await?;
        return Ok(false);
    };
    let (aside, dead) = feed.take_in(aside, dead);
    set_aside::insert(&mut transaction, name, &aside).await?;
    dead_letters::insert(&mut *transaction, &dead).await?;
    sqlx::query("UPDATE consumers SET feed_done = $2 WHERE name = $1")
        .bind(name)
        .bind(feed.done.iter().copied().map(to_db).collect::<Vec<_>>())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(true)
}
