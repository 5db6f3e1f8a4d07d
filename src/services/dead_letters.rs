//! Dead letters: read, redrive, discard.
//!
//! Invariants: a redrive returns a dead letter to its own source and publishes nothing. One transaction turns
//! the dead letter of a message into a message that is set aside for its consumer, so the message is never
//! lost or in both states. The dead letter of a job is deleted in the transaction that adds the job; on NATS
//! it is deleted after the queue has the job, so a crash in between repeats the job and loses none. A call
//! counts only the dead letters that it has redriven itself.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::audit::Audit;
use super::calls::Call;
use super::{Code, Error};
use crate::access::Principal;
use crate::limits::MAX_PAGE;
use crate::message::{Subject, decode_body};
use crate::queues::{QueueError, Queues};
pub use crate::store::work::{Attempt, DeadLetter, DeadLetterKind, DeadLetterQuery};
use crate::store::{Store, StoreError};

/// A page of dead letters.
#[derive(Clone, Debug)]
pub struct DeadLetterPage {
    /// The dead letters, in ascending order of their ids.
    pub letters: Vec<DeadLetter>,
    /// The `after` of the next page; `None` on the last one.
    pub next: Option<Uuid>,
}

/// The result of a redrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Redriven {
    /// How many dead letters were returned to their source.
    pub redriven: u64,
    /// How many remain dead letters, since their source was deleted or refused them.
    #[serde(skip_serializing_if = "is_zero")]
    pub skipped: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The outcome of redriving one dead letter.
#[derive(Clone, Copy)]
enum Redrive {
    /// The dead letter was returned to its source.
    Done,
    /// There is no dead letter with this id.
    Missing,
    /// The source was deleted; the dead letter stays.
    SourceMissing,
    /// The bus has another job under the id of the redrive; the dead letter stays.
    Taken,
}

/// Reads, redrives and discards the dead letters of a deployment.
pub struct DeadLetters {
    pub(super) store: Arc<dyn Store>,
    pub(super) queues: Arc<dyn Queues>,
    pub(super) audit: Audit,
}

impl DeadLetters {
    /// A page of the dead letters that the caller may read, in ascending order of their ids. A page of a caller that may
    /// not read all looks at a bounded number, and may be short or empty with a `next`.
    ///
    /// # Errors
    /// The caller lacks a grant; the store is unavailable.
    pub async fn page(
        &self,
        principal: &Principal,
        query: &DeadLetterQuery,
    ) -> Result<DeadLetterPage, Error> {
        Call::ListDeadLetters.check(principal)?;
        let page = self.store.dead_letters(query).await?;
        let next = page.letters.last().filter(|_| page.more).map(|letter| letter.id);
        let mut letters = page.letters;
        letters.retain(|letter| may_read(principal, letter));
        Ok(DeadLetterPage { letters, next })
    }

    /// One dead letter by its id.
    ///
    /// # Errors
    /// The caller lacks a grant; the dead letter does not exist; the store is unavailable.
    pub async fn one(&self, principal: &Principal, id: Uuid) -> Result<DeadLetter, Error> {
        Call::ReadDeadLetter.check(principal)?;
        self.readable(principal, id).await?.ok_or_else(Self::missing)
    }

    /// Deletes one dead letter.
    ///
    /// # Errors
    /// The caller lacks a grant; the dead letter does not exist; the store is unavailable.
    pub async fn discard(&self, principal: &Principal, id: Uuid) -> Result<(), Error> {
        Call::DiscardDeadLetter.check(principal)?;
        let is_readable = self.readable(principal, id).await?.is_some();
        if !is_readable || !self.store.discard_dead_letter(id).await? {
            return Err(Self::missing());
        }
        self.audit.done(principal, "dead_letter.discard", &id.to_string(), json!({})).await;
        Ok(())
    }

    /// Returns one dead letter to its source.
    ///
    /// # Errors
    /// The caller lacks a grant; the dead letter does not exist; `source_gone`; `redrive_conflict`; the store or the
    /// queue is unavailable.
    pub async fn redrive(&self, principal: &Principal, id: Uuid) -> Result<Redriven, Error> {
        Call::RedriveDeadLetter.check(principal)?;
        let conflict = |code, text| Err(Error::new(code, text));
        match self.redrive_one(principal, id).await? {
            Redrive::Done => {
                let target = id.to_string();
                self.audit.done(principal, "dead_letter.redrive", &target, json!({})).await;
                Ok(Redriven { redriven: 1, skipped: 0 })
            }
            Redrive::Missing => Err(Self::missing()),
            Redrive::SourceMissing => conflict(
                Code::SourceGone,
                "the consumer, webhook or queue of this dead letter no longer exists",
            ),
            Redrive::Taken => conflict(
                Code::RedriveConflict,
                "the stream of jobs holds another entry under the id of this redrive; it stays a dead letter",
            ),
        }
    }

    async fn readable(
        &self,
        principal: &Principal,
        id: Uuid,
    ) -> Result<Option<DeadLetter>, StoreError> {
        let found = self.store.dead_letter(id).await?;
        Ok(found.filter(|letter| may_read(principal, letter)))
    }

    /// The error for a dead letter that does not exist.
    #[must_use]
    pub fn missing() -> Error {
        Error::not_found("there is no dead letter with this id")
    }

