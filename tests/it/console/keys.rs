//! The page of keys: make by preset or with grants as JSON, show once, rotate, revoke.

use crate::support::console::{Guarded, entry, id, is_shown, on_page};
use crate::support::keys::ROOT;
use serde_json::{Value, json};

impl Guarded {
    /// Makes a key by preset, and returns its text, which is shown once.
    async fn make_by_preset(&self, preset: &str, of: Option<&str>) -> String {
        self.browser.click(&on_page("make-key")).await;
        self.browser.choose(&id("key-preset"), preset).await;
        if let Some(of) = of {
            self.browser.fill(&id("key-of"), of).await;
        }
        self.browser.click(&id("key-make")).await;
        self.shown_once().await
    }

    /// The key in the dialog that shows it once; closes the dialog.
    async fn shown_once(&self) -> String {
        self.browser.until(&is_shown("secret")).await;
        let key = self.browser.run("return document.querySelector('#secret-key').value").await;
        let key = key.as_str().expect("a key").to_owned();
        self.shows(&id("secret"), "not shown again").await;
        self.browser.screenshot("new-key").await;
        // Escape would lose it.
        for _ in 0..2 {
            self.browser.press("\u{E00C}").await;
        }
        assert_eq!(self.browser.run(&format!("return {}", is_shown("secret"))).await, true);
        self.browser.click(&id("secret-done")).await;
        let page = "return document.documentElement.outerHTML";
        let page = self.browser.run(page).await;
        assert!(!page.as_str().expect("HTML").contains(&key), "it is shown once");
        key
    }

    async fn me(&self, key: &str) -> (u16, Value) {
        let answer = self.secured.stranger().with_key(key).get("/v1/me").await;
        (answer.status, answer.json())
    }
}

#[tokio::test]
async fn each_preset_makes_a_key_that_is_shown_once() {
    let desk = Guarded::with(&[]).await;
    desk.log_in(ROOT).await;
    desk.page("keys").await;
    desk.shows(&on_page("nothing"), "There are no keys").await;
    let publish = json!(["agent.message.>", "agent.status.ann.>", "agent.task.>"]);
    let everything = desk.secured.root.get("/v1/me").await.json()["grants"].take();
    let presets = [
        (
            "Agent",
            Some("ann"),
            "agent",
            json!({"as": ["ann"], "publish": publish, "enqueue": ["*"]}),
        ),
        (
            "Human",
            Some("ann"),
            "human",
            json!({"as": ["ann"], "publish": publish, "enqueue": ["*"], "read": ["agent.>"], "can": ["observe"]}),
        ),
        ("Watcher", None, "service", json!({"read": ["agent.>"], "can": ["observe"]})),
        ("Worker", Some("builds"), "agent", json!({"work": ["builds"]})),
        ("Admin", None, "human", everything),
    ];
    for (at, (preset, of, kind, grants)) in presets.into_iter().enumerate() {
        let key = desk.make_by_preset(preset, of).await;
        let (status, me) = desk.me(&key).await;
        assert_eq!(status, 200, "{me}");
        assert_eq!((&me["kind"], &me["grants"]), (&json!(kind), &grants), "{preset}");
        let row = entry("key", me["id"].as_str().expect("an id"));
        desk.many(&on_page("key"), at + 1).await;
        desk.cells(&row, &[("Kind", kind), ("Limits", "–"), ("Expires", "never")]).await;
    }
    desk.browser.screenshot("keys").await;
    desk.shows(&on_page("summary"), "5 keys").await;
}

#[tokio::test]
async fn a_key_is_made_of_json_with_an_end() {
    let desk = Guarded::with(&[]).await;
    desk.log_in(ROOT).await;
    desk.page("keys").await;
    desk.browser.click(&on_page("make-key")).await;
    desk.browser.click(&id("key-make")).await;
    desk.shows(&id("key-error"), "Not a sender id").await;
    desk.browser.choose(&id("key-preset"), "Grants as JSON").await;
    desk.browser.fill(&id("key-name"), "reader <b>").await;
    desk.browser.choose(&id("key-life"), "in 7 days").await;
    for (grants, error) in [("{", "no JSON"), (r#"{"fly":["x"]}"#, "/grants/fly")] {
        desk.browser.fill(&id("key-grants"), grants).await;
        desk.browser.click(&id("key-make")).await;
        desk.shows(&id("key-error"), error).await;
    }
    desk.browser.screenshot("make-key").await;
    desk.browser.fill(&id("key-grants"), r#"{"read":["agent.task.>"]}"#).await;
    desk.browser.click(&id("key-make")).await;
    let (_, me) = desk.me(&desk.shown_once().await).await;
    assert_eq!(me["grants"], json!({"read": ["agent.task.>"]}));
    let row = entry("key", me["id"].as_str().expect("an id"));
    desk.shows(&format!("{row} [data-title=Expires]"), "in 6d 23h").await;
    desk.shows(&row, "reader <b>").await;
}

#[tokio::test]
async fn a_key_is_rotated_with_an_overlap_and_revoked() {
    let desk = Guarded::with(&[]).await;
    desk.log_in(ROOT).await;
    desk.page("keys").await;
    let first = desk.make_by_preset("Agent", Some("ann")).await;
    let row = entry("key", desk.me(&first).await.1["id"].as_str().expect("an id"));
    let rotate = async |overlap: &str| {
        desk.browser.click(&format!("{row} [data-testid=rotate]")).await;
        desk.browser.choose(&id("ask-value"), overlap).await;
        desk.browser.click(&id("ask-confirm")).await;
        desk.shown_once().await
    };
    let second = rotate("in 1 hour").await;
    desk.shows(&on_page("notice"), "ann is rotated").await;
    desk.shows(&row, "old secret ends in 59m").await;
    assert_eq!((desk.me(&first).await.0, desk.me(&second).await.0), (200, 200));
    let third = rotate("at once").await;
    let statuses = [desk.me(&first).await.0, desk.me(&second).await.0, desk.me(&third).await.0];
    assert_eq!(statuses, [401, 401, 200]);

    desk.browser.click(&format!("{row} [data-testid=revoke]")).await;
    desk.shows(&id("ask"), "sessions, tickets, streams").await;
    desk.browser.click(&id("ask-cancel")).await;
    assert_eq!(desk.me(&third).await.0, 200);
    desk.browser.click(&format!("{row} [data-testid=revoke]")).await;
    desk.browser.click(&id("ask-confirm")).await;
    desk.shows(&on_page("notice"), "ann is revoked").await;
    desk.many(&on_page("key"), 0).await;
    assert_eq!(desk.me(&third).await.0, 401);
}

#[tokio::test]
async fn one_who_rotates_the_own_key_sees_the_new_secret_and_then_logs_in() {
    let desk = Guarded::with(&[]).await;
    let everything = desk.secured.root.get("/v1/me").await.json()["grants"].take();
    let own = json!({"name": "boss", "kind": "human", "grants": everything});
    let own = desk.secured.make(own).await;
    desk.log_in(&own.key).await;
    desk.page("keys").await;
    let row = entry("key", &own.id);
    desk.shows(&row, "you").await;
    desk.browser.click(&format!("{row} [data-testid=rotate]")).await;
    desk.shows(&id("ask"), "You are logged in with this key").await;
    desk.browser.click(&id("ask-confirm")).await;
    desk.shows(&id("ended"), "This key was revoked").await;
    let new = desk.shown_once().await;
    desk.browser.click(&id("log-in-again")).await;
    desk.asks_for_key().await;
    desk.log_in(&new).await;
    desk.shown("keys").await;
}
