//! Inboxes: the messages to one agent (contract, section 7).
//!
//! Invariant: an inbox is a query of history and stores only the agent's position. It returns committed
//! messages in order and skips only expired ones; an empty page without `next` means that there was no message up to
//! its `committed_through`.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Semaphore;

use super::calls::Call;
use super::history::MessagePage;
use super::{Drain, Error};
use crate::access::Principal;
use crate::broadcast::{Broadcaster, WatchEvent};
use crate::clock::Clock;
use crate::committed::Committed;
use crate::limits::{
    INBOX_PAGE_BYTES, INBOX_READS, INBOX_SKIP_MESSAGES, MAX_INBOX_SKIPS, MAX_REPLY_WAIT,
    PAGE_SCAN_ROWS,
};
use crate::message::{FieldError, Filter, Query, Scope, Token, expires_at};
pub use crate::store::state::Inbox;
use crate::store::{Store, StoreError};

/// A read of one inbox.
#[derive(Clone, Debug)]
pub struct InboxQuery {
    /// The owner of the inbox.
    pub agent: Token,
    /// Whether to include messages without a recipient.
    pub broadcast: bool,
    /// The sequence to begin after; `None` for the position up to which the agent has consumed.
    pub after: Option<u64>,
    /// The most messages of a page.
    pub limit: usize,
}

/// A read with what the reader may see.
struct ScopedQuery {
    inbox: InboxQuery,
    scope: Option<Arc<Scope>>,
}

/// Reads inboxes, and records their positions.
pub struct Inboxes {
    store: Arc<dyn Store>,
    broadcaster: Arc<Broadcaster>,
    committed: Arc<Committed>,
    clock: Clock,
    drain: Drain,
    /// How many pages are read at once.
    reads: Semaphore,
    /// How many scans for the first unexpired message run at once.
    scans: Semaphore,
}

impl Inboxes {
    pub(super) fn new(
        store: Arc<dyn Store>,
        broadcaster: Arc<Broadcaster>,
        committed: Arc<Committed>,
        clock: Clock,
        drain: Drain,
    ) -> Self {
        let (reads, scans) = (Semaphore::new(INBOX_READS), Semaphore::new(MAX_INBOX_SKIPS));
        Self { store, broadcaster, committed, clock, drain, reads, scans }
    }

    /// Checks that the caller may read and acknowledge the inbox of this agent.
    ///
    /// # Errors
    /// The caller lacks a grant.
    pub fn check(&self, principal: &Principal, agent: &Token) -> Result<(), Error> {
        Ok(principal.needs_name(agent)?)
    }