    async fn redrive_one(&self, principal: &Principal, id: Uuid) -> Result<Redrive, Error> {
        let Some(letter) = self.readable(principal, id).await? else {
            return Ok(Redrive::Missing);
        };
        if letter.kind == DeadLetterKind::Job {
            return self.redrive_job(&letter).await.map_err(not_redriven);
        }
        if self.store.redrive_message(id).await? {
            return Ok(Redrive::Done);
        }
        // Another request may have redriven or discarded the dead letter meanwhile.
        let exists = self.store.dead_letter(id).await?.is_some();
        Ok(if exists { Redrive::SourceMissing } else { Redrive::Missing })
    }

    /// Redrives all dead letters that match, page by page; `after` and `limit` of the query are ignored.
    /// Dead letters that are younger than the call stay, since a source that fails at once would be
    /// redriven for ever.
    ///
    /// # Errors
    /// The store or the queue is unavailable. Everything redriven until then stays redriven, and the call
    /// can be repeated.
    pub async fn redrive_all(
        &self,
        principal: &Principal,
        query: &DeadLetterQuery,
    ) -> Result<Redriven, Error> {
        Call::RedriveDeadLetters.check(principal)?;
        let mut done = Redriven::default();
        let result = self.redrive_pages(principal, query, &mut done).await;
        if done.redriven > 0 {
            let target = query.source.as_deref().unwrap_or("*");
            let detail = json!({ "redriven": done.redriven });
            self.audit.done(principal, "dead_letter.redrive", target, detail).await;
        }
        result.map(|()| done)
    }

    async fn redrive_pages(
        &self,
        principal: &Principal,
        query: &DeadLetterQuery,
        done: &mut Redriven,
    ) -> Result<(), Error> {
        let begun = self.store.clock().await?;
        let mut query = DeadLetterQuery { after: None, limit: MAX_PAGE, ..query.clone() };
        let mut sources = Sources { store: &*self.store, known: HashMap::new() };
        loop {
            let page = self.store.dead_letters(&query).await?;
            query.after = page.letters.last().map(|letter| letter.id);
            let (mut letters, is_young) = dead_before(page.letters, begun);
            letters.retain(|letter| may_read(principal, letter));
            let (messages, jobs): (Vec<_>, Vec<_>) =
                letters.into_iter().partition(|letter| letter.kind == DeadLetterKind::Message);
            self.redrive_messages(&messages, &mut sources, done).await?;
            for job in &jobs {
                match self.redrive_job(job).await {
                    Ok(Redrive::Done) => done.redriven += 1,
                    // Another request has redriven or discarded this dead letter.
                    Ok(Redrive::Missing) => {}
                    // A queue that cannot be created again must not stop the others.
                    Ok(Redrive::SourceMissing | Redrive::Taken)
                    | Err(QueueError::TooManyQueues) => {
                        done.skipped += 1;
                    }
                    Err(error) => return Err(not_redriven(error)),
                }
            }
            if !page.more || is_young {
                return Ok(());
            }
        }
    }

    async fn redrive_messages(
        &self,
        letters: &[DeadLetter],
        sources: &mut Sources<'_>,
        done: &mut Redriven,
    ) -> Result<(), StoreError> {
        let mut ids = Vec::with_capacity(letters.len());
        for letter in letters {
            if sources.has(&letter.source).await? {
                ids.push(letter.id);
            } else {
                done.skipped += 1;
            }
        }
        done.redriven += self.store.redrive_messages(&ids).await?.len() as u64;
        Ok(())
    }

    /// Turns a dead letter into a new job of its queue, due now and without attempts.
    async fn redrive_job(&self, letter: &DeadLetter) -> Result<Redrive, QueueError> {
        match self.queues.redrive(letter).await {
            Ok(true) => Ok(Redrive::Done),
            Ok(false) => Ok(Redrive::Missing),
            // The body of the dead letter is not a job, so no queue accepts it.
            Err(QueueError::Undecodable) => Ok(Redrive::SourceMissing),
            Err(QueueError::Conflict { .. }) => Ok(Redrive::Taken),
            Err(error) => Err(error),
        }
    }
}

/// Looks up which consumers exist, each once.
struct Sources<'a> {
    store: &'a dyn Store,
    known: HashMap<String, bool>,
}

impl Sources<'_> {
    async fn has(&mut self, source: &str) -> Result<bool, StoreError> {
        if let Some(exists) = self.known.get(source) {
            return Ok(*exists);
        }
        let exists = self.store.consumer(source).await?.is_some();
        self.known.insert(source.to_owned(), exists);
        Ok(exists)
    }
}

/// Whether the caller may read the message or job of a dead letter.
fn may_read(principal: &Principal, letter: &DeadLetter) -> bool {
    match letter.kind {
        DeadLetterKind::Job => principal.grants().work.allows(&letter.source),
        DeadLetterKind::Message => principal.scope().is_none_or(|scope| {
            let subject = Subject::from_log(letter.subject.clone());
            let body = letter.body.clone();
            scope.allows(&decode_body(letter.seq, subject, body, letter.died_at))
        }),
    }
}

/// The dead letters that were given up before a time, and whether there are none.
fn dead_before(letters: Vec<DeadLetter>, begun: DateTime<Utc>) -> (Vec<DeadLetter>, bool) {
    let mut old = letters;
    old.retain(|letter| letter.died_at <= begun);
    let is_young = old.is_empty();
    (old, is_young)
}

fn not_redriven(error: QueueError) -> Error {
    match error {
        QueueError::Store(_) | QueueError::TooManyQueues => error.into(),
        error => {
            let text = "not every job could be returned to its queue now; repeat the request";
            Error::new(Code::BusUnavailable, text).because(error.to_string())
        }
    }
}
