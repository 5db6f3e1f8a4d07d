//! The console's pages beside the feed, clicked through in a real browser: each shows what the server knows, keeps up with
//! the log, and does what its buttons say.

mod common;
mod desk;

use desk::{Desk, id, message, messages, post};
use serde_json::Value;

impl Desk {
    /// Chooses a page at the top, and waits until it is open and connected.
    async fn page(&self, name: &str) {
        self.browser.click(&format!("[data-testid=tabs] [data-page=\"{name}\"]")).await;
        self.shown(name).await;
    }

    /// Waits until a page is open and connected.
    async fn shown(&self, name: &str) {
        let page = format!("document.querySelector('[data-testid=\"page-{name}\"]')");
        self.browser.until(&format!("{page} && !{page}.hidden")).await;
        self.state("live").await;
    }

    async fn hash(&self) -> Value {
        self.browser.run("return location.hash").await
    }
}

#[tokio::test]
async fn the_address_keeps_the_page() {
    let desk = Desk::with(&messages("alice", 2)).await;
    for name in ["agents", "tasks", "consumers", "queues", "dead-letters"] {
        desk.page(name).await;
        assert_eq!(desk.hash().await, format!("#{name}"));
        let current = "[...document.querySelectorAll('[aria-current=page]')].map((link) => link.dataset.page).join()";
        assert_eq!(desk.browser.run(&format!("return {current}")).await, name);
    }
    desk.browser.run("location.reload()").await;
    desk.shown("dead-letters").await;
    desk.browser.run("history.back()").await;
    desk.shown("queues").await;
    desk.browser.run("document.activeElement.blur()").await;
    desk.browser.press("3").await;
    desk.shown("tasks").await;
    desk.browser.press("1").await;
    desk.rows(1..=2).await;
    assert_eq!(desk.hash().await, "");
}

#[tokio::test]
async fn the_feed_goes_on_where_it_was_left() {
    let desk = Desk::with(&messages("alice", 3)).await;
    desk.filter("sender", "alice").await;
    desk.rows(1..=3).await;
    desk.page("agents").await;
    post(&desk.http, &[message("alice", "meanwhile"), message("bob", "not shown")]).await;
    desk.browser.click("[data-testid=tabs] [data-page=live]").await;
    desk.rows(1..=4).await;
    assert_eq!(desk.browser.run("return location.search").await, "?sender=alice");
    desk.state("live").await;
    desk.browser.click(&id("pause")).await;
    desk.state("paused").await;
    desk.page("tasks").await;
    post(&desk.http, &messages("alice", 2)).await;
    desk.browser.run("history.back()").await;
    desk.state("paused").await;
    desk.rows(1..=4).await;
    desk.browser.click(&id("pause")).await;
    desk.rows([1, 2, 3, 4, 6, 7]).await;
}
