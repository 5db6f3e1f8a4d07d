//! History: committed messages, by page and by id (contract, section 3).

use std::sync::Arc;

use uuid::Uuid;

use super::Error;
use crate::access::Principal;
use crate::broadcast::Broadcaster;
use crate::committed::Committed;
use crate::limits::READ_YOUR_WRITE;
use crate::message::Query;
pub use crate::store::Stored as StoredMessage;
use crate::store::{Page, Store, StoreError};

/// A page of messages.
#[derive(Clone, Debug)]
pub struct MessagePage {
    /// The messages, in the order of the query.
    pub messages: Vec<StoredMessage>,
    /// The `after` (`before` when descending) of the next page; `None` on the last one.
    pub next: Option<u64>,
    /// The store's watermark when the page was read: the page is complete up to it.
    pub committed_through: u64,
}

impl From<Page> for MessagePage {
    fn from(page: Page) -> Self {
        let Page { messages, more, committed_through } = page;
        let next = messages.last().filter(|_| more).map(|last| last.seq);
        Self { messages, next, committed_through }
    }
}

/// Reads history.
pub struct History {
    pub(super) store: Arc<dyn Store>,
    pub(super) broadcaster: Arc<Broadcaster>,
    pub(super) committed: Arc<Committed>,
}

impl History {
    /// A page of history that the query selects.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn page(&self, _: &Principal, query: &Query) -> Result<MessagePage, Error> {
        let page = self.store.page(query).await?;
        self.committed.raise(page.committed_through);
        Ok(page.into())
    }

    /// The message with this id, or the first one if several have it.
    ///
    /// # Errors
    /// The message does not exist; the store is unavailable.
    pub async fn one(&self, _: &Principal, id: Uuid) -> Result<StoredMessage, Error> {
        if let Some(found) = self.find(id).await? {
            return Ok(found);
        }
        // The response to a POST is sent before the store has the message, so this waits until the
        // store has all messages that are in the log now.
        let head = self.broadcaster.head().unwrap_or(0);
        if self.committed.through() < head && self.committed.wait_for(head, READ_YOUR_WRITE).await {
            return self.find(id).await?.ok_or_else(Self::missing);
        }
        Err(Self::missing())
    }

    /// The error for a message that does not exist.
    #[must_use]
    pub fn missing() -> Error {
        Error::not_found("there is no message with this id")
    }

    async fn find(&self, id: Uuid) -> Result<Option<StoredMessage>, StoreError> {
        match self.store.find(&[id]).await?.get(&id) {
            Some(seq) => self.store.message(*seq).await,
            None => Ok(None),
        }
    }
}
