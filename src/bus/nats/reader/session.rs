//! One session of a reader: an ephemeral consumer, read in order.
//!
//! Invariant: the consumer's deliveries are numbered, and come without a gap; otherwise the session ends with
//! a [`PullError`]. The number of open pulls bounds the memory for entries: at most one and a half times
//! [`NATS_PULL_MESSAGES`], and twice [`crate::limits::NATS_PULL_BYTES`].

use async_nats::Message;
use tokio::time::Instant;

use super::context::ReaderContext;
use crate::bus::nats::entry::{self, Delivery};
use crate::bus::nats::pull::{PullError, PullSession, Pulled};
use crate::limits::{NATS_PULL_MESSAGES, NATS_READER_CHECK};
use crate::message::LogEntry;

/// What [`Session::wait`] returns.
pub(super) enum Event {
    /// The next entry.
    Entry(LogEntry),
    /// A heartbeat: the consumer exists and the server answers.
    Heartbeat,
    /// No entry for [`NATS_READER_CHECK`].
    Idle,
    /// The next entry is larger than a pull may be.
    TooLong,
}

/// A consumer that is being read.
pub(super) struct Session {
    pull: PullSession,
    /// The consumer's number of the last delivery.
    delivered: u64,
    /// When the last entry came, or when [`Event::Idle`] was last returned.
    checked: Instant,
}

impl Session {
    /// Creates a consumer that starts at `from`.
    pub(super) async fn open(context: &ReaderContext, from: u64) -> Result<Self, PullError> {
        let connection = context.connection.up().await?;
        let consumer = format!("agentbus-{}", uuid::Uuid::new_v4().simple());
        let pull = PullSession::open(connection, &context.stream, &consumer).await?;
        context.requester.create_reader(&context.stream, &consumer, from).await?;
        Ok(Self { pull, delivered: 0, checked: Instant::now() })
    }

    /// Waits for the first event. Cancel safe.
    pub(super) async fn wait(&mut self) -> Result<Event, PullError> {
        if self.should_request() {
            self.pull.request(NATS_PULL_MESSAGES).await?;
        }
        let idle_at = self.checked + NATS_READER_CHECK;
        let Ok(pulled) = tokio::time::timeout_at(idle_at, self.pull.next()).await else {
            self.checked = Instant::now();
            return Ok(Event::Idle);
        };
        let lost = || PullError::Lost("deliveries were lost".to_owned());
        match pulled? {
            Pulled::Message(message, delivery) if self.is_next(&delivery) => {
                Ok(Event::Entry(self.entry(message, delivery)))
            }
            Pulled::Message(..) => Err(lost()),
            Pulled::Heartbeat(sent) if sent.is_some_and(|sent| sent > self.delivered) => {
                Err(lost())
            }
            Pulled::Ended { too_long: true } => Ok(Event::TooLong),
            Pulled::Heartbeat(_) | Pulled::Ended { .. } => Ok(Event::Heartbeat),
        }
    }

    /// The next entry, if it has already arrived and no new pull is due. Everything else is left to
    /// [`Session::wait`].
    pub(super) fn ready_entry(&mut self) -> Option<LogEntry> {
        if self.should_request() {
            return None;
        }
        let expected = self.delivered + 1;
        let (message, delivery) =
            self.pull.next_ready(|delivery| delivery.consumer_seq == expected)?;
        Some(self.entry(message, delivery))
    }

    /// Whether less than half of a pull is outstanding.
    fn should_request(&self) -> bool {
        self.pull.outstanding() <= NATS_PULL_MESSAGES / 2
    }

    fn is_next(&self, delivery: &Delivery) -> bool {
        delivery.consumer_seq == self.delivered + 1
    }

    fn entry(&mut self, message: Message, delivery: Delivery) -> LogEntry {
        self.delivered = delivery.consumer_seq;
        self.checked = Instant::now();
        entry::from_delivery(message, delivery)
    }
}
