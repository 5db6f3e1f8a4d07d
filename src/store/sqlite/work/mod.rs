//! Background processing in SQLite, for one process.
//!
//! Invariants: a call is one statement or one transaction, on a batch, on the
//! connection that writes, behind the log's own writes; times are the store's.

mod consumers;
mod feed;
pub(super) mod letters;
mod set_aside;
mod settle;
mod webhooks;

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::SqliteStore;
use super::connection::{Turn, bounded};
use crate::store::StoreError;
use crate::store::work::{
    Consumer, DeadLetter, DeadLetterKind, DeadLetterPage, DeadLetterQuery, Feed, FeedClaim,
    LeaseOutcome, LeaseTerms, LeasedMessage, Position, RowLock, SetAside, Totals, Webhook,
    WorkStore, kept,
};

impl SqliteStore {
    async fn work(&self) -> Result<Turn<'_>, StoreError> {
        self.writer.turn_behind(&self.options).await
    }

    /// Gives back the leases of a consumer that nobody heard of.
    async fn give_back(&self, consumer: &str) -> Result<(), StoreError> {
        let leases = self.unconfirmed.of(consumer);
        if leases.is_empty() {
            return Ok(());
        }
        let mut turn = self.work().await?;
        let done =
            bounded(set_aside::give_back(&self.time, turn.connection(), consumer, &leases)).await;
        turn.end(done)
    }

    /// The same of all consumers, before the end; what cannot be given back runs out.
    pub(super) async fn give_all_back(&self) {
        for consumer in self.unconfirmed.consumers() {
            if let Err(error) = self.give_back(&consumer).await {
                tracing::debug!(%error, consumer, "leases that nobody heard of must run out");
            }
        }
    }
}

/// What holds a consumer or a queue where no other process is.
pub(super) struct NoLock;

impl RowLock for NoLock {}

#[async_trait]
impl WorkStore for SqliteStore {
    async fn consumer(&self, name: &str) -> Result<Option<Consumer>, StoreError> {
        let found = bounded(consumers::read(&self.time, &self.readers, Some(name))).await?;
        Ok(found.into_iter().next())
    }

    async fn consumers(&self) -> Result<Vec<Consumer>, StoreError> {
        bounded(consumers::read(&self.time, &self.readers, None)).await
    }

    async fn create_consumer(
        &self,
        name: &str,
        filter: &str,
        place: &Position,
    ) -> Result<Consumer, StoreError> {
        let mut turn = self.work().await?;
        let done =
            bounded(consumers::create(&self.time, turn.connection(), name, filter, place)).await;
        turn.end(done)
    }

    async fn move_consumer(
        &self,
        name: &str,
        generation: i64,
        place: &Position,
    ) -> Result<bool, StoreError> {
        let mut turn = self.work().await?;
        let done = bounded(consumers::place(turn.connection(), name, generation, place)).await;
        turn.end(done)
    }

    /// There is no other process that could move it.
    async fn lock_consumer(
        &self,
        name: &str,
        generation: i64,
    ) -> Result<Option<Box<dyn RowLock>>, StoreError> {
        let found = self.consumer(name).await?.filter(|found| found.generation == generation);
        Ok(found.map(|_| Box::new(NoLock) as Box<dyn RowLock>))
    }

    async fn pause_consumer(&self, name: &str, reason: Option<&str>) -> Result<bool, StoreError> {
        let mut turn = self.work().await?;
        let done = bounded(consumers::pause(turn.connection(), name, reason)).await;
        turn.end(done)
    }

    async fn delete_consumer(&self, name: &str) -> Result<bool, StoreError> {
        loop {
            let mut turn = self.work().await?;
            let more = bounded(consumers::empty(turn.connection(), name)).await;
            if !turn.end(more)? {
                break;
            }
        }
        let mut turn = self.work().await?;
        let done = bounded(consumers::delete(turn.connection(), name)).await;
        turn.end(done)
    }

    async fn raise_floor(&self, name: &str, generation: i64, floor: u64) -> Result<(), StoreError> {
        let mut turn = self.work().await?;
        let done =
            bounded(consumers::raise_floor(turn.connection(), name, generation, floor)).await;
        turn.end(done)
    }

    async fn claim_feed(
        &self,
        name: &str,
        generation: i64,
        owner: Uuid,
        lease_for: Duration,
    ) -> Result<Option<Feed>, StoreError> {
        let mut turn = self.work().await?;
        let done =
            bounded(feed::claim(&self.time, turn.connection(), name, generation, owner, lease_for))
                .await;
        turn.end(done)
    }

    async fn save_feed(
        &self,
        name: &str,
        generation: i64,
        owner: Uuid,
        lease_for: Duration,
        feed: &Feed,
    ) -> Result<(), StoreError> {
        let mut turn = self.work().await?;
        let save =
            feed::save(&self.time, turn.connection(), name, generation, owner, lease_for, feed);
        let saved = bounded(save).await;
        StoreError::unless_fenced(turn.end(saved)?)
    }

    async fn add_totals(&self, name: &str, more: &Totals) -> Result<(), StoreError> {
        let mut turn = self.work().await?;
        let done = bounded(consumers::add_totals(turn.connection(), name, more)).await;
        turn.end(done)
    }

