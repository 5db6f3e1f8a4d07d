//! The server's lists (history, dead letters, queues), read page by page.
//!
//! Invariant: pages are joined by the server's cursor, so no item is missed or repeated. If items are large,
//! pages get smaller, so that memory stays bounded.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use crate::client::Client;
use crate::document::{Document, list, read};
use crate::error::Error;
use crate::filter::Query;
use crate::limits::{FIRST_PAGE_ITEMS, PAGE_BYTES, PAGE_ITEMS};
use crate::message::Message;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in order.
    pub items: Vec<Document<T>>,
    /// The cursor of the next page; `None` for the last page.
    pub next: Option<String>,
    /// Only in history: the sequence up to which the store has the log.
    pub committed_through: u64,
}

/// A list that is read page by page. Nothing is sent before it is read.
#[derive(Debug)]
pub struct Pages<T> {
    client: Client,
    path: &'static str,
    member: &'static str,
    query: Query,
    /// The query parameter for the cursor: `after`, or `before` if the newest items come first.
    cursor: &'static str,
    /// How many items are still wanted; `None` for all.
    left: Option<u64>,
    size: usize,
    is_done: bool,
    /// What [`Pages::next`] has read and not returned.
    ready: VecDeque<Document<T>>,
}

/// Selects a part of the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Only messages after this sequence.
    pub after: Option<u64>,
    /// Only messages before this sequence.
    pub before: Option<u64>,
    /// Whether the newest message comes first.
    pub descending: bool,
    /// The most messages in all pages together; `None` for all.
    pub limit: Option<u64>,
}

#[derive(Deserialize)]
struct Rest {
    next: Option<Value>,
    #[serde(default)]
    committed_through: u64,
}

impl Client {
    /// The messages within `bounds` that pass the filter (contract, sections 3 and 5).
    #[must_use]
    pub fn history(&self, filter: impl Into<Query>, bounds: Bounds) -> Pages<Message> {
        let mut query = filter.into();
        query.extend(bounds.after.map(|seq| ("after", seq.to_string())));
        query.extend(bounds.before.map(|seq| ("before", seq.to_string())));
        if bounds.descending {
            query.push(("order", "desc".to_owned()));
        }
        let mut pages = self.pages("/v1/messages", "messages", query, bounds.limit);
        pages.cursor = if bounds.descending { "before" } else { "after" };
        pages
    }

    pub(crate) fn pages<T>(
        &self,
        path: &'static str,
        member: &'static str,
        query: Query,
        limit: Option<u64>,
    ) -> Pages<T> {
        Pages {
            client: self.clone(),
            path,
            member,
            query,
            cursor: "after",
            left: limit,
            size: FIRST_PAGE_ITEMS,
            is_done: limit == Some(0),
            ready: VecDeque::new(),
        }
    }
}

impl<T> Pages<T> {
    /// Sets how many items a page has at first, 1 to 1,000.
    #[must_use]
    pub fn page_size(mut self, items: usize) -> Self {
        self.size = items.clamp(1, PAGE_ITEMS);
        self
    }

    /// The next item; `None` after the last one. Reads a page when it needs one.
    ///
    /// # Errors
    /// The server refuses or cannot be reached, or the response is not a page.
    pub async fn next(&mut self) -> Result<Option<Document<T>>, Error> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            match self.next_page().await? {
                Some(page) => self.ready.extend(page.items),
                None => return Ok(None),
            }
        }
    }

    /// All items that are left, in memory.
    ///
    /// # Errors
    /// As [`Pages::next`].
    pub async fn all(&mut self) -> Result<Vec<Document<T>>, Error> {
        let mut items = Vec::from(std::mem::take(&mut self.ready));
        while let Some(page) = self.next_page().await? {
            items.extend(page.items);
        }
        Ok(items)
    }

    /// Reads the next page; `None` after the last one. Items that [`Pages::next`] has read already are not in it.
    ///
    /// # Errors
    /// As [`Pages::next`].
    pub async fn next_page(&mut self) -> Result<Option<Page<T>>, Error> {
        if self.is_done {
            return Ok(None);
        }
        let wanted = self.left.and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX);
        let mut query = self.query.clone();
        query.push(("limit", self.size.min(wanted).to_string()));
        let body = self.client.call(self.client.get(self.path, &query)).await?;
        let page: Page<T> = page(&body, self.member)?;
        self.size = next_size(self.size, body.len());
        self.left = self.left.map(|left| left.saturating_sub(page.items.len() as u64));
        self.is_done = page.next.is_none() || self.left == Some(0);
        if let Some(next) = &page.next {
            if self.get(self.cursor) == Some(next) {
                return Err(Error::Unexpected("the server's pages do not advance".to_owned()));
            }
            self.set(self.cursor, next.clone());
        }
        Ok(Some(page))
    }

    /// From the next page on, leaves out messages at or above this sequence. Only for history in ascending
    /// order.
    pub fn end_before(&mut self, seq: u64) {
        let before = self.get("before").and_then(|before| before.parse().ok());
        self.set("before", before.map_or(seq, |before: u64| before.min(seq)).to_string());
    }

    /// The query parameter, by name and value, that asks for the items after the last page read; `None` if
    /// there is no cursor yet.
    #[must_use]
    pub fn cursor(&self) -> Option<(&'static str, &str)> {
        Some((self.cursor, self.get(self.cursor)?.as_str()))
    }

    fn get(&self, name: &str) -> Option<&String> {
        self.query.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    fn set(&mut self, name: &'static str, value: String) {
        self.query.retain(|(other, _)| *other != name);
        self.query.push((name, value));
    }
}

fn page<T>(body: &Bytes, member: &str) -> Result<Page<T>, Error> {
    let rest: Rest = read(body)?;
    let next = match rest.next {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(number) => Some(number.to_string()),
    };
    Ok(Page { items: list(body, member)?, next, committed_through: rest.committed_through })
}

/// How many items to ask for, after a page of `asked` items had `bytes` bytes.
fn next_size(asked: usize, bytes: usize) -> usize {
    if bytes > PAGE_BYTES {
        (asked / 2).max(1)
    } else if bytes < PAGE_BYTES / 4 {
        (asked * 2).min(PAGE_ITEMS)
    } else {
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_the_bytes() {
        let body = Bytes::from_static(
            br#"{"messages":[{"seq":1,"metadata":{"n":1.0e+2,"n":"\u00e9"}}, {"seq":2}],"next":2,"committed_through":9}"#,
        );
        let page: Page<Message> = page(&body, "messages").expect("a page");
        let items: Vec<&[u8]> = page.items.iter().map(Document::json).collect();
        assert_eq!(
            items,
            [&br#"{"seq":1,"metadata":{"n":1.0e+2,"n":"\u00e9"}}"#[..], br#"{"seq":2}"#]
        );
        assert_eq!((page.next.as_deref(), page.committed_through), (Some("2"), 9));
        assert!(super::page::<Value>(&Bytes::from_static(b"<html>"), "messages").is_err());
    }

    #[test]
    fn pages_follow_the_size_of_items() {
        assert_eq!(next_size(100, 1_000), 200);
        assert_eq!(next_size(PAGE_ITEMS, 1_000), PAGE_ITEMS);
        assert_eq!(next_size(100, PAGE_BYTES / 2), 100);
        assert_eq!(next_size(100, PAGE_BYTES + 1), 50);
        assert_eq!(next_size(1, PAGE_BYTES + 1), 1);
    }
}
