//! What the store keeps for background processing: where each consumer stands,
//! messages set aside for another attempt, dead letters, webhooks.
//!
//! Invariants: a message set aside is run by one worker at a time, by a lease
//! whose start counts as an attempt; it leaves this table in one transaction,
//! either done or as a dead letter. A change of a consumer's place raises its
//! generation, which fences whoever still works from the place before.

pub(super) mod kept;
pub(super) mod unconfirmed;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;
use uuid::Uuid;

use super::StoreError;

/// One attempt that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which attempt it was, from 1 on; starts anew after a redrive.
    pub attempt: u32,
    /// When it ended.
    pub at: DateTime<Utc>,
    /// Why it failed, cut to [`crate::limits::MAX_ATTEMPT_ERROR`] bytes.
    pub error: String,
}

/// A range of the log that is fed to a consumer from the store, because its bus
/// does not hold it (NATS) or always (memory). Everything up to `floor` is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    /// Everything up to here is done with.
    pub floor: u64,
    /// Handed out, at most up to here: what lies between and is not in `done`
    /// may have been run once by a process that died.
    pub top: u64,
    /// Last sequence to feed; `None` on the memory bus: without end.
    pub to: Option<u64>,
    /// Sequences between `floor` and `top` that are done with, rising.
    pub done: Vec<u64>,
}

impl Feed {
    /// Whether a sequence is known as done with.
    pub(in crate::store) fn is_done(&self, seq: u64) -> bool {
        seq <= self.floor || self.done.binary_search(&seq).is_ok()
    }

    /// Adds what is done with.
    pub(in crate::store) fn add_done(&mut self, seqs: impl Iterator<Item = u64>) {
        self.done.extend(seqs);
        self.done.sort_unstable();
        self.done.dedup();
    }
}

/// The right to feed a consumer: what its holder writes counts while no other took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedClaim {
    /// The placing of the consumer that is fed.
    pub generation: i64,
    /// The process that feeds.
    pub owner: Uuid,
}

/// A durable consumer as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// `agent-processor`, or `webhook-<id>`.
    pub name: String,
    /// Subject pattern of what it wants.
    pub filter: String,
    /// Rises whenever its place is changed by other than progress.
    pub generation: i64,
    /// Whether a handler was ever attached. Until then nothing is handed out, and
    /// the first handler begins with all that is kept.
    pub handled: bool,
    /// On NATS: everything up to here that the stream delivers is done with.
    pub floor: u64,
    /// What is fed from the store, if anything is.
    pub feed: Option<Feed>,
    /// Why nothing is handed out; `None` while it runs.
    pub paused: Option<String>,
    /// Totals since it was made.
    pub totals: Totals,
    /// Messages set aside now: waiting for another attempt, or at it.
    pub set_aside: u64,
    /// Of these, those leased now.
    pub retrying: u64,
    /// Sequence of the oldest message set aside.
    pub oldest_set_aside: Option<u64>,
}

/// What a consumer has done, in all or since the last time it was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages done with success.
    pub processed: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Messages set aside for another attempt.
    pub redelivered: u64,
    /// Messages skipped because they had expired.
    pub expired: u64,
    /// Time spent in handlers, in microseconds.
    pub busy_us: u64,
}

/// Where to put a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// See [`Consumer::floor`].
    pub floor: u64,
    /// See [`Consumer::feed`].
    pub feed: Option<Feed>,
    /// See [`Consumer::handled`].
    pub handled: bool,
}

/// A message to be set aside: kept with its content, so that an attempt needs
/// neither stream nor history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Its sequence: its identity within the consumer.
    pub seq: u64,
    /// The subject it was published on.
    pub subject: String,
    /// The envelope without `seq`.
    pub body: Bytes,
    /// Attempts that count against `max_deliver` already.
    pub attempt: u32,
    /// Those of them whose error is known.
    pub attempts: Vec<Attempt>,
    /// From now until the next attempt.
    pub delay: Duration,
}

/// What messages are leased on.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct LeaseTerms {
    pub lease: Uuid,
    pub limit: usize,
    pub max_deliver: u32,
    pub lease_for: Duration,
}

/// A message set aside and now leased for one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedMessage {
    /// The message.
    pub seq: u64,
    /// Its subject.
    pub subject: String,
    /// Its envelope without `seq`.
    pub body: Bytes,
    /// The number of this attempt, from 1 on.
    pub attempt: u32,
    /// Errors of earlier ones.
    pub attempts: Vec<Attempt>,
    /// What this lease is settled by; another's after it ran out.
    pub lease: Uuid,
}

/// What became of a leased message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// Done: forget it.
    Done,
    /// Failed: again after a while.
    Retry {
        /// The failure.
        attempt: Attempt,
        /// From now on.
        delay: Duration,
    },
    /// Not run to its end by no fault of its own (a shutdown): the attempt does not count.
    Released,
    /// Given up: a dead letter.
    Dead {
        /// The last failure, if this attempt had one.
        attempt: Option<Attempt>,
        /// Why it is given up.
        reason: String,
    },
}