    async fn set_aside(&self, consumer: &str, messages: &[SetAside]) -> Result<(), StoreError> {
        for chunk in kept::chunks(messages) {
            let mut turn = self.work().await?;
            let done =
                bounded(set_aside::add(&self.time, turn.connection(), consumer, &chunk)).await;
            turn.end(done)?;
        }
        Ok(())
    }

    async fn leave_feed(
        &self,
        name: &str,
        claim: FeedClaim,
        aside: &[SetAside],
        dead: &[DeadLetter],
    ) -> Result<(), StoreError> {
        for chunk in kept::chunks(aside) {
            let mut turn = self.work().await?;
            let left =
                bounded(feed::leave(&self.time, turn.connection(), name, claim, &chunk, &[])).await;
            StoreError::unless_fenced(turn.end(left)?)?;
        }
        for chunk in kept::chunks(dead) {
            let mut turn = self.work().await?;
            let left =
                bounded(feed::leave(&self.time, turn.connection(), name, claim, &[], &chunk)).await;
            StoreError::unless_fenced(turn.end(left)?)?;
        }
        Ok(())
    }

    async fn lease_due(
        &self,
        consumer: &str,
        limit: usize,
        max_deliver: u32,
        lease_for: Duration,
    ) -> Result<Vec<LeasedMessage>, StoreError> {
        self.give_back(consumer).await?;
        let mut turn = self.work().await?;
        let lease = Uuid::new_v4();
        let asked = self.unconfirmed.ask(consumer, lease, lease_for);
        let terms = LeaseTerms { lease, limit, max_deliver, lease_for };
        let leased =
            bounded(set_aside::lease(&self.time, turn.connection(), consumer, terms)).await;
        let leased = turn.end(leased)?;
        asked.answered();
        Ok(leased)
    }

    async fn next_due(&self, consumer: &str) -> Result<Option<Duration>, StoreError> {
        bounded(set_aside::next_due(&self.time, &self.readers, consumer)).await
    }

    async fn extend_leases(
        &self,
        consumer: &str,
        leases: &[(u64, Uuid)],
        lease_for: Duration,
    ) -> Result<(), StoreError> {
        let mut turn = self.work().await?;
        let done = bounded(set_aside::extend_leases(
            &self.time,
            turn.connection(),
            consumer,
            leases,
            lease_for,
        ))
        .await;
        turn.end(done)
    }

    async fn settle(&self, consumer: &str, settled: &[LeaseOutcome]) -> Result<(), StoreError> {
        let mut turn = self.work().await?;
        let done = bounded(settle::settle(&self.time, turn.connection(), consumer, settled)).await;
        turn.end(done)
    }

    async fn add_dead_letters(&self, letters: &[DeadLetter]) -> Result<(), StoreError> {
        for chunk in kept::chunks(letters) {
            let mut turn = self.work().await?;
            let done = bounded(letters::bury(turn.connection(), &chunk)).await;
            turn.end(done)?;
        }
        Ok(())
    }

    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<DeadLetterPage, StoreError> {
        bounded(letters::page(&self.readers, query)).await
    }

    async fn dead_letter(&self, id: Uuid) -> Result<Option<DeadLetter>, StoreError> {
        bounded(letters::one(&self.readers, id)).await
    }

    async fn dead_letter_counts(&self) -> Result<Vec<(DeadLetterKind, String, u64)>, StoreError> {
        bounded(letters::counts(&self.readers)).await
    }

    async fn redrive_messages(&self, ids: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
        let mut turn = self.work().await?;
        let done = bounded(letters::redrive(&self.time, turn.connection(), ids)).await;
        turn.end(done)
    }

    async fn discard_dead_letter(&self, id: Uuid) -> Result<bool, StoreError> {
        let mut turn = self.work().await?;
        let done = bounded(letters::discard(turn.connection(), id)).await;
        turn.end(done)
    }

    async fn create_webhook(&self, webhook: &Webhook, most: usize) -> Result<bool, StoreError> {
        let mut turn = self.work().await?;
        let done = bounded(webhooks::create(turn.connection(), webhook, most)).await;
        turn.end(done)
    }

    async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        bounded(webhooks::all(&self.readers)).await
    }

    async fn webhook_delivered(
        &self,
        id: Uuid,
        error: Option<&str>,
    ) -> Result<Option<Webhook>, StoreError> {
        let mut turn = self.work().await?;
        let done =
            bounded(webhooks::delivered(turn.connection(), id, error, self.time.wall())).await;
        turn.end(done)
    }

    async fn webhook_resumed(&self, id: Uuid) -> Result<bool, StoreError> {
        let mut turn = self.work().await?;
        let done = bounded(webhooks::resumed(turn.connection(), id)).await;
        turn.end(done)
    }

    async fn delete_webhook(&self, id: Uuid) -> Result<bool, StoreError> {
        let mut turn = self.work().await?;
        let done = bounded(webhooks::delete(turn.connection(), id)).await;
        let deleted = turn.end(done)?;
        if deleted {
            // Its secret must not stay in the file of the log either.
            self.writer.forget(&self.options).await?;
        }
        Ok(deleted)
    }
}
