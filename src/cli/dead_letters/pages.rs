//! Dead letters, page by page.
//!
//! Invariant: pages are joined by the server's cursor; a letter is given as the
//! very bytes that the server sent.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::limits::PAGE_MESSAGES;

/// The pages of one question.
pub(super) struct Pages {
    client: Client,
    query: Vec<(&'static str, String)>,
    after: Option<String>,
    /// Still wanted; `None` is all.
    left: Option<u64>,
    ended: bool,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    dead_letters: Vec<&'a RawValue>,
    next: Option<String>,
}

impl Pages {
    pub fn new(client: Client, query: Vec<(&'static str, String)>, limit: Option<u64>) -> Self {
        Self { client, query, after: None, left: limit, ended: limit == Some(0) }
    }

    /// The next page; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Failure> {
        if self.ended {
            return Ok(None);
        }
        let most = PAGE_MESSAGES as u64;
        let mut query = self.query.clone();
        query.push(("limit", self.left.map_or(most, |left| left.min(most)).to_string()));
        query.extend(self.after.clone().map(|after| ("after", after)));
        let body = self.client.call(|| self.client.get("/v1/dead-letters", &query)).await?;
        let page: Page<'_> = serde_json::from_slice(&body).map_err(|error| {
            Failure::Failed(format!("the server's page cannot be read: {error}"))
        })?;
        let letters: Vec<Bytes> =
            page.dead_letters.iter().map(|raw| body.slice_ref(raw.get().as_bytes())).collect();
        self.left = self.left.map(|left| left.saturating_sub(letters.len() as u64));
        self.ended = page.next.is_none() || self.left == Some(0);
        if page.next.is_some() && page.next == self.after {
            return Err(Failure::Failed("the server's pages do not move on".to_owned()));
        }
        self.after = page.next;
        Ok(Some(letters))
    }

    /// Whether there are more beyond the last page given.
    pub fn more(&self) -> bool {
        self.after.is_some()
    }
}
