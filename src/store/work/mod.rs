//! What the store holds for background processing: the position of each consumer, messages *set aside* (kept
//! with their content for another attempt), dead letters, webhooks.
//!
//! Invariants: one worker at a time runs a message that is set aside, under a lease whose start counts as an
//! attempt. The message leaves its table, done or as a dead letter, in one transaction. Moving a consumer
//! raises its generation, which fences a process that still works from the former position.
//!
//! Every method may be repeated after [`StoreError::Unavailable`]: at worst, totals and runs of failures
//! count something twice. Errors and reasons are cut to [`crate::limits::MAX_ATTEMPT_ERROR`] bytes, and
//! U+0000 in them is replaced.
//!
//! [`StoreError::Unavailable`]: super::StoreError::Unavailable

pub(super) mod attempts;
pub(super) mod chunks;
pub(super) mod consumers;
pub(super) mod dead_letters;
pub(super) mod feed;
pub(super) mod set_aside;
pub(super) mod unconfirmed;
pub(super) mod webhooks;

pub use attempts::Attempt;
pub use consumers::{Consumer, ConsumerStore, Position, RowLock, Totals};
pub use dead_letters::{
    DeadLetter, DeadLetterKind, DeadLetterPage, DeadLetterQuery, DeadLetterStore,
};
pub use feed::{Feed, FeedClaim, FeedStore};
pub use set_aside::{AttemptOutcome, LeaseOutcome, LeasedMessage, SetAside, SetAsideStore};
pub use webhooks::{Webhook, WebhookStore};

/// The part of a store that background processing uses.
pub trait WorkStore:
    ConsumerStore + FeedStore + SetAsideStore + DeadLetterStore + WebhookStore
{
}

impl<T: ConsumerStore + FeedStore + SetAsideStore + DeadLetterStore + WebhookStore> WorkStore
    for T
{
}
