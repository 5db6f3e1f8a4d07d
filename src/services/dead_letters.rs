//! Dead letters: read, redriven to their source, discarded.
//!
//! Invariants: a redrive goes to the letter's own source and publishes nothing. A message's letter becomes a message
//! set aside in one transaction, so it is one or the other. A job's letter is removed in the transaction that queues
//! the job, or, on NATS, after its queue has the job: a crash in between repeats the job and loses none. What counts
//! as redriven was put into its queue by this call alone.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::{Error, ErrorKind};
use crate::access::Principal;
use crate::limits::MAX_PAGE;
use crate::queues::{QueueError, Queues};
pub use crate::store::work::{Attempt, DeadLetter, DeadLetterKind, DeadLetterQuery};
use crate::store::{Store, StoreError};

/// A page of dead letters.
#[derive(Clone, Debug)]
pub struct DeadLetterPage {
    /// By rising id.
    pub letters: Vec<DeadLetter>,
    /// The `after` of the next page; `None` on the last one.
    pub next: Option<Uuid>,
}

/// The result of redriving many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Redriven {
    /// Put back to their source.
    pub redriven: u64,
    /// Left dead, since their source is gone or does not take them.
    #[serde(skip_serializing_if = "is_zero")]
    pub skipped: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The result of redriving one.
#[derive(Clone, Copy)]
enum Redrive {
    /// Its source has it again.
    Done,
    /// There is no such letter.
    Missing,
    /// Its source is gone; it stays a dead letter.
    SourceGone,
    /// The bus holds another job under the id of the redrive; it stays a dead letter.
    Taken,
}

/// The dead letters of a deployment.
pub struct DeadLetters {
    store: Arc<dyn Store>,
    queues: Arc<dyn Queues>,
}

impl DeadLetters {
    pub(super) fn new(store: Arc<dyn Store>, queues: Arc<dyn Queues>) -> Self {
        Self { store, queues }
    }

    /// A page of them.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn page(
        &self,
        _: &Principal,
        query: &DeadLetterQuery,
    ) -> Result<DeadLetterPage, Error> {
        let page = self.store.dead_letters(query).await?;
        let next = page.letters.last().filter(|_| page.more).map(|letter| letter.id);
        Ok(DeadLetterPage { letters: page.letters, next })
    }

    /// One of them.
    ///
    /// # Errors
    /// Not found; the store cannot be asked.
    pub async fn one(&self, _: &Principal, id: Uuid) -> Result<DeadLetter, Error> {
        self.store.dead_letter(id).await?.ok_or_else(Self::missing)
    }

    /// Removes one for good.
    ///
    /// # Errors
    /// Not found; the store cannot be asked.
    pub async fn discard(&self, _: &Principal, id: Uuid) -> Result<(), Error> {
        if self.store.discard_dead_letter(id).await? { Ok(()) } else { Err(Self::missing()) }
    }

    /// Puts one back to its source.
    ///
    /// # Errors
    /// Not found; `source_gone`, `redrive_conflict`; store or queue cannot be asked.
    pub async fn redrive(&self, _: &Principal, id: Uuid) -> Result<Redriven, Error> {
        let conflict = |code, text| Err(Error::new(ErrorKind::Conflict, code, text));
        match self.redrive_one(id).await? {
            Redrive::Done => Ok(Redriven { redriven: 1, skipped: 0 }),
            Redrive::Missing => Err(Self::missing()),
            Redrive::SourceGone => conflict(
                "source_gone",
                "the consumer, webhook or queue of this dead letter is no more",
            ),
            Redrive::Taken => conflict(
                "redrive_conflict",
                "the stream of jobs holds another entry under the id of this redrive; it stays a dead letter",
            ),
        }
    }

    /// There is no such dead letter.
    #[must_use]
    pub fn missing() -> Error {
        Error::not_found("there is no dead letter with this id")
    }

    async fn redrive_one(&self, id: Uuid) -> Result<Redrive, Error> {
        let Some(letter) = self.store.dead_letter(id).await? else { return Ok(Redrive::Missing) };
        if letter.kind == DeadLetterKind::Job {
            return self.put_back(&letter).await.map_err(not_put_back);
        }
        if self.store.redrive_message(id).await? {
            return Ok(Redrive::Done);
        }
        // Another request may have redriven or discarded it meanwhile.
        let exists = self.store.dead_letter(id).await?.is_some();
        Ok(if exists { Redrive::SourceGone } else { Redrive::Missing })
    }

    /// Puts back all that match, page by page; the query's own `after` and `limit` do not count. What dies after
    /// the call began stays, else a source that fails at once would be redriven for ever.
    ///
    /// # Errors
    /// Store or queue cannot be asked: what was put back until then stays so, and the call can be repeated.
    pub async fn redrive_all(
        &self,
        _: &Principal,
        query: &DeadLetterQuery,
    ) -> Result<Redriven, Error> {
        let begun = self.store.clock().await?;
        let mut query = DeadLetterQuery { after: None, limit: MAX_PAGE, ..query.clone() };
        let mut done = Redriven::default();
        let mut sources = Sources { store: &*self.store, known: HashMap::new() };
        loop {
            let page = self.store.dead_letters(&query).await?;
            query.after = page.letters.last().map(|letter| letter.id);
            let (messages, jobs) = dead_before(page.letters, begun);
            if messages.is_empty() && jobs.is_empty() {
                return Ok(done);
            }
            self.redrive_messages(&messages, &mut sources, &mut done).await?;
            for job in &jobs {
                match self.put_back(job).await {
                    Ok(Redrive::Done) => done.redriven += 1,
                    // Another request redrives or discards it.
                    Ok(Redrive::Missing) => {}
                    // A queue that cannot be made again holds up no others.
                    Ok(Redrive::SourceGone | Redrive::Taken) | Err(QueueError::TooManyQueues) => {
                        done.skipped += 1;
                    }
                    Err(error) => return Err(not_put_back(error)),
                }
            }
            if !page.more {
                return Ok(done);
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

    /// Makes a job of its queue from a letter: due now, no attempt counted.
    async fn put_back(&self, letter: &DeadLetter) -> Result<Redrive, QueueError> {
        match self.queues.redrive(letter).await {
            Ok(true) => Ok(Redrive::Done),
            Ok(false) => Ok(Redrive::Missing),
            // No queue takes what is no job.
            Err(QueueError::Undecodable) => Ok(Redrive::SourceGone),
            Err(QueueError::Conflict { .. }) => Ok(Redrive::Taken),
            Err(error) => Err(error),
        }
    }
}

/// The consumers that exist, each looked up once.
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

/// Those that died before a time: messages, and jobs.
fn dead_before(
    letters: Vec<DeadLetter>,
    begun: DateTime<Utc>,
) -> (Vec<DeadLetter>, Vec<DeadLetter>) {
    letters
        .into_iter()
        .filter(|letter| letter.died_at <= begun)
        .partition(|letter| letter.kind == DeadLetterKind::Message)
}

fn not_put_back(error: QueueError) -> Error {
    match error {
        QueueError::Store(_) | QueueError::TooManyQueues => error.into(),
        error => {
            let text = "not every job could be given back to its queue now; ask again";
            Error::unavailable("bus_unavailable", text).because(error.to_string())
        }
    }
}
