//! A server and a browser at its console, for the tests of the console.

use serde_json::{Value, json};

use super::agentbus::Builder;
use super::webdriver::Browser;
use super::{Agentbus, Http, wait};

/// A server on the default bus and store, and a browser at its console.
pub struct Desk {
    pub browser: Browser,
    pub agentbus: Agentbus,
    pub http: Http,
}

impl Desk {
    /// A console that shows these messages and is live.
    pub async fn with(messages: &[Value]) -> Self {
        Self::beside(Agentbus::builder().memory_sqlite(), messages).await
    }

    /// Like [`Desk::with`], with a server whose settings the test chooses.
    pub async fn beside(server: Builder, messages: &[Value]) -> Self {
        let (agentbus, browser) = tokio::join!(server.start(), Browser::start());
        let http = agentbus.http();
        post(&http, messages).await;
        browser.open(agentbus.url()).await;
        let desk = Self { browser, agentbus, http };
        desk.state("live").await;
        desk
    }

    /// Waits until the console shows this state of its connection.
    pub async fn state(&self, name: &str) {
        self.browser
            .until(&format!(
                "document.querySelector('[data-testid=state]').dataset.state === '{name}'"
            ))
            .await;
    }

    /// Waits until exactly these sequences are in the feed, in this order.
    pub async fn rows(&self, seqs: impl IntoIterator<Item = u64>) {
        let wanted: Vec<String> = seqs.into_iter().map(|seq| seq.to_string()).collect();
        self.browser.until(&format!("({SEQS}).join() === '{}'", wanted.join(","))).await;
    }

    /// Sets a filter of the feed.
    pub async fn filter(&self, name: &str, value: &str) {
        self.browser.fill(&id(&format!("filter-{name}")), value).await;
        self.browser.click(&id("apply")).await;
    }
}

/// The sequences in the feed, top down.
pub const SEQS: &str = "[...document.querySelectorAll('[data-testid=feed] [data-testid=row]')].map((row) => row.dataset.seq)";

/// The selector of the element with this test id.
pub fn id(test_id: &str) -> String {
    format!("[data-testid=\"{test_id}\"]")
}

/// The selector of a row of the feed.
pub fn row(seq: u64) -> String {
    format!("[data-testid=row][data-seq=\"{seq}\"]")
}

/// The text of an element, as an expression of the page.
pub fn text_of(test_id: &str) -> String {
    format!("document.querySelector('[data-testid=\"{test_id}\"]').textContent")
}

/// A message of type `note`.
pub fn message(sender: &str, content: &str) -> Value {
    json!({"kind": "message", "type": "note", "sender_id": sender, "content": content})
}

/// `count` notes.
pub fn messages(sender: &str, count: usize) -> Vec<Value> {
    (1..=count).map(|n| message(sender, &format!("{sender}'s {n}"))).collect()
}

/// Publishes the messages, and fails the test unless that succeeds.
pub async fn post(http: &Http, messages: &[Value]) {
    if messages.is_empty() {
        return;
    }
    let answer = http.post_ndjson("/v1/messages/batch", messages).await.expect(200).json();
    assert_eq!(answer["accepted"], messages.len(), "{answer}");
}

/// The selector of the element with this test id on the open page.
pub fn on_page(test_id: &str) -> String {
    format!("main.page:not([hidden]) [data-testid=\"{test_id}\"]")
}

/// The selector of the row with this key in a table.
pub fn entry(test_id: &str, key: &str) -> String {
    format!("main.page:not([hidden]) [data-testid=\"{test_id}\"][data-key=\"{key}\"]")
}
