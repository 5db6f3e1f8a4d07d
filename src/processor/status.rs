//! The status of consumers, and the operations on them: pause, resume, reset.
//!
//! Invariant: a status is read from the store and the bus, so every process returns the same.

use chrono::TimeDelta;

use super::bus_source::settled_through;
use super::engine::Processor;
use super::policy::Policy;
use super::position::{replay_position, required_position};
use crate::bus::{BusError, durable::DurableState};
use crate::store::StoreError;
use crate::store::work::{Consumer, DeadLetterKind, Position};

/// The prefix of the names of webhooks' consumers. No other consumer has it.
pub const WEBHOOK_PREFIX: &str = "webhook-";

/// The status of a consumer.
#[derive(Clone, Debug)]
pub struct ConsumerStatus {
    /// The consumer as the store has it.
    pub consumer: Consumer,
    /// Messages that wait for their first or a further attempt. For messages that the store feeds this is an
    /// upper bound, since their sequences are counted.
    pub pending: u64,
    /// Messages in flight.
    pub in_flight: u64,
    /// Everything up to this sequence is processed, has expired or is a dead letter.
    pub processed_through: u64,
    /// How long ago the oldest message after `processed_through` was logged; `None` if no message waits.
    pub oldest_age: Option<TimeDelta>,
    /// The most attempts of a message.
    pub max_deliver: u32,
    /// Dead letters that are kept for it.
    pub dead_letters: u64,
}

impl ConsumerStatus {
    /// Whether the consumer delivers to a webhook.
    #[must_use]
    pub fn is_webhook(&self) -> bool {
        self.consumer.name.starts_with(WEBHOOK_PREFIX)
    }
}

/// Why a consumer could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No consumer has this name.
    #[error("there is no consumer of this name")]
    Unknown,
    /// The requested position is beyond the next sequence of the log, which is the value.
    #[error("from must be at most {0}, the next sequence of the log")]
    BeyondHead(u64),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bus does not answer.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// What lies between a consumer and the end of the log.
struct Ahead {
    pending: u64,
    in_flight: u64,
    through: u64,
}

impl Processor {
    /// Appends the counters of the consumers that run here, in Prometheus's text format.
    pub fn write_metrics(&self, text: &mut String) {
        self.metrics.write(text);
    }

    /// The status of all consumers, in order of name.
    ///
    /// # Errors
    /// Store or bus do not answer.
    pub async fn consumers(&self) -> Result<Vec<ConsumerStatus>, ControlError> {
        self.consumers_where(|_| true).await
    }

    /// The status of all consumers except those of webhooks, in order of name. Makes no requests to the bus
    /// for webhooks.
    ///
    /// # Errors
    /// Store or bus do not answer.
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

    /// The status of one consumer.
    ///
    /// # Errors
    /// [`ControlError::Unknown`], or store or bus do not answer.
    pub async fn consumer(&self, name: &str) -> Result<ConsumerStatus, ControlError> {
        let mut found = self.consumers_where(|other| other == name).await?;
        found.pop().ok_or(ControlError::Unknown)
    }

    /// Pauses a consumer for a reason, or resumes it (`None`). Takes effect in this process before it
    /// returns, and in others within [`crate::limits::CONSUMERS_POLL`].
    ///
    /// # Errors
    /// [`ControlError::Unknown`], or the store does not answer.
    pub async fn pause(&self, name: &str, reason: Option<&str>) -> Result<(), ControlError> {
        if !self.store.pause_consumer(name, reason).await? {
            return Err(ControlError::Unknown);
        }
        self.directory.refresh_and_wait().await;
        Ok(())
    }

    /// Moves a consumer so that it processes everything from sequence `from` on.
    ///
    /// # Errors
    /// Any [`ControlError`].
    pub async fn reset(&self, name: &str, from: u64) -> Result<(), ControlError> {
        let next = self.head().await? + 1;
        if from > next {
            return Err(ControlError::BeyondHead(next));
        }
        loop {
            let consumer = self.store.consumer(name).await?.ok_or(ControlError::Unknown)?;
            let position = replay_position(&consumer, from, self.delivery_source().await?);
            if self.store.move_consumer(name, consumer.generation, &position).await? {
                tracing::info!(consumer = name, from, "moved: it processes from there on");
                self.directory.refresh();
                return Ok(());
            }
        }
    }

    /// The last sequence of the log, according to bus and store.
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
                // The store is read after the bus: so a message that moves from bus to store in between is
                // counted twice and not missed.
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
            oldest_age: if behind { self.age_after(ahead.through).await } else { None },
            max_deliver: self.policies.lock().get(&consumer.name).unwrap_or(&policy).max_deliver,
            dead_letters: dead,
            consumer,
        })
    }

    /// The consumer as it will be once its first handler has begun, if that handler is in this process and
    /// has not begun yet.
    async fn about_to_begin(&self, consumer: Consumer) -> Result<Consumer, ControlError> {
        if consumer.handled || !self.handled.lock().contains(&consumer.name) {
            return Ok(consumer);
        }
        Ok(match required_position(&consumer, self.delivery_source().await?) {
            Some(Position { floor, feed, handled }) => {
                Consumer { floor, feed, handled, ..consumer }
            }
            None => consumer,
        })
    }

    /// How long ago the first message after a sequence was logged; `None` if neither store nor bus has it.
    async fn age_after(&self, seq: u64) -> Option<TimeDelta> {
        let rows = self.store.originals(seq + 1, 1).await.ok()?;
        let logged_at = match rows.first() {
            Some(row) => row.logged_at,
            None => self.bus.get(seq + 1).await.ok()??.logged_at,
        };
        Some(self.clock.now() - logged_at)
    }
}

/// What is ahead of a consumer whose messages come from its durable consumer, which may not exist yet.
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

/// What is ahead of a consumer that the store feeds; on NATS also what the stream has after the feed.
fn fed(consumer: &Consumer, head: u64) -> Ahead {
    let feed = consumer.feed.clone().unwrap_or_default();
    let begun = (feed.top - feed.floor).saturating_sub(feed.done.len() as u64);
    Ahead { pending: head.saturating_sub(feed.top), in_flight: begun, through: feed.floor }
}