    /// A page of the messages to the agent. With a `wait`, the page has at least one message, or is
    /// `None` if none arrived in that time or before the server stopped.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn page(
        &self,
        principal: &Principal,
        query: InboxQuery,
        wait: Duration,
    ) -> Result<Option<MessagePage>, Error> {
        Call::ReadInbox.check(principal)?;
        self.check(principal, &query.agent)?;
        let query = ScopedQuery { inbox: query, scope: principal.scope() };
        if wait.is_zero() {
            return Ok(Some(self.read(&query).await?));
        }
        tokio::select! {
            biased;
            reason = principal.ended() => Err(Error::ended(reason)),
            page = self.read_some(query) => Ok(Some(page?)),
            () = tokio::time::sleep(wait) => Ok(None),
            () = self.drain.end_of_wait() => Ok(None),
        }
    }

    /// Records that the agent has consumed everything through a sequence; returns the new state of the
    /// inbox.
    ///
    /// # Errors
    /// `through` lies above the committed sequences; the store is unavailable.
    pub async fn ack(
        &self,
        principal: &Principal,
        agent: &Token,
        through: u64,
    ) -> Result<Inbox, Error> {
        Call::AckInbox.check(principal)?;
        self.check(principal, agent)?;
        if self.store.consume(agent, through).await? {
            return Ok(self.store.inbox(agent, self.clock.now()).await?.value);
        }
        let detail =
            "is above the committed sequences: acknowledge only what you have read".to_owned();
        Err(Error::body(vec![FieldError { pointer: "/through".to_owned(), detail }]))
    }

    async fn read(&self, inbox: &ScopedQuery) -> Result<MessagePage, StoreError> {
        let now = self.clock.now();
        let mut query = inbox.query();
        loop {
            if let Some(page) = self.unexpired(inbox, &mut query, now).await? {
                return Ok(page);
            }
            if let Some(page) = self.skip_expired(&mut query, now).await? {
                return Ok(page);
            }
        }
    }

    /// Waits for a page with at least one message.
    async fn read_some(&self, mut query: ScopedQuery) -> Result<MessagePage, StoreError> {
        // The watch begins before the first read, so that no message is missed in between.
        let mut watch = self.broadcaster.watch(query.filter()).await;
        let mut through = watch.since();
        loop {
            let page = self.read(&query).await?;
            if !page.messages.is_empty() {
                return Ok(page);
            }
            // Messages that were passed over are not read twice.
            query.inbox.after = Some(page.next.unwrap_or(page.committed_through));
            if page.next.is_some() {
                continue;
            }
            if page.committed_through >= through {
                through = match watch.next().await {
                    WatchEvent::Message { seq, .. } => seq,
                    WatchEvent::Missed { through } => through,
                };
            }
            self.committed.wait_for(through, MAX_REPLY_WAIT).await;
        }
    }

    /// The page at the position of a query. `None` if all its messages have expired and more follow: then
    /// the position has moved past them. The permit limits how many of the readers that one message wakes
    /// read at the same time.
    async fn unexpired(
        &self,
        inbox: &ScopedQuery,
        query: &mut Query,
        now: DateTime<Utc>,
    ) -> Result<Option<MessagePage>, StoreError> {
        let permit = self.reads.acquire().await;
        if query.after.is_none() {
            query.after = Some(self.store.consumed_through(&inbox.inbox.agent).await?);
        }
        let mut page = self.store.page(query).await?;
        drop(permit);
        self.committed.raise(page.committed_through);
        let found = page.messages.len();
        page.messages.retain(|message| expires_at(&message.body).is_none_or(|end| end > now));
        count_expired((found - page.messages.len()) as u64);
        if page.next.is_some() && page.messages.is_empty() && found > 0 {
            query.after = page.next;
            return Ok(None);
        }
        Ok(Some(page.into()))
    }

    /// Moves the position of a query past expired messages. Each permit is for a bounded number of
    /// messages, so no reader waits until another has skipped all of its own. Returns an empty page if every message
    /// has expired, or if it passed over [`PAGE_SCAN_ROWS`] messages that the reader may not read.
    async fn skip_expired(
        &self,
        query: &mut Query,
        now: DateTime<Utc>,
    ) -> Result<Option<MessagePage>, StoreError> {
        let mut hidden = 0;
        let mut scan = Query { limit: INBOX_SKIP_MESSAGES, ..query.clone() };
        loop {
            let permit = self.scans.acquire().await;
            let front = self.store.inbox_front(&scan, now).await?;
            drop(permit);
            self.committed.raise(front.committed_through);
            count_expired(front.expired);
            hidden += front.passed - front.expired;
            if let Some(first) = front.first {
                query.after = Some(first - 1);
                return Ok(None);
            }
            let next = front.last.filter(|_| front.more);
            if next.is_none() || hidden >= PAGE_SCAN_ROWS as u64 {
                let committed_through = front.committed_through;
                return Ok(Some(MessagePage { messages: Vec::new(), next, committed_through }));
            }
            scan.after = next;
        }
    }
}

fn count_expired(messages: u64) {
    metrics::counter!("agentbus_inbox_expired_total").increment(messages);
}

impl ScopedQuery {
    fn filter(&self) -> Filter {
        Filter {
            recipients: vec![self.inbox.agent.clone()],
            broadcast: self.inbox.broadcast,
            scope: self.scope.clone(),
            ..Filter::default()
        }
    }

    fn query(&self) -> Query {
        let InboxQuery { after, limit, .. } = self.inbox;
        Query { after, ..Query::new(self.filter(), limit, INBOX_PAGE_BYTES) }
    }
}