/// A verdict on one lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseOutcome {
    /// The message.
    pub seq: u64,
    /// The lease; a verdict on one that ran out changes nothing.
    pub lease: Uuid,
    /// What became of it.
    pub outcome: AttemptOutcome,
}

/// What a dead letter came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeadLetterKind {
    /// A message of the log, from a consumer.
    Message,
    /// A job of a work queue.
    Job,
}

impl DeadLetterKind {
    /// The name on the wire and in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Job => "job",
        }
    }
}

/// What could not be processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// UUIDv7: rises with time.
    pub id: Uuid,
    /// Message or job.
    pub kind: DeadLetterKind,
    /// The consumer's or the queue's name.
    pub source: String,
    /// The message's sequence, or the job's in its queue; unique within kind and source.
    pub seq: u64,
    /// The subject of a message; `<queue>.<priority>` of a job.
    pub subject: String,
    /// The envelope without `seq`, or the job's JSON.
    pub body: Bytes,
    /// Every failed attempt that is known.
    pub attempts: Vec<Attempt>,
    /// Why it was given up.
    pub reason: String,
    /// When.
    pub died_at: DateTime<Utc>,
}

/// Which dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterQuery {
    /// Only these kinds.
    pub kind: Option<DeadLetterKind>,
    /// Only of this consumer or queue.
    pub source: Option<String>,
    /// Only those with a higher id.
    pub after: Option<Uuid>,
    /// At most so many.
    pub limit: usize,
}

/// One page of dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterPage {
    /// By rising id.
    pub letters: Vec<DeadLetter>,
    /// Whether there are more beyond the last one.
    pub more: bool,
}

/// A webhook (contract, section 10). Its consumer is `webhook-<id>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// UUIDv7.
    pub id: Uuid,
    /// Where deliveries go.
    pub url: String,
    /// Subject pattern.
    pub filter: String,
    /// `whsec_…`, as Standard Webhooks has it.
    pub secret: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Deliveries that failed since the last success.
    pub failures: u32,
    /// When the run of failures began; `None` while all is well.
    pub failing_since: Option<DateTime<Utc>>,
    /// The last delivery that succeeded.
    pub last_success: Option<DateTime<Utc>>,
    /// What the last failure was.
    pub last_error: Option<String>,
}

impl fmt::Debug for Webhook {
    /// All but the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Webhook");
        shown.field("id", &self.id).field("url", &self.url).field("filter", &self.filter);
        shown.field("created_at", &self.created_at).field("failures", &self.failures);
        shown.field("failing_since", &self.failing_since).field("last_success", &self.last_success);
        shown.field("last_error", &self.last_error).finish_non_exhaustive()
    }
}

/// A consumer that is held where it is, until this is dropped.
pub trait RowLock: Send {}

/// The store's part in background processing. Every method may be repeated
/// after [`StoreError::Unavailable`] without harm: at worst totals and runs of
/// failures count something twice.
///
/// Errors and reasons are cut to [`crate::limits::MAX_ATTEMPT_ERROR`] bytes, and
/// U+0000 in them is replaced.
#[async_trait]
pub trait WorkStore: Send + Sync {
    /// A consumer by name.
    async fn consumer(&self, name: &str) -> Result<Option<Consumer>, StoreError>;

    /// All of them, by name.
    async fn consumers(&self) -> Result<Vec<Consumer>, StoreError>;

    /// Makes a consumer unless there is one of that name; answers what is there.
    async fn create_consumer(
        &self,
        name: &str,
        filter: &str,
        place: &Position,
    ) -> Result<Consumer, StoreError>;

    /// Puts a consumer elsewhere if it is still at `generation`, which rises, and
    /// forgets its feed's holder. `false` when it was moved meanwhile.
    async fn move_consumer(
        &self,
        name: &str,
        generation: i64,
        place: &Position,
    ) -> Result<bool, StoreError>;

    /// Holds a consumer that is still at `generation`, for what one process at a time
    /// may do: while it is held no other process holds, moves or forgets it. Waits for
    /// another's hold, which ends after [`crate::limits::CONSUMER_LOCK_TIMEOUT`] at the latest,
    /// or with its process. `None` when it was moved or is gone.
    async fn lock_consumer(
        &self,
        name: &str,
        generation: i64,
    ) -> Result<Option<Box<dyn RowLock>>, StoreError>;

    /// Pauses with a reason, or resumes with `None`. `false`: there is no such consumer.
    async fn pause_consumer(&self, name: &str, reason: Option<&str>) -> Result<bool, StoreError>;

    /// Forgets a consumer and what it set aside; its dead letters stay. For a
    /// consumer that is gone nothing can be set aside.
    async fn delete_consumer(&self, name: &str) -> Result<bool, StoreError>;

    /// Raises [`Consumer::floor`] at this generation; a lower one changes nothing.
    async fn raise_floor(&self, name: &str, generation: i64, floor: u64) -> Result<(), StoreError>;

