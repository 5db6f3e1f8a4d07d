//! History, page by page.
//!
//! Invariant: a message is given as the very bytes that the server sent, and
//! pages grow smaller where messages are large, so memory stays bounded.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::Client;
use super::failure::Failure;
use super::limits::{FIRST_PAGE_MESSAGES, PAGE_BYTES, PAGE_MESSAGES};

/// One page.
#[derive(Debug)]
pub struct Page {
    /// The messages, in order.
    pub messages: Vec<Bytes>,
    /// The cursor of the next page, if there is one.
    pub next: Option<u64>,
    /// How far the store had got.
    pub committed_through: u64,
}

/// The pages of one question.
#[derive(Debug)]
pub struct Pages {
    client: Client,
    query: Vec<(&'static str, String)>,
    after: Option<u64>,
    before: Option<u64>,
    descending: bool,
    /// Messages still wanted; `None` is all.
    left: Option<u64>,
    size: usize,
    ended: bool,
}

/// The bounds of a question in sequences.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Exclusive lower sequence.
    pub after: Option<u64>,
    /// Exclusive upper sequence.
    pub before: Option<u64>,
    /// Newest first.
    pub descending: bool,
    /// No more messages than these.
    pub limit: Option<u64>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
    next: Option<u64>,
    #[serde(default)]
    committed_through: u64,
}

impl Pages {
    /// The pages of what passes the parameters in `query` within `bounds`.
    #[must_use]
    pub fn new(client: Client, query: Vec<(&'static str, String)>, bounds: Bounds) -> Self {
        Self {
            client,
            query,
            after: bounds.after,
            before: bounds.before,
            descending: bounds.descending,
            left: bounds.limit,
            size: FIRST_PAGE_MESSAGES,
            ended: bounds.limit == Some(0),
        }
    }

    /// Leaves out what stands at or above `seq`.
    pub fn end_before(&mut self, seq: u64) {
        self.before = Some(self.before.map_or(seq, |before| before.min(seq)));
    }

    /// The flag that goes on where the last page ended.
    #[must_use]
    pub fn next_flag(&self) -> String {
        let (flag, cursor) =
            if self.descending { ("before", self.before) } else { ("after", self.after) };
        cursor.map_or_else(String::new, |seq| format!("--{flag} {seq}"))
    }

    /// The next page; `None` after the last.
    ///
    /// # Errors
    /// The server refuses, cannot be reached, or gives what is no page.
    pub async fn next(&mut self) -> Result<Option<Page>, Failure> {
        if self.ended {
            return Ok(None);
        }
        let query = self.query();
        let body = self.client.call(|| self.client.get("/v1/messages", &query)).await?;
        let page = read(&body)?;
        self.size = next_size(self.size, body.len());
        self.left = self.left.map(|left| left.saturating_sub(page.messages.len() as u64));
        self.ended = page.next.is_none() || self.left == Some(0);
        let cursor = if self.descending { &mut self.before } else { &mut self.after };
        if page.next.is_some() && page.next == *cursor {
            return Err(Failure::Failed("the server's pages do not move on".to_owned()));
        }
        *cursor = page.next.or(*cursor);
        Ok(Some(page))
    }

    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = self.query.clone();
        let wanted =
            self.left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        query.push(("limit", self.size.min(wanted).to_string()));
        if self.descending {
            query.push(("order", "desc".to_owned()));
        }
        query.extend(self.after.map(|seq| ("after", seq.to_string())));
        query.extend(self.before.map(|seq| ("before", seq.to_string())));
        query
    }
}

/// Messages to ask for after a page of `asked` messages took `bytes`.
fn next_size(asked: usize, bytes: usize) -> usize {
    if bytes > PAGE_BYTES {
        (asked / 2).max(1)
    } else if bytes < PAGE_BYTES / 4 {
        (asked * 2).min(PAGE_MESSAGES)
    } else {
        asked
    }
}

fn read(body: &Bytes) -> Result<Page, Failure> {
    let answer: Answer<'_> = serde_json::from_slice(body)
        .map_err(|error| Failure::Failed(format!("the server's page cannot be read: {error}")))?;
    Ok(Page {
        messages: answer.messages.iter().map(|raw| body.slice_ref(raw.get().as_bytes())).collect(),
        next: answer.next,
        committed_through: answer.committed_through,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_gives_the_very_bytes() {
        let body = Bytes::from_static(
            br#"{"messages":[{"seq":1,"metadata":{"n":1.0e+2,"n":"\u00e9"}}, {"seq":2}],"next":2,"committed_through":9}"#,
        );
        let page = read(&body).expect("a page");
        assert_eq!(
            page.messages,
            [&br#"{"seq":1,"metadata":{"n":1.0e+2,"n":"\u00e9"}}"#[..], br#"{"seq":2}"#]
        );
        assert_eq!((page.next, page.committed_through), (Some(2), 9));
        assert!(read(&Bytes::from_static(b"<html>")).is_err());
    }

    #[test]
    fn pages_follow_the_size_of_messages() {
        assert_eq!(next_size(100, 1_000), 200);
        assert_eq!(next_size(PAGE_MESSAGES, 1_000), PAGE_MESSAGES);
        assert_eq!(next_size(100, PAGE_BYTES / 2), 100);
        assert_eq!(next_size(100, PAGE_BYTES + 1), 50);
        assert_eq!(next_size(1, PAGE_BYTES + 1), 1);
    }
}
