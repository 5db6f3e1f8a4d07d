//! Publishing: one message, many, or a request whose reply is awaited (contract, sections 3 and 9).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::calls::Call;
use super::replies::{People, ReplyWaiter, Rule};
use super::{Code, Drain, Error, Report};
use crate::access::{Capability, Principal};
use crate::broadcast::Broadcaster;
use crate::bus::PublishError;
pub use crate::ingest::{AckLevel, Receipt};
use crate::ingest::{Ingest, IngestError};
use crate::limits::{PUBLISH_DEADLINE, READ_YOUR_WRITE};
use crate::message::{BodyError, Draft, FieldError, Outgoing, decode};
use crate::schemas::{Active, Mode, Registry, count_violation};
use crate::store::Store;
use crate::yielding::yield_between_items;

/// A request and the first reply to it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The request's sequence and id.
    pub receipt: Receipt,
    /// The request's envelope, without `seq`.
    pub request: Bytes,
    /// The reply's whole envelope.
    pub reply: Vec<u8>,
    /// What the asker should know about the request.
    pub warnings: Vec<Report>,
}

/// A message that was accepted.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Where it is in the log.
    pub receipt: Receipt,
    /// What the sender should know: `schema_violation`.
    pub warnings: Vec<Report>,
}

/// Publishes messages.
pub struct Messages {
    pub(super) ingest: Arc<Ingest>,
    pub(super) store: Arc<dyn Store>,
    pub(super) broadcaster: Arc<Broadcaster>,
    pub(super) people: People,
    pub(super) schemas: Registry,
    pub(super) drain: Drain,
}

impl Messages {
    /// Reads a message that the caller posted. A caller that may write as one sender alone may leave it out.
    ///
    /// # Errors
    /// The text is not JSON, or breaks rules (all of them are reported). Only a caller that may import chooses an id
    /// of UUID version 5, since it could be that of another sender's `Idempotency-Key` (contract, section 11).
    pub fn read(principal: &Principal, json: &[u8]) -> Result<Draft, BodyError> {
        let draft = Draft::parse_of(json, principal.default_sender())?;
        let may_import = principal.grants().can(Capability::Import);
        if draft.id().is_some_and(|id| id.get_version_num() == 5) && !may_import {
            return Err(BodyError::Invalid(vec![FieldError {
                pointer: "/id".to_owned(),
                detail: "is a UUID of version 5, which needs the grant can import".to_owned(),
            }]));
        }
        Ok(draft)
    }

    /// Publishes one message.
    ///
    /// # Errors
    /// The caller lacks a grant or is over a limit; `schema_violation`; too large, `idempotency_conflict`,
    /// `bus_unavailable`, `store_behind`.
    pub async fn publish(
        &self,
        principal: &Principal,
        draft: Draft,
        level: AckLevel,
    ) -> Result<Accepted, Error> {
        let (draft, warnings) = self.admit(principal, draft, patience()).await?;
        let id = draft.id().unwrap_or_else(Uuid::now_v7);
        match self.ingest.publish_one(&draft, id, level).await {
            Ok(receipt) => Ok(Accepted { receipt, warnings }),
            Err(error) => Err(Box::pin(self.shown(principal, error)).await),
        }
    }

    /// Publishes messages in order; returns a result for each, in the same order. Each needs its own grants.
    pub async fn publish_all(
        &self,
        principal: &Principal,
        drafts: Vec<Draft>,
        level: AckLevel,
    ) -> Vec<Result<Accepted, Error>> {
        let mut results = Vec::with_capacity(drafts.len());
        let mut open = Vec::with_capacity(drafts.len());
        let mut all_warnings = Vec::new();
        let (patience, mut reported) = (patience(), 0);
        for (at, draft) in drafts.into_iter().enumerate() {
            yield_between_items(at).await;
            results.push(match self.admit(principal, draft, patience).await {
                Ok((draft, mut warnings)) => {
                    warnings.iter_mut().for_each(|report| report.shorten(&mut reported));
                    open.push(draft);
                    all_warnings.push(warnings);
                    None
                }
                Err(mut error) => {
                    error.report.shorten(&mut reported);
                    Some(Err(error))
                }
            });
        }
        let published = self.ingest.publish(&open, level).await;
        let mut published = published.into_iter().zip(all_warnings);
        for result in results.iter_mut().filter(|result| result.is_none()) {
            *result = match published.next() {
                Some((Ok(receipt), warnings)) => Some(Ok(Accepted { receipt, warnings })),
                Some((Err(error), _)) => Some(Err(Box::pin(self.shown(principal, error)).await)),
                None => None,
            };
        }
        results.into_iter().flatten().collect()
    }

    /// Checks whether the caller may publish the draft, and whether it matches the schema of its type. Returns it with
    /// the warnings about it.
    async fn admit(
        &self,
        principal: &Principal,
        draft: Draft,
        patience: Instant,
    ) -> Result<(Draft, Vec<Report>), Error> {
        let draft = self.permitted(principal, draft)?;
        let warnings = match self.schemas.of(draft.kind(), draft.type_()) {
            None => Vec::new(),
            // Boxed, so that messages without a schema do not carry the size of this future.
            Some(schema) => Box::pin(self.check(&draft, &schema, patience)).await?,
        };
        Ok((draft, warnings))
    }

