//! A server and a browser at its console, for the tests of the console.

use std::ops::Deref;

use serde_json::{Value, json};

use super::agentbus::Builder;
use super::keys::{Keyed, Secured};
use super::webdriver::Browser;
use super::{Agentbus, Http, Mode, wait};

/// A browser at the console.
pub struct Console {
    pub browser: Browser,
}

/// A server on the default bus and store, and a browser at its console.
pub struct Desk {
    pub console: Console,
    pub agentbus: Agentbus,
    pub http: Http,
}

/// A server that needs keys, and a browser at its log-in page.
pub struct Guarded {
    pub console: Console,
    pub secured: Secured,
}

impl Deref for Desk {
    type Target = Console;

    fn deref(&self) -> &Console {
        &self.console
    }
}

impl Deref for Guarded {
    type Target = Console;

    fn deref(&self) -> &Console {
        &self.console
    }
}

impl Guarded {
    /// A server with these variables of the environment.
    pub async fn with(env: &[(&str, &str)]) -> Self {
        let started = Secured::tuned(Mode::MemorySqlite, env);
        let (secured, browser) = tokio::join!(started, Browser::start());
        let guarded = Self { console: Console { browser }, secured };
        guarded.open().await;
        guarded
    }

    /// Opens the console without a session.
    pub async fn open(&self) {
        self.browser.open(self.secured.deployment.bus()).await;
        self.asks_for_key().await;
    }

    /// Waits for the log-in page.
    pub async fn asks_for_key(&self) {
        self.browser.until(&is_shown("login-page")).await;
    }

    /// Enters a key in the log-in page.
    pub async fn enter(&self, key: &str) {
        self.browser.fill(&id("login-key"), key).await;
        self.browser.click(&id("login-send")).await;
    }

    /// Logs in, and waits until the console shows who it is.
    pub async fn log_in(&self, key: &str) {
        self.enter(key).await;
        self.browser.until(&is_shown("me")).await;
    }

    /// Logs in with a new key of this name with these grants.
    pub async fn log_in_with(&self, name: &str, grants: Value) -> Keyed {
        let key = self.secured.make(json!({"name": name, "grants": grants})).await;
        self.log_in(&key.key).await;
        key
    }
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
        let desk = Self { console: Console { browser }, agentbus, http };
        desk.state("live").await;
        desk
    }
}

impl Console {
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

    /// Opens a page by its tab, and waits until it is shown and connected.
    pub async fn page(&self, name: &str) {
        self.browser.click(&format!("[data-testid=tabs] [data-page=\"{name}\"]")).await;
        self.shown(name).await;
    }

    /// Waits until a page is shown and connected.
    pub async fn shown(&self, name: &str) {
        let page = format!("document.querySelector('[data-testid=\"page-{name}\"]')");
        self.browser.until(&format!("{page} && !{page}.hidden")).await;
        self.state("live").await;
    }

    /// Waits until an element's text contains this.
    pub async fn shows(&self, css: &str, text: &str) {
        let (css, text) = (json!(css), json!(text));
        let content = format!("document.querySelector({css})?.textContent");
        self.browser.until(&format!("{content}?.includes({text})")).await;
    }

    /// Waits until the cells of a row have these texts; each is given with the title of its column.
    pub async fn cells(&self, row: &str, wanted: &[(&str, &str)]) {
        for (title, text) in wanted {
            let cell = json!(format!("{row} [data-title=\"{title}\"]"));
            let is = format!("document.querySelector({cell})?.textContent === {}", json!(text));
            self.browser.until(&is).await;
        }
    }

    /// Waits until exactly `count` elements match.
    pub async fn many(&self, css: &str, count: usize) {
        let css = json!(css);
        self.browser.until(&format!("document.querySelectorAll({css}).length === {count}")).await;
    }

    /// The hash of the address.
    pub async fn hash(&self) -> Value {
        self.browser.run("return location.hash").await
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

/// Whether an element is shown, as an expression of the page.
pub fn is_shown(test_id: &str) -> String {
    let css = json!(id(test_id));
    format!("Boolean(document.querySelector({css})?.checkVisibility())")
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
