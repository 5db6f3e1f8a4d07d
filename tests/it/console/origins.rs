//! Pages of other origins: with a ticket they get the events of its filter, without one nothing.

use crate::support::console::{Guarded, message, post};
use crate::support::keys::ROOT;
use crate::support::receiver::{Receiver, Reply};
use serde_json::json;

/// A server of an empty page, and its origin.
async fn page() -> (Receiver, String) {
    let page = Receiver::start().await;
    page.always(Reply::With(200, "content-type", "text/html".to_owned()));
    let origin = format!("http://127.0.0.1:{}", page.port());
    (page, origin)
}

impl Guarded {
    /// Opens a page, and in it an `EventSource` at this address of the bus.
    async fn watch(&self, page: &str, query: &str, options: &str) {
        let bus = self.secured.deployment.bus();
        self.browser.open(page).await;
        self.browser
            .run(&format!(
                "window.got = []; \
                 const source = new EventSource('{bus}/v1/stream?{query}', {options}); \
                 for (const kind of ['message', 'status', 'task']) \
                   source.addEventListener(kind, (event) => got.push(JSON.parse(event.data).content)); \
                 source.addEventListener('error', () => {{ window.failed = source.readyState; }}); \
                 source.addEventListener('ready', () => {{ window.ready = true; }});"
            ))
            .await;
    }

    /// Waits until the `EventSource` is refused for good, and checks that it got nothing.
    async fn gets_nothing(&self) {
        self.browser.until("window.failed === EventSource.CLOSED").await;
        assert_eq!(self.browser.run("return window.ready ?? got").await, json!([]));
    }
}

#[tokio::test]
async fn a_page_of_another_origin_needs_a_ticket() {
    let (_listed, listed) = page().await;
    let (_unlisted, unlisted) = page().await;
    let desk = Guarded::with(&[("CORS_ORIGINS", &listed)]).await;
    desk.log_in(ROOT).await;
    let root = &desk.secured.root;
    let task = json!({"kind": "task", "type": "note", "sender_id": "bob", "task_id": "T1", "content": "task"});
    let all = [message("alice", "one"), task, message("bob", "two")];
    post(root, &all).await;

    // A cookie does not help a page of an origin that is not listed.
    desk.watch(&listed, "from=start", "{}").await;
    desk.gets_nothing().await;
    desk.watch(&unlisted, "from=start", "{ withCredentials: true }").await;
    desk.gets_nothing().await;

    let grants = json!({"read": ["agent.message.>"]});
    let reader = desk.secured.key(grants).await;
    let wanted = json!({"sender": ["alice", "bob"], "ttl_s": 60});
    let made = reader.http.post_json("/v1/tickets", &wanted).await.expect(201).json();
    let ticket = made["ticket"].as_str().expect("a ticket").to_owned();
    let query = format!("ticket={ticket}&last_event_id=0");
    desk.watch(&unlisted, &query, "{}").await;
    desk.gets_nothing().await;
    desk.watch(&listed, &query, "{}").await;
    desk.browser.until("got.join() === 'one,two'").await;
    post(root, &[message("carol", "not asked for"), message("alice", "three")]).await;
    desk.browser.until("got.join() === 'one,two,three'").await;

    desk.secured.revoke(&reader.id).await;
    desk.watch(&listed, &query, "{}").await;
    desk.gets_nothing().await;
}
