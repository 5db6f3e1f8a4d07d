//! Dead letters: read, sent back to where they failed, discarded.
//!
//! Invariants: a letter goes back to its source alone; nothing is published. A
//! message's letter becomes a message set aside in one transaction, so that it is
//! either; a job's letter is forgotten only when its queue has the job, so that
//! a death in between repeats the job and loses none.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::limits::MAX_PAGE;
use crate::message::Principal;
use crate::store::work::{DeadLetter, LetterKind, LetterPage, LetterQuery};
use crate::store::{Store, StoreError};

/// Why nothing is known, or not all was sent back.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    /// The store cannot be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue did not take its job back.
    #[error("the queue did not take its job back: {0}")]
    Queue(String),
}

/// Where the letters of jobs go back to.
#[async_trait]
pub trait JobSink: Send + Sync + 'static {
    /// Gives the job of a letter back to its queue, due now, with no attempt
    /// counted. Repeated for the same letter it should add nothing. `false` when
    /// there is no such queue.
    async fn put_back(&self, letter: &DeadLetter) -> Result<bool, LetterError>;
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
}

/// What became of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Sent back.
    pub redriven: u64,
    /// Left where they are, since their source is no more.
    pub skipped: u64,
}

/// The dead letters of a deployment.
pub struct DeadLetters {
    store: Arc<dyn Store>,
    jobs: Option<Arc<dyn JobSink>>,
}

impl DeadLetters {
    /// Those in a store. Without queues no letter of a job can go back.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, jobs: Option<Arc<dyn JobSink>>) -> Self {
        Self { store, jobs }
    }

    /// A page of them, by rising id.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn page(
        &self,
        _: &Principal,
        query: &LetterQuery,
    ) -> Result<LetterPage, LetterError> {
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
        Ok(self.store.discard(id).await?)
    }

    /// Sends one back.
    ///
    /// # Errors
    /// The store cannot be asked, or the queue did not take it.
    pub async fn redrive(&self, _: &Principal, id: Uuid) -> Result<Redrive, LetterError> {
        let Some(letter) = self.store.dead_letter(id).await? else { return Ok(Redrive::Missing) };
        let back = match letter.kind {
            LetterKind::Message => self.store.redrive_message(id).await?,
            LetterKind::Job => self.put_back(&letter).await?,
        };
        if back {
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
        query: &LetterQuery,
    ) -> Result<Redriven, LetterError> {
        let begun = self.store.clock().await?;
        let mut query = LetterQuery { after: None, limit: MAX_PAGE, ..query.clone() };
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
                let back = self.put_back(job).await?;
                *(if back { &mut done.redriven } else { &mut done.skipped }) += 1;
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

    async fn put_back(&self, letter: &DeadLetter) -> Result<bool, LetterError> {
        let Some(jobs) = &self.jobs else { return Ok(false) };
        let back = jobs.put_back(letter).await?;
        if back {
            self.store.discard(letter.id).await?;
        }
        Ok(back)
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
        .partition(|letter| letter.kind == LetterKind::Message)
}
