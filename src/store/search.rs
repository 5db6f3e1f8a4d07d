//! Searches the content of messages, for which there is no index.
//!
//! Invariant: one search looks at a bounded number of messages, and `next` says how far it looked. So pages that are joined
//! by `next` have each match once.

use super::error::StoreError;
use super::history::{HistoryStore, Page};
use crate::limits::{SEARCH_PAGE_BYTES, SEARCH_PAGE_ROWS, SEARCH_PAGES};
use crate::message::{Query, content_contains};
use crate::yielding::yield_between_items;

/// How far one search looks: so many pages of the store.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// The most pages.
    pub pages: usize,
    /// The most rows of each page that pass the query without its scope.
    pub rows: usize,
    /// A page ends once its bodies exceed this many bytes.
    pub bytes: u64,
}

impl Default for Reach {
    fn default() -> Self {
        Self { pages: SEARCH_PAGES, rows: SEARCH_PAGE_ROWS, bytes: SEARCH_PAGE_BYTES }
    }
}

/// A page of the messages that a query selects and whose content contains a text ([`content_contains`]). It ends after
/// `reach`, also if it is empty.
///
/// # Errors
/// The store is unavailable.
pub async fn search(
    store: &(impl HistoryStore + ?Sized),
    query: &Query,
    text: &str,
    reach: Reach,
) -> Result<Page, StoreError> {
    let mut part = Query { limit: reach.rows, limit_bytes: reach.bytes, ..query.clone() };
    let mut found = Page { messages: Vec::new(), next: None, committed_through: 0 };
    let mut bytes = 0;
    for number in 0..reach.pages {
        let page = store.page_within(&part, reach.rows).await?;
        found.next = page.next;
        // Descending, later pages do not see what was committed after the first one was read.
        if number == 0 || !query.descending {
            found.committed_through = page.committed_through;
        }
        let mut left = page.messages.len();
        for message in page.messages {
            yield_between_items(left).await;
            left -= 1;
            if !content_contains(&message.body, text) {
                continue;
            }
            bytes += message.body.len() as u64;
            let seq = message.seq;
            found.messages.push(message);
            if found.messages.len() >= query.limit || bytes >= query.limit_bytes {
                if left > 0 {
                    found.next = Some(seq);
                }
                return Ok(found);
            }
        }
        if page.next.is_none() {
            break;
        }
        if query.descending { part.before = page.next } else { part.after = page.next }
    }
    Ok(found)
}