    /// Takes or prolongs the right to feed from the store: one process at a time.
    /// `None` while another holds it, when nothing is to be fed, or at another generation.
    async fn claim_feed(
        &self,
        name: &str,
        generation: i64,
        owner: Uuid,
        lease_for: Duration,
    ) -> Result<Option<Feed>, StoreError>;

    /// Writes a feed's progress and prolongs the claim. What is done stays done, though
    /// an earlier state be written late. A feed whose floor reached its `to` is removed. [`StoreError::Fenced`] when the claim or the generation is another.
    async fn save_feed(
        &self,
        name: &str,
        generation: i64,
        owner: Uuid,
        lease_for: Duration,
        feed: &Feed,
    ) -> Result<(), StoreError>;

    /// Adds to a consumer's totals.
    async fn add_totals(&self, name: &str, more: &Totals) -> Result<(), StoreError>;

    /// Sets messages aside for another attempt. One that is there already, or is
    /// a dead letter of this consumer, stays as it is.
    async fn set_aside(&self, consumer: &str, messages: &[SetAside]) -> Result<(), StoreError>;

    /// Takes messages out of a feed, set aside or dead: in the transaction that keeps one
    /// its feed knows it as done, and one that is done already changes nothing. So
    /// nothing a feed handed out is ever set aside twice, whatever dies in between.
    /// [`StoreError::Fenced`] when the claim is another: its holder has the messages.
    async fn leave_feed(
        &self,
        name: &str,
        claim: FeedClaim,
        aside: &[SetAside],
        dead: &[DeadLetter],
    ) -> Result<(), StoreError>;

    /// Leases due messages for an attempt each, those that wait longest first; at
    /// most `limit`, and fewer when they are large. One that has had `max_deliver`
    /// attempts, the last of which may have run out, becomes a dead letter instead.
    async fn lease_due(
        &self,
        consumer: &str,
        limit: usize,
        max_deliver: u32,
        lease_for: Duration,
    ) -> Result<Vec<LeasedMessage>, StoreError>;

    /// Time until something will be due, zero when it is; `None` when nothing is
    /// set aside. A leased message is due when its lease runs out.
    async fn next_due(&self, consumer: &str) -> Result<Option<Duration>, StoreError>;

    /// Prolongs leases that nobody else has taken, from now on.
    async fn extend_leases(
        &self,
        consumer: &str,
        leases: &[(u64, Uuid)],
        lease_for: Duration,
    ) -> Result<(), StoreError>;

    /// Ends leases that nobody else has taken, though they may have run out; each
    /// message that dies becomes a dead letter in the same transaction.
    async fn settle(&self, consumer: &str, settled: &[LeaseOutcome]) -> Result<(), StoreError>;

    /// Keeps dead letters. One of the same kind, source and sequence stays as it
    /// is; a message is set aside no longer.
    async fn add_dead_letters(&self, letters: &[DeadLetter]) -> Result<(), StoreError>;

    /// A page of dead letters, by rising id. Shorter than its limit, with `more` set,
    /// when its bodies reach [`crate::limits::MAX_PAGE_BYTES`]; never empty then.
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<DeadLetterPage, StoreError>;

    /// One of them.
    async fn dead_letter(&self, id: Uuid) -> Result<Option<DeadLetter>, StoreError>;

    /// How many there are, by kind and source.
    async fn dead_letter_counts(&self) -> Result<Vec<(DeadLetterKind, String, u64)>, StoreError>;

    /// Gives a message's dead letter back to its consumer: in one transaction it is
    /// set aside, due now, with no attempt counted and its errors kept. `false`
    /// when there is no such letter of a message, or its consumer is gone.
    async fn redrive_message(&self, id: Uuid) -> Result<bool, StoreError> {
        Ok(!self.redrive_messages(&[id]).await?.is_empty())
    }

    /// The same for many at once. Answers the ids of those given back.
    async fn redrive_messages(&self, ids: &[Uuid]) -> Result<Vec<Uuid>, StoreError>;

    /// Forgets a dead letter.
    async fn discard_dead_letter(&self, id: Uuid) -> Result<bool, StoreError>;

    /// Keeps a webhook, unless there are `most` others; whether it is kept.
    async fn create_webhook(&self, webhook: &Webhook, most: usize) -> Result<bool, StoreError>;

    /// All webhooks, by id.
    async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError>;

    /// Records how a delivery went: `None` is success, and ends the run of failures.
    /// Answers the webhook as it is then.
    async fn webhook_delivered(
        &self,
        id: Uuid,
        error: Option<&str>,
    ) -> Result<Option<Webhook>, StoreError>;

    /// Ends the run of failures without a success: somebody has looked after it.
    async fn webhook_resumed(&self, id: Uuid) -> Result<bool, StoreError>;

    /// Forgets a webhook (not its consumer).
    async fn delete_webhook(&self, id: Uuid) -> Result<bool, StoreError>;
}
