//! Inboxes: what is meant for one agent (contract, section 7).
//!
//! Invariant: an inbox is a question to history and nothing else, so it costs
//! nothing to have one. Only committed messages are told, in order, none skipped but
//! those that have expired; an empty answer means that there was nothing up to the
//! watermark that it names.

use std::future::Future;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::Semaphore;

use crate::broadcast::{Broadcaster, Sighting};
use crate::clock::Clock;
use crate::committed::Committed;
use crate::limits::{INBOX_LOOK, INBOX_PAGE_BYTES, INBOX_READS, MAX_REPLY_WAIT};
use crate::message::{Filter, Principal, Query, Token, expires_at};
use crate::store::state::Inbox;
use crate::store::{Page, Store, StoreError};

/// What an agent asks its inbox.
#[derive(Clone, Debug)]
pub struct Question {
    /// Whose inbox.
    pub agent: Token,
    /// Whether messages for everybody belong to it.
    pub broadcast: bool,
    /// After which sequence; `None`: after what it has consumed.
    pub after: Option<u64>,
    /// Messages of a page.
    pub limit: usize,
}

/// Reads inboxes, and notes how far they are consumed.
pub struct Inboxes {
    store: Arc<dyn Store>,
    broadcaster: Arc<Broadcaster>,
    committed: Arc<Committed>,
    clock: Clock,
    reads: Semaphore,
}

impl Inboxes {
    /// The inboxes of a log.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        broadcaster: Arc<Broadcaster>,
        committed: Arc<Committed>,
        clock: Clock,
    ) -> Self {
        Self { store, broadcaster, committed, clock, reads: Semaphore::new(INBOX_READS) }
    }

    /// What waits; perhaps nothing.
    ///
    /// # Errors
    /// The store's.
    pub async fn page(
        &self,
        _principal: &Principal,
        question: &Question,
    ) -> Result<Page, StoreError> {
        let after = match question.after {
            Some(after) => after,
            None => self.turn(self.store.consumed_through(&question.agent)).await?,
        };
        self.read(question, after).await
    }

    /// Asks the store once the turn has come. Those whom one broadcast woke read one after the
    /// other, not all at once; and who has much to read waits for a turn each time, so that
    /// nobody else waits for all of it.
    async fn turn<T>(&self, read: impl Future<Output = T>) -> T {
        let _turn = self.reads.acquire().await;
        read.await
    }

    /// What waits, once something does. Never ends before.
    ///
    /// # Errors
    /// The store's.
    pub async fn something(
        &self,
        principal: &Principal,
        question: &Question,
    ) -> Result<Page, StoreError> {
        // Before the first look, so that nothing comes between.
        let mut watch = self.broadcaster.watch(question.filter()).await;
        let mut through = watch.since();
        loop {
            let page = self.page(principal, question).await?;
            if !page.messages.is_empty() {
                return Ok(page);
            }
            if page.committed_through >= through {
                through = match watch.next().await {
                    Sighting::Message { seq, .. } => seq,
                    Sighting::Missed { through } => through,
                };
            }
            self.committed.reached(through, MAX_REPLY_WAIT).await;
        }
    }

    /// A page that is empty only when nothing is there.
    async fn read(&self, question: &Question, after: u64) -> Result<Page, StoreError> {
        let now = self.clock.now();
        let mut query = question.query(after);
        loop {
            let mut page = self.turn(self.store.page(&query)).await?;
            self.committed.raise(page.committed_through);
            let last = page.messages.last().map(|message| message.seq);
            let found = page.messages.len();
            page.messages.retain(|message| expires_at(&message.body).is_none_or(|end| end > now));
            passed_over((found - page.messages.len()) as u64);
            match last {
                Some(last) if page.messages.is_empty() && page.more => query.after = Some(last),
                _ => return Ok(page),
            }
            if let Err(committed_through) = self.pass_over(&mut query, now).await? {
                return Ok(Page { messages: Vec::new(), more: false, committed_through });
            }
        }
    }

    /// Moves the beginning of a query beyond what has expired, a bounded number of messages each
    /// turn. `Err` is the watermark up to which nothing else is there.
    async fn pass_over(
        &self,
        query: &mut Query,
        now: DateTime<Utc>,
    ) -> Result<Result<(), u64>, StoreError> {
        let mut look = Query { limit: INBOX_LOOK, ..query.clone() };
        loop {
            let living = self.turn(self.store.living(&look, now)).await?;
            self.committed.raise(living.committed_through);
            passed_over(living.expired);
            match (living.first, living.last) {
                (Some(first), _) => {
                    query.after = Some(first - 1);
                    return Ok(Ok(()));
                }
                (None, Some(last)) if living.more => look.after = Some(last),
                (None, _) => return Ok(Err(living.committed_through)),
            }
        }
    }

    /// Notes that everything through a sequence is consumed, and says how the
    /// inbox stands then. `None`: nothing is committed there yet.
    ///
    /// # Errors
    /// The store's.
    pub async fn consume(
        &self,
        _principal: &Principal,
        agent: &Token,
        through: u64,
    ) -> Result<Option<Inbox>, StoreError> {
        if !self.store.consume(agent, through).await? {
            return Ok(None);
        }
        Ok(Some(self.store.inbox(agent, self.clock.now()).await?.value))
    }
}

/// Counts messages that were skipped since they had expired.
fn passed_over(messages: u64) {
    metrics::counter!("agentbus_inbox_expired_total").increment(messages);
}

impl Question {
    fn filter(&self) -> Filter {
        Filter {
            recipients: vec![self.agent.clone()],
            broadcast: self.broadcast,
            ..Filter::default()
        }
    }

    fn query(&self, after: u64) -> Query {
        Query {
            filter: self.filter(),
            after: Some(after),
            before: None,
            since: None,
            until: None,
            between: None,
            limit: self.limit,
            limit_bytes: INBOX_PAGE_BYTES,
            descending: false,
        }
    }
}
