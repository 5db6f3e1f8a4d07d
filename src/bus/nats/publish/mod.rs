//! Publishing: the messages of one call are sent in order, all of them in flight at the same time.
//!
//! By default each message is sent by itself ([`singles`]). With `NATS_SYNC_ALWAYS`, calls that wait at the
//! same time share atomic batches ([`batcher`]). Invariant: [`PublishError::NotSent`] is returned only if the
//! message is certainly not in the log, and the sequences of a call's new messages rise in input order. If a
//! batch is refused or not sent, the messages of its calls are sent by themselves with the same ids. So one
//! invalid message does not fail the other calls.

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
