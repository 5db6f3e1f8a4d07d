//! Removes messages from a feed.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, Error};

use super::dead_letters;
use super::set_aside;
use crate::store::StoreError;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::database::{in_turn, json};
use crate::store::sqlite::time::StoreTime;
use crate::store::work::feed::read_feed;
use crate::store::work::{DeadLetter, FeedClaim, FeedStore, SetAside};

#[async_trait]
impl FeedStore for SqliteStore {
    async fn leave(
        &self,
        name: &str,
        claim: FeedClaim,
        aside: &[&SetAside],
        dead: &[&DeadLetter],
    ) -> Result<bool, StoreError> {
        in_turn!(self, Workers, connection => leave(&self.time, connection, name, claim, aside, dead))
    }
}

async fn leave(
    time: &StoreTime,
    connection: &mut SqliteConnection,
    name: &str,
    claim: FeedClaim,
    aside: &[&SetAside],
    dead: &[&DeadLetter],
) -> Result<bool, Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let row = sqlx::query(
        "SELECT feed_floor, feed_top, feed_to, feed_done FROM consumers \
         WHERE name = $1 AND generation = $2 AND feed_owner = $3",
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
    set_aside::insert(time, &mut transaction, name, &aside).await?;
    dead_letters::insert(&mut transaction, &dead).await?;
    sqlx::query("UPDATE consumers SET feed_done = $2 WHERE name = $1")
        .bind(name)
        .bind(json(&feed.done)?)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(true)
}
