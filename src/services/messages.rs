//! Publishing: one message, many, or a request whose reply is awaited (contract, sections 3 and 9).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::replies::ReplyWaiter;
use super::{Drain, Error, ErrorKind};
use crate::access::Principal;
use crate::broadcast::Broadcaster;
use crate::bus::PublishError;
pub use crate::ingest::{AckLevel, Receipt};
use crate::ingest::{Ingest, IngestError};
use crate::limits::PUBLISH_DEADLINE;
use crate::message::{Draft, Outgoing};
use crate::store::Store;

/// A request and the first reply to it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The request's sequence and id.
    pub receipt: Receipt,
    /// The request's envelope, without `seq`.
    pub request: Bytes,
    /// The reply's whole envelope.
    pub reply: Vec<u8>,
}

/// Publishes messages.
pub struct Messages {
    pub(super) ingest: Arc<Ingest>,
    pub(super) store: Arc<dyn Store>,
    pub(super) broadcaster: Arc<Broadcaster>,
    pub(super) drain: Drain,
}

impl Messages {
    /// Publishes one message.
    ///
    /// # Errors
    /// Too large, `idempotency_conflict`, `bus_unavailable`, `store_behind`.
    pub async fn publish(
        &self,
        principal: &Principal,
        draft: &Draft,
        level: AckLevel,
    ) -> Result<Receipt, Error> {
        let id = draft.id().unwrap_or_else(Uuid::now_v7);
        Ok(self.ingest.publish_one(principal, draft, id, level).await?)
    }

    /// Publishes messages in order; returns a result for each, in the same order.
    pub async fn publish_all(
        &self,
        principal: &Principal,
        drafts: &[Draft],
        level: AckLevel,
    ) -> Vec<Result<Receipt, Error>> {
        let results = self.ingest.publish(principal, drafts, level).await;
        results.into_iter().map(|result| result.map_err(Error::from)).collect()
    }

    /// Publishes a message and waits for the first reply to it. When the wait begins, calls `published`
    /// with the bytes of memory that the request uses from then on.
    ///
    /// # Errors
    /// The errors of [`Self::publish`]; `no_reply` if none arrived in time or before the server stopped,
    /// though the message was published.
    pub async fn ask(
        &self,
        principal: &Principal,
        draft: Draft,
        level: AckLevel,
        within: Duration,
        published: impl FnOnce(usize),
    ) -> Result<Exchange, Error> {
        let id = draft.id().unwrap_or_else(Uuid::now_v7);
        // The waiter is registered before the publish, so that no reply is missed.
        let committed = Arc::clone(&self.ingest.committed);
        let waiter =
            ReplyWaiter::register(&self.broadcaster, Arc::clone(&self.store), committed, id);
        let waiter = tokio::time::timeout(PUBLISH_DEADLINE, waiter).await.map_err(|_| {
            let source = PublishError::NotSent("the log cannot be read".to_owned());
            IngestError::Bus { id, source }
        })?;
        let receipt = self.ingest.publish_one(principal, &draft, id, level).await?;
        // Encoded again: the same bytes as in the log.
        let request = Outgoing::encode(&draft, id, receipt.created_at).body;
        drop(draft);
        published(request.len());
        tokio::select! {
            biased;
            reply = waiter.reply(receipt.duplicate) => Ok(Exchange { receipt, request, reply }),
            () = tokio::time::sleep(within) => Err(no_reply(&receipt)),
            () = self.drain.end_of_wait() => Err(no_reply(&receipt)),
        }
    }
}

fn no_reply(receipt: &Receipt) -> Error {
    let text = "the message is in the log, but no reply arrived in time; to wait again, repeat the request with the same id";
    Error::new(ErrorKind::TimedOut, "no_reply", text).at(receipt.id, receipt.seq)
}