    /// Checks a draft with a schema; returns the warnings. A message that was accepted before the schema was enforced is
    /// not judged anew: its repeat passes, and ingest finds the first.
    async fn check(
        &self,
        draft: &Draft,
        active: &Active,
        patience: Instant,
    ) -> Result<Vec<Report>, Error> {
        let checked = self.schemas.check(active.schema(), draft.content(), draft.metadata()).await;
        let Err(violation) = checked else { return Ok(Vec::new()) };
        let refusal = Error::schema_violation(violation.errors);
        if active.mode == Mode::Warn {
            count_violation(draft.kind(), draft.type_(), "warned");
            return Ok(vec![*refusal.report]);
        }
        if let Some(id) = draft.id()
            && self.is_repeat(id, patience).await
        {
            return Ok(Vec::new());
        }
        count_violation(draft.kind(), draft.type_(), "refused");
        Err(refusal)
    }

    /// Whether the log has a message with this id. Waits for the store to have all that is in the log now, but no longer
    /// than until `patience`.
    async fn is_repeat(&self, id: Uuid, patience: Instant) -> bool {
        if self.ingest.is_stored(id).await {
            return true;
        }
        let (committed, head) = (&self.ingest.committed, self.broadcaster.head().unwrap_or(0));
        let left = patience.saturating_duration_since(Instant::now());
        committed.through() < head
            && committed.wait_for(head, left).await
            && self.ingest.is_stored(id).await
    }

    /// The draft with the caller's key, if the caller may publish it.
    fn permitted(&self, principal: &Principal, draft: Draft) -> Result<Draft, Error> {
        Call::Publish.check(principal)?;
        principal.needs_name(draft.sender_id())?;
        principal.needs_publish(draft.subject().as_str())?;
        if let Some(meter) = principal.meter() {
            meter.publish(1, draft.bytes(), self.ingest.clock.now())?;
        }
        Ok(draft.posted_with(principal.key_id()))
    }

    /// The error for a message that was not published. A conflict names the sequence of the other message only to a
    /// caller that may read it.
    async fn shown(&self, principal: &Principal, error: IngestError) -> Error {
        let IngestError::Conflict { id, seq } = error else { return error.into() };
        if self.may_read(principal, seq).await {
            return error.into();
        }
        let mut hidden =
            Error::new(Code::IdempotencyConflict, format!("id {id} was used for another message"));
        hidden.report.id = Some(id);
        hidden
    }

    async fn may_read(&self, principal: &Principal, seq: u64) -> bool {
        let Some(scope) = principal.scope() else { return true };
        let found = self.store.original(seq).await.ok().flatten();
        found.is_some_and(|original| scope.allows(&decode(original.into_log_entry(), "")))
    }

    /// Publishes a message and waits for the first reply to it. When the wait begins, calls `published`
    /// with the bytes of memory that the request uses from then on.
    ///
    /// # Errors
    /// The errors of [`Self::publish`]; `no_reply` if none arrived in time or before the server stopped, and
    /// `unauthenticated` if the principal has ended, though the message was published.
    pub async fn ask(
        &self,
        principal: &Principal,
        draft: Draft,
        level: AckLevel,
        within: Duration,
        published: impl FnOnce(usize),
    ) -> Result<Exchange, Error> {
        let (draft, warnings) = self.admit(principal, draft, patience()).await?;
        let id = draft.id().unwrap_or_else(Uuid::now_v7);
        // The waiter is registered before the publish, so that no reply is missed.
        let committed = Arc::clone(&self.ingest.committed);
        let rule = Rule::new(id, draft.recipient_id(), principal.scope(), &self.people);
        let waiter =
            ReplyWaiter::register(&self.broadcaster, Arc::clone(&self.store), committed, rule);
        let waiter = tokio::time::timeout(PUBLISH_DEADLINE, waiter).await.map_err(|_| {
            let source = PublishError::NotSent("the log cannot be read".to_owned());
            IngestError::Bus { id, source }
        })?;
        let receipt = self.ingest.publish_one(&draft, id, level).await?;
        // Encoded again: the same bytes as in the log.
        let request = Outgoing::encode(&draft, id, receipt.created_at).body;
        drop(draft);
        published(request.len());
        tokio::select! {
            biased;
            reason = principal.ended() => Err(Error::ended(reason).at(receipt.id, receipt.seq)),
            reply = waiter.reply(receipt.duplicate) => {
                Ok(Exchange { receipt, request, reply, warnings })
            },
            () = tokio::time::sleep(within) => Err(no_reply(&receipt)),
            () = self.drain.end_of_wait() => Err(no_reply(&receipt)),
        }
    }
}

/// Until when a request waits for the store to have what is in the log.
fn patience() -> Instant {
    Instant::now() + READ_YOUR_WRITE
}

fn no_reply(receipt: &Receipt) -> Error {
    let text = "the message is in the log, but no reply arrived in time; to wait again, repeat the request with the same id";
    Error::new(Code::NoReply, text).at(receipt.id, receipt.seq)
}
