//! Inboxes: what is meant for one agent (contract, section 7).
//!
//! Invariant: an inbox is a question to history and nothing else, so it costs
//! nothing to have one. Only committed messages are told, in order, none skipped but
//! those that have expired; an empty answer means that there was nothing up to the
//! watermark that it names.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::Semaphore;

use crate::broadcast::{Broadcaster, WatchEvent};
use crate::clock::Clock;
use crate::committed::Committed;
use crate::limits::{
    INBOX_PAGE_BYTES, INBOX_READS, INBOX_SKIP_MESSAGES, MAX_INBOX_SKIPS, MAX_REPLY_WAIT,
};
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
    /// Places to read pages.
    reads: Semaphore,
    /// Places to pass over what has expired.
    looks: Semaphore,
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
        let (reads, looks) = (Semaphore::new(INBOX_READS), Semaphore::new(MAX_INBOX_SKIPS));
        Self { store, broadcaster, committed, clock, reads, looks }
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
        let now = self.clock.now();
        let mut query = question.query();
        loop {
            let page = self.unexpired(question, &mut query, now).await?;
            if let Some(page) = page {
                return Ok(page);
            }
            if let Err(committed_through) = self.pass_over(&mut query, now).await? {
                return Ok(Page { messages: Vec::new(), more: false, committed_through });
            }
        }
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
        let mut question = question.clone();
        loop {
            let page = self.page(principal, &question).await?;
            if !page.messages.is_empty() {
                return Ok(page);
            }
            // What has expired is not looked at again.
            question.after = Some(page.committed_through);
            if page.committed_through >= through {
                through = match watch.next().await {
                    WatchEvent::Message { seq, .. } => seq,
                    WatchEvent::Missed { through } => through,
                };
            }
            self.committed.wait_for(through, MAX_REPLY_WAIT).await;
        }
    }

    /// The page at the beginning of a query; `None` when all of it has expired and more follows.
    ///
    /// Those whom one broadcast woke read one after the other, not all at once.
    async fn unexpired(
        &self,
        question: &Question,
        query: &mut Query,
        now: DateTime<Utc>,
    ) -> Result<Option<Page>, StoreError> {
        let turn = self.reads.acquire().await;
        if query.after.is_none() {
            let through = self.store.consumed_through(&question.agent).await?;
            query.after = Some(through);
        }
        let mut page = self.store.page(query).await?;
        drop(turn);
        self.committed.raise(page.committed_through);
        let last = page.messages.last().map(|message| message.seq);
        let found = page.messages.len();
        page.messages.retain(|message| expires_at(&message.body).is_none_or(|end| end > now));
        passed_over((found - page.messages.len()) as u64);
        match last {
            Some(last) if page.messages.is_empty() && page.more => {
                query.after = Some(last);
                Ok(None)
            }
            _ => Ok(Some(page)),
        }
    }

    /// Moves the beginning of a query beyond what has expired, a bounded number of messages each
    /// turn: so nobody waits for all that another has to pass over, and who has nothing to pass
    /// over does not wait for it at all. `Err` is the watermark up to which nothing else is there.
    async fn pass_over(
        &self,
        query: &mut Query,
        now: DateTime<Utc>,
    ) -> Result<Result<(), u64>, StoreError> {
        let mut look = Query { limit: INBOX_SKIP_MESSAGES, ..query.clone() };
        loop {
            let turn = self.looks.acquire().await;
            let living = self.store.inbox_front(&look, now).await?;
            drop(turn);
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

    fn query(&self) -> Query {
        Query {
            filter: self.filter(),
            after: self.after,
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
