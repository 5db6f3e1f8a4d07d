//! Dead letters: read, sent back to where they failed, discarded.
//!
//! Invariants: a letter goes back to its source alone; nothing is published. A
//! message's letter becomes a message set aside in one transaction, so that it is
//! either; a job's letter is forgotten in that transaction too, or, on NATS, only when its queue
//! has the job, so that a death in between repeats the job and loses none. What is
//! counted as redriven is in its queue, by this request and no other.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::limits::MAX_PAGE;
use crate::message::Principal;
use crate::queues::{QueueError, Queues};
use crate::store::work::{DeadLetter, DeadLetterKind, DeadLetterPage, DeadLetterQuery};
use crate::store::{Store, StoreError};

/// Why nothing is known, or not all was sent back.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    /// The store cannot be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue did not take its job back.
    #[error("the queue did not take its job back: {0}")]
    Queue(QueueError),
}

/// What became of one letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redrive {
    /// Its source has it again.
    Done,
    /// There is no such letter.
    Missing,
    /// Its source is no more; it stays a dead letter.
    SourceGone,
    /// The bus takes it for another job, so that it would not be queued; it stays a dead letter.
    Taken,
}

/// What became of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Sent back.
    pub redriven: u64,
    /// Left where they are, since their source is no more or does not take them.
    pub skipped: u64,
}

/// The dead letters of a deployment.
pub struct DeadLetters {
    store: Arc<dyn Store>,
    queues: Option<Arc<dyn Queues>>,
}

impl DeadLetters {
    /// Those in a store. Without queues no letter of a job can go back.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, queues: Option<Arc<dyn Queues>>) -> Self {
        Self { store, queues }
    }

    /// A page of them, by rising id.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn page(
        &self,
        _: &Principal,
        query: &DeadLetterQuery,
    ) -> Result<DeadLetterPage, LetterError> {
        Ok(self.store.dead_letters(query).await?)
    }

    /// One of them.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn one(&self, _: &Principal, id: Uuid) -> Result<Option<DeadLetter>, LetterError> {
        Ok(self.store.dead_letter(id).await?)
    }

    /// Forgets one; whether it was there.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn discard(&self, _: &Principal, id: Uuid) -> Result<bool, LetterError> {
        Ok(self.store.discard_dead_letter(id).await?)
    }

    /// Sends one back.
    ///
    /// # Errors
    /// The store cannot be asked, or the queue did not take it.
    pub async fn redrive(&self, _: &Principal, id: Uuid) -> Result<Redrive, LetterError> {
        let Some(letter) = self.store.dead_letter(id).await? else { return Ok(Redrive::Missing) };
        if letter.kind == DeadLetterKind::Job {
            return self.redrive_job(&letter).await;
        }
        if self.store.redrive_message(id).await? {
            return Ok(Redrive::Done);
        }
        // Somebody else may have been quicker.
        let there = self.store.dead_letter(id).await?.is_some();
        Ok(if there { Redrive::SourceGone } else { Redrive::Missing })
    }

    /// Sends back all that are asked for, page by page; the query's own page is not
    /// heeded. What dies meanwhile is left alone, or a source that fails at once
    /// would be served for ever.
    ///
    /// # Errors
    /// The store cannot be asked, or a queue did not take its job: what was sent
    /// back until then stays so, and the rest can be asked for again.
    pub async fn redrive_all(
        &self,
        _: &Principal,
        query: &DeadLetterQuery,
    ) -> Result<Redriven, LetterError> {
        let begun = self.store.clock().await?;
        let mut query = DeadLetterQuery { after: None, limit: MAX_PAGE, ..query.clone() };
        let mut done = Redriven::default();
        let mut sources = Sources { store: &*self.store, there: HashMap::new() };
        loop {
            let page = self.store.dead_letters(&query).await?;
            query.after = page.letters.last().map(|letter| letter.id);
            let (messages, jobs) = dead_before(page.letters, begun);
            if messages.is_empty() && jobs.is_empty() {
                return Ok(done);
            }
            self.redrive_messages(&messages, &mut sources, &mut done).await?;
            for job in &jobs {
                let redriven = match self.redrive_job(job).await {
                    // One that cannot be made again holds up no others.
                    Err(LetterError::Queue(QueueError::TooManyQueues)) => Redrive::SourceGone,
                    other => other?,
                };
                match redriven {
                    Redrive::Done => done.redriven += 1,
                    // Somebody else redrives or discards them.
                    Redrive::Missing => {}
                    Redrive::SourceGone | Redrive::Taken => done.skipped += 1,
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
    ) -> Result<(), LetterError> {
        let mut ids = Vec::with_capacity(letters.len());
        for letter in letters {
            if sources.there(&letter.source).await? {
                ids.push(letter.id);
            } else {
                done.skipped += 1;
            }
        }
        done.redriven += self.store.redrive_messages(&ids).await?.len() as u64;
        Ok(())
    }

    async fn redrive_job(&self, letter: &DeadLetter) -> Result<Redrive, LetterError> {
        let Some(queues) = &self.queues else { return Ok(Redrive::SourceGone) };
        match queues.redrive(letter).await {
            Ok(true) => Ok(Redrive::Done),
            Ok(false) => Ok(Redrive::Missing),
            // No queue takes what is not a job: it stays a dead letter.
            Err(QueueError::Undecodable) => Ok(Redrive::SourceGone),
            Err(QueueError::Conflict { .. }) => Ok(Redrive::Taken),
            Err(QueueError::Store(error)) => Err(LetterError::Store(error)),
            Err(error) => Err(LetterError::Queue(error)),
        }
    }
}

/// Which consumers there are, asked for once each.
struct Sources<'a> {
    store: &'a dyn Store,
    there: HashMap<String, bool>,
}

impl Sources<'_> {
    async fn there(&mut self, source: &str) -> Result<bool, StoreError> {
        if let Some(there) = self.there.get(source) {
            return Ok(*there);
        }
        let there = self.store.consumer(source).await?.is_some();
        self.there.insert(source.to_owned(), there);
        Ok(there)
    }
}

/// Those that were dead before a time: messages, and jobs.
fn dead_before(
    letters: Vec<DeadLetter>,
    begun: DateTime<Utc>,
) -> (Vec<DeadLetter>, Vec<DeadLetter>) {
    letters
        .into_iter()
        .filter(|letter| letter.died_at <= begun)
        .partition(|letter| letter.kind == DeadLetterKind::Message)
}
