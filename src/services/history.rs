//! History: committed messages, by page and by id (contract, section 3).

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;

use super::Error;
use super::calls::Call;
use crate::access::Principal;
use crate::broadcast::Broadcaster;
use crate::committed::Committed;
use crate::limits::{READ_YOUR_WRITE, STORE_ACQUIRE_TIMEOUT};
use crate::message::{Query, Scope};
pub use crate::store::Stored as StoredMessage;
use crate::store::{Page, Reach, Store, StoreError, search};

/// A page of messages.
#[derive(Clone, Debug)]
pub struct MessagePage {
    /// The messages, in the order of the query.
    pub messages: Vec<StoredMessage>,
    /// The `after` (`before` when descending) of the next page; `None` on the last one. An empty page may have a next
    /// one.
    pub next: Option<u64>,
    /// The store's watermark when the page was read: the page is complete up to it.
    pub committed_through: u64,
}

impl From<Page> for MessagePage {
    fn from(page: Page) -> Self {
        let Page { messages, next, committed_through } = page;
        Self { messages, next, committed_through }
    }
}

/// Reads history.
pub struct History {
    pub(super) store: Arc<dyn Store>,
    pub(super) broadcaster: Arc<Broadcaster>,
    pub(super) committed: Arc<Committed>,
    /// Limits the searches of content that run at once.
    pub(super) searches: Semaphore,
}

impl History {
    /// A page of history that the query selects; with `contains`, of the messages whose content contains this text.
    ///
    /// # Errors
    /// The caller may read nothing; the store is unavailable; too many searches run.
    pub async fn page(
        &self,
        principal: &Principal,
        query: Query,
        contains: Option<&str>,
    ) -> Result<MessagePage, Error> {
        Call::ReadHistory.check(principal)?;
        let query = Query { filter: query.filter.within(principal.scope()), ..query };
        let page = match contains {
            None => self.store.page(&query).await?,
            Some(text) => {
                let turn = timeout(STORE_ACQUIRE_TIMEOUT, self.searches.acquire()).await;
                let _turn = turn.map_err(|_| Error::overloaded("too many searches at once"))?;
                search(&*self.store, &query, text, Reach::default()).await?
            }
        };
        self.committed.raise(page.committed_through);
        Ok(page.into())
    }

    /// The message with this id, or the first one if several have it, of those that the caller may read.
    ///
    /// # Errors
    /// The message does not exist; the store is unavailable.
    pub async fn one(&self, principal: &Principal, id: Uuid) -> Result<StoredMessage, Error> {
        Call::ReadMessage.check(principal)?;
        let scope = principal.scope();
        let scope = scope.as_deref();
        if let Some(found) = self.find(id, scope).await? {
            return Ok(found);
        }
        // The response to a POST is sent before the store has the message, so this waits until the
        // store has all messages that are in the log now.
        let head = self.broadcaster.head().unwrap_or(0);
        if self.committed.through() < head && self.committed.wait_for(head, READ_YOUR_WRITE).await {
            return self.find(id, scope).await?.ok_or_else(Self::missing);
        }
        Err(Self::missing())
    }

    /// The error for a message that does not exist.
    #[must_use]
    pub fn missing() -> Error {
        Error::not_found("there is no message with this id")
    }

    async fn find(
        &self,
        id: Uuid,
        scope: Option<&Scope>,
    ) -> Result<Option<StoredMessage>, StoreError> {
        if let Some(scope) = scope {
            return self.store.in_scope(id, scope).await;
        }
        match self.store.find(&[id]).await?.get(&id) {
            Some(seq) => self.store.message(*seq).await,
            None => Ok(None),
        }
    }
}
