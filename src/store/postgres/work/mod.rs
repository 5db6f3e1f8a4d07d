//! Background processing in PostgreSQL, by any number of workers on any number
//! of servers.
//!
//! Invariants: a call is one statement or one transaction, on a batch; times are
//! the database's. Whoever takes a message skips what others hold; whoever waits
//! for rows takes them in order of sequence: no two can wait for each other.

pub(super) mod consumers;
mod feed;
mod letters;
mod set_aside;
mod settle;
mod webhooks;

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Error;
use uuid::Uuid;

use super::PostgresStore;
use super::connection::on_pool;
use crate::limits::STORE_WRITE_TIMEOUT;
use crate::store::StoreError;
use crate::store::work::{
    Consumer, DeadLetter, DeadLetterKind, DeadLetterPage, DeadLetterQuery, Feed, FeedClaim,
    LeaseOutcome, LeaseTerms, LeasedMessage, Position, RowLock, SetAside, Totals, Webhook,
    WorkStore, kept,
};

impl PostgresStore {
    async fn work<T, F>(&self, work: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        on_pool(&self.workers, STORE_WRITE_TIMEOUT, work).await
    }

    /// Gives back the leases of a consumer that nobody heard of.
    async fn give_back(&self, consumer: &str) -> Result<(), StoreError> {
        let leases = self.unconfirmed.of(consumer);
        if leases.is_empty() {
            return Ok(());
        }
        self.work(|| set_aside::give_back(&self.workers, consumer, &leases)).await
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

#[async_trait]
impl WorkStore for PostgresStore {
    async fn consumer(&self, name: &str) -> Result<Option<Consumer>, StoreError> {
        let found = self.work(|| consumers::read(&self.workers, Some(name))).await?;
        Ok(found.into_iter().next())
    }

    async fn consumers(&self) -> Result<Vec<Consumer>, StoreError> {
        self.work(|| consumers::read(&self.workers, None)).await
    }

    async fn create_consumer(
        &self,
        name: &str,
        filter: &str,
        place: &Position,
    ) -> Result<Consumer, StoreError> {
        self.work(|| consumers::create(&self.workers, name, filter, place)).await
    }

    async fn move_consumer(
        &self,
        name: &str,
        generation: i64,
        place: &Position,
    ) -> Result<bool, StoreError> {
        self.work(|| consumers::place(&self.workers, name, generation, place)).await
    }

    async fn lock_consumer(
        &self,
        name: &str,
        generation: i64,
    ) -> Result<Option<Box<dyn RowLock>>, StoreError> {
        let held = self.work(|| consumers::hold(&self.workers, name, generation)).await?;
        Ok(held.map(|hold| Box::new(hold) as Box<dyn RowLock>))
    }

    async fn pause_consumer(&self, name: &str, reason: Option<&str>) -> Result<bool, StoreError> {
        self.work(|| consumers::pause(&self.workers, name, reason)).await
    }

    async fn delete_consumer(&self, name: &str) -> Result<bool, StoreError> {
        while self.work(|| consumers::empty(&self.workers, name)).await? {}
        self.work(|| consumers::delete(&self.workers, name)).await
    }

    async fn raise_floor(&self, name: &str, generation: i64, floor: u64) -> Result<(), StoreError> {
        self.work(|| consumers::raise_floor(&self.workers, name, generation, floor)).await
    }

    async fn claim_feed(
        &self,
        name: &str,
        generation: i64,
        owner: Uuid,
        lease_for: Duration,
    ) -> Result<Option<Feed>, StoreError> {
        self.work(|| feed::claim(&self.workers, name, generation, owner, lease_for)).await
    }

    async fn save_feed(
        &self,
        name: &str,
        generation: i64,
        owner: Uuid,
        lease_for: Duration,
        feed: &Feed,
    ) -> Result<(), StoreError> {
        let save = || feed::save(&self.workers, name, generation, owner, lease_for, feed);
        StoreError::unless_fenced(self.work(save).await?)
    }

    async fn add_totals(&self, name: &str, more: &Totals) -> Result<(), StoreError> {
        self.work(|| consumers::add_totals(&self.workers, name, more)).await
    }

    async fn set_aside(&self, consumer: &str, messages: &[SetAside]) -> Result<(), StoreError> {
        for chunk in kept::chunks(messages) {
            self.work(|| set_aside::add(&self.workers, consumer, &chunk)).await?;
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
            let left = self.work(|| feed::leave(&self.workers, name, claim, &chunk, &[])).await?;
            StoreError::unless_fenced(left)?;
        }
        for chunk in kept::chunks(dead) {
            let left = self.work(|| feed::leave(&self.workers, name, claim, &[], &chunk)).await?;
            StoreError::unless_fenced(left)?;
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
        self.work(async || {
            let mut connection = self.workers.acquire().await?;
            let lease = Uuid::new_v4();
            let asked = self.unconfirmed.ask(consumer, lease, lease_for);
            let terms = LeaseTerms { lease, limit, max_deliver, lease_for };
            let leased = set_aside::lease(&mut connection, consumer, terms).await?;
            asked.answered();
            Ok(leased)
        })
        .await
    }

    async fn next_due(&self, consumer: &str) -> Result<Option<Duration>, StoreError> {
        self.work(|| set_aside::next_due(&self.workers, consumer)).await
    }

    async fn extend_leases(
        &self,
        consumer: &str,
        leases: &[(u64, Uuid)],
        lease_for: Duration,
    ) -> Result<(), StoreError> {
        self.work(|| set_aside::extend_leases(&self.workers, consumer, leases, lease_for)).await
    }

    async fn settle(&self, consumer: &str, settled: &[LeaseOutcome]) -> Result<(), StoreError> {
        self.work(|| settle::settle(&self.workers, consumer, settled)).await
    }

    async fn add_dead_letters(&self, letters: &[DeadLetter]) -> Result<(), StoreError> {
        for chunk in kept::chunks(letters) {
            self.work(|| letters::bury(&self.workers, &chunk)).await?;
        }
        Ok(())
    }

    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<DeadLetterPage, StoreError> {
        self.read(|| letters::page(&self.readers, query)).await
    }

    async fn dead_letter(&self, id: Uuid) -> Result<Option<DeadLetter>, StoreError> {
        self.read(|| letters::one(&self.readers, id)).await
    }

    async fn dead_letter_counts(&self) -> Result<Vec<(DeadLetterKind, String, u64)>, StoreError> {
        self.read(|| letters::counts(&self.readers)).await
    }

    async fn redrive_messages(&self, ids: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
        self.work(|| letters::redrive(&self.workers, ids)).await
    }

    async fn discard_dead_letter(&self, id: Uuid) -> Result<bool, StoreError> {
        self.work(|| letters::discard(&self.workers, id)).await
    }

    async fn create_webhook(&self, webhook: &Webhook, most: usize) -> Result<bool, StoreError> {
        self.work(|| webhooks::create(&self.workers, webhook, most)).await
    }

    async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        self.work(|| webhooks::all(&self.workers)).await
    }

    async fn webhook_delivered(
        &self,
        id: Uuid,
        error: Option<&str>,
    ) -> Result<Option<Webhook>, StoreError> {
        self.work(|| webhooks::delivered(&self.workers, id, error)).await
    }

    async fn webhook_resumed(&self, id: Uuid) -> Result<bool, StoreError> {
        self.work(|| webhooks::resumed(&self.workers, id)).await
    }

    async fn delete_webhook(&self, id: Uuid) -> Result<bool, StoreError> {
        self.work(|| webhooks::delete(&self.workers, id)).await
    }
}
