//! How consumers are, and what people do with them: pause, resume, process again.
//!
//! Invariant: answers come from the store and the bus, so every process gives the same.

use chrono::{DateTime, Utc};

use super::bus_source::settled_through;
use super::position::{again_from, place};
use super::{Policy, Processor};
use crate::bus::{BusError, durable::DurableState};
use crate::store::StoreError;
use crate::store::work::{Consumer, DeadLetterKind, Position};

/// What names of webhooks' consumers begin with, and no other name.
pub const WEBHOOK_PREFIX: &str = "webhook-";

/// How a consumer is.
#[derive(Clone, Debug)]
pub struct ConsumerStatus {
    /// The consumer as the store has it.
    pub consumer: Consumer,
    /// Messages that wait: not handed out yet, or for another attempt. Counted by sequence
    /// where they are fed from the store, so at most so many.
    pub pending: u64,
    /// Messages being processed.
    pub in_flight: u64,
    /// Everything up to here is processed, has expired or is a dead letter.
    pub processed_through: u64,
    /// When the log took the oldest message that is not.
    pub oldest: Option<DateTime<Utc>>,
    /// Attempts at most.
    pub max_deliver: u32,
    /// Dead letters kept.
    pub dead_letters: u64,
}

impl ConsumerStatus {
    /// Whether it delivers to a webhook.
    #[must_use]
    pub fn is_webhook(&self) -> bool {
        self.consumer.name.starts_with(WEBHOOK_PREFIX)
    }
}

/// Why a consumer could not be told something.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No consumer has this name.
    #[error("there is no consumer of this name")]
    Unknown,
    /// Beyond what the log can have next.
    #[error("from must be at most {0}, the next sequence of the log")]
    BeyondHead(u64),
    /// The store cannot be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bus cannot be asked.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// What a consumer has before it.
struct Ahead {
    pending: u64,
    in_flight: u64,
    through: u64,
}

impl Processor {
    /// All consumers, by name.
    ///
    /// # Errors
    /// That store or bus cannot be asked.
    pub async fn consumers(&self) -> Result<Vec<ConsumerStatus>, ControlError> {
        self.consumers_where(|_| true).await
    }

    /// Those that process and do not deliver to a webhook, by name: nothing is asked of the bus
    /// for others.
    ///
    /// # Errors
    /// That store or bus cannot be asked.
    pub async fn processors(&self) -> Result<Vec<ConsumerStatus>, ControlError> {
        self.consumers_where(|name| !name.starts_with(WEBHOOK_PREFIX)).await
    }

