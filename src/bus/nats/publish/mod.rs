//! Publishing: the messages of a call in order, all of them in flight at once.
//!
//! Each message is sent by itself ([`singles`]). With `NATS_SYNC_ALWAYS`, calls that wait at the same time share atomic
//! batches ([`batcher`]). Invariant: an outcome is [`PublishError::NotSent`] only when the message is surely not in the
//! log, and sequences of new messages of a call rise in input order. When a batch is refused or not sent, its calls send
//! their messages by themselves under the same ids: one bad message fails none of its neighbours.

mod acks;
mod batch;
mod batch_queue;
mod batcher;
mod originals;
mod outcome;
mod publishable;
mod publisher;
mod singles;

pub(super) use outcome::Failure;
pub(super) use publishable::Publishable;
pub(super) use publisher::Publisher;