    async fn consumers_where(
        &self,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<ConsumerStatus>, ControlError> {
        let letters = self.store.dead_letter_counts().await?;
        let mut all = Vec::new();
        for consumer in self.store.consumers().await? {
            if !wanted(&consumer.name) {
                continue;
            }
            let of_it = |(kind, source, _): &&(DeadLetterKind, String, u64)| {
                *kind == DeadLetterKind::Message && *source == consumer.name
            };
            let dead = letters.iter().find(of_it).map_or(0, |(_, _, count)| *count);
            all.push(self.status(consumer, dead).await?);
        }
        Ok(all)
    }

    /// One consumer.
    ///
    /// # Errors
    /// [`ControlError::Unknown`], or that store or bus cannot be asked.
    pub async fn consumer(&self, name: &str) -> Result<ConsumerStatus, ControlError> {
        let mut found = self.consumers_where(|other| other == name).await?;
        found.pop().ok_or(ControlError::Unknown)
    }

    /// Pauses a consumer for a reason, or lets it go on: here when this returns, on other servers
    /// within [`crate::limits::CONSUMERS_POLL`].
    ///
    /// # Errors
    /// [`ControlError::Unknown`], or that the store cannot be asked.
    pub async fn pause(&self, name: &str, reason: Option<&str>) -> Result<(), ControlError> {
        if !self.store.pause_consumer(name, reason).await? {
            return Err(ControlError::Unknown);
        }
        self.directory.look_and_wait().await;
        Ok(())
    }

    /// Puts a consumer back, or on, so that it processes everything from `from` on.
    ///
    /// # Errors
    /// [`ControlError`], each of its kinds.
    pub async fn reset(&self, name: &str, from: u64) -> Result<(), ControlError> {
        let next = self.head().await? + 1;
        if from > next {
            return Err(ControlError::BeyondHead(next));
        }
        loop {
            let consumer = self.store.consumer(name).await?.ok_or(ControlError::Unknown)?;
            let place = again_from(&consumer, from, self.ground().await?);
            if self.store.move_consumer(name, consumer.generation, &place).await? {
                tracing::info!(consumer = name, from, "processing again from there");
                self.directory.look();
                return Ok(());
            }
        }
    }

    /// The last sequence of the log, as far as bus and store know.
    async fn head(&self) -> Result<u64, ControlError> {
        let committed = self.store.log_state().await?.committed_through;
        Ok(self.bus.identity().await?.bounds.last.max(committed))
    }

    async fn status(&self, consumer: Consumer, dead: u64) -> Result<ConsumerStatus, ControlError> {
        let mut consumer = self.about_to_begin(consumer).await?;
        let head = self.head().await?;
        let mut ahead = match self.bus.durable_consumers() {
            _ if !consumer.handled => Ahead { pending: 0, in_flight: 0, through: head },
            Some(durables) if consumer.feed.is_none() => {
                let state = durables.state(&consumer.name).await?;
                // After the bus: what goes from there to the store counts twice rather than not.
                let now = self.store.consumer(&consumer.name).await?;
                if let Some(now) = now.filter(|now| now.generation == consumer.generation) {
                    consumer = Consumer { handled: true, ..now };
                }
                durable(&consumer, state, head)
            }
            _ => fed(&consumer, head),
        };
        ahead.pending += consumer.set_aside.saturating_sub(consumer.retrying);
        ahead.in_flight += consumer.retrying;
        if let Some(oldest) = consumer.oldest_set_aside {
            ahead.through = ahead.through.min(oldest.saturating_sub(1));
        }
        let behind = ahead.pending + ahead.in_flight > 0;
        let policy = Policy::default();
        Ok(ConsumerStatus {
            pending: ahead.pending,
            in_flight: ahead.in_flight,
            processed_through: if behind { ahead.through } else { head },
            oldest: if behind { self.logged_after(ahead.through).await } else { None },
            max_deliver: self.policies().get(&consumer.name).unwrap_or(&policy).max_deliver,
            dead_letters: dead,
            consumer,
        })
    }

    /// A consumer whose first handler is here and has not taken its place yet, as it
    /// stands once it has.
    async fn about_to_begin(&self, consumer: Consumer) -> Result<Consumer, ControlError> {
        if consumer.handled || !self.handled().contains(&consumer.name) {
            return Ok(consumer);
        }
        Ok(match place(&consumer, self.ground().await?) {
            Some(Position { floor, feed, handled }) => {
                Consumer { floor, feed, handled, ..consumer }
            }
            None => consumer,
        })
    }

    /// When the log took the first message after a sequence, if that can be told.
    async fn logged_after(&self, seq: u64) -> Option<DateTime<Utc>> {
        let rows = self.store.originals(seq + 1, 1).await.ok()?;
        match rows.first() {
            Some(row) => Some(row.logged_at),
            None => Some(self.bus.get(seq + 1).await.ok()??.logged_at),
        }
    }
}

/// What the durable consumer has before it, or will have once it is made.
fn durable(consumer: &Consumer, state: Option<DurableState>, head: u64) -> Ahead {
    match state.filter(|state| state.generation == Some(consumer.generation)) {
        Some(state) => Ahead {
            pending: state.pending,
            in_flight: state.in_flight,
            through: settled_through(&state),
        },
        None => Ahead {
            pending: head.saturating_sub(consumer.floor),
            in_flight: 0,
            through: consumer.floor,
        },
    }
}

/// What is fed, and on NATS what the stream holds behind that.
fn fed(consumer: &Consumer, head: u64) -> Ahead {
    let feed = consumer.feed.clone().unwrap_or_default();
    let begun = (feed.top - feed.floor).saturating_sub(feed.done.len() as u64);
    Ahead { pending: head.saturating_sub(feed.top), in_flight: begun, through: feed.floor }
}
