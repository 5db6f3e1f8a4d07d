//! The console with identity: logging in and out, the end of a key, what a key lacks. With `AUTH=off` nothing of it is
//! shown.

use std::time::Duration;

use crate::support::console::{
    Desk, Guarded, SEQS, entry, id, is_shown, message, messages, on_page, post,
};
use crate::support::keys::ROOT;
use crate::support::{eventually, within};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(30);

fn is_hidden(test_id: &str) -> String {
    format!("!{}", is_shown(test_id))
}

#[tokio::test]
async fn a_browser_logs_in_watches_is_revoked_and_sees_why() {
    let desk = Guarded::with(&[]).await;
    let root = desk.secured.root.clone();
    post(&root, &messages("alice", 2)).await;
    desk.browser.screenshot("log-in").await;
    assert_eq!(desk.browser.run(&format!("return ({SEQS}).length")).await, 0);
    desk.enter("ab_nothing_0123456789").await;
    desk.shows(&id("login-error"), "This key is not valid").await;
    desk.browser.screenshot("log-in-refused").await;

    desk.log_in(&format!("  {ROOT} ")).await;
    desk.rows(1..=2).await;
    desk.state("live").await;
    desk.shows(&id("me"), "root").await;
    desk.shows(&id("me"), "human").await;
    desk.shows(&id("me"), "every grant").await;
    let stored = "return [localStorage.length, sessionStorage.length, document.cookie].join()";
    assert_eq!(desk.browser.run(stored).await, "0,0,", "the key and the session are out of reach");
    post(&root, &[message("bob", "hello from bob")]).await;
    desk.rows(1..=3).await;
    desk.browser.screenshot("feed-with-identity").await;

    desk.secured.end_root();
    desk.shows(&id("ended"), "This key was revoked").await;
    desk.state("stopped").await;
    desk.browser.screenshot("revoked").await;
    desk.rows(1..=3).await;
    assert_eq!(desk.browser.run(&format!("return {}", is_shown("login-page"))).await, false);
    desk.browser.click(&id("log-in-again")).await;
    desk.asks_for_key().await;
    desk.shows(&id("login-why"), "This key was revoked").await;
    desk.enter(ROOT).await;
    desk.shows(&id("login-error"), "This key is not valid").await;
}

#[tokio::test]
async fn a_key_that_expires_says_so_on_every_page() {
    let desk = Guarded::with(&[]).await;
    let end = chrono::Utc::now() + Duration::from_secs(12);
    let grants = json!({"read": ["agent.>"], "can": ["observe"]});
    let key = json!({"name": "short", "grants": grants, "expires_at": end.to_rfc3339()});
    let key = desk.secured.make(key).await;
    desk.log_in(&key.key).await;
    desk.page("agents").await;
    desk.shows(&id("ended"), "This key has expired").await;
    desk.state("stopped").await;
}

#[tokio::test]
async fn a_session_that_ended_while_the_server_was_away_leads_to_the_log_in_page() {
    let desk = Guarded::with(&[]).await;
    desk.log_in(ROOT).await;
    desk.state("live").await;
    let agentbus = desk.secured.deployment.agentbus();
    agentbus.kill9();
    desk.state("reconnecting").await;
    desk.secured.end_root();
    within(LIMIT, "a restart", agentbus.restart()).await;
    desk.asks_for_key().await;
    desk.shows(&id("login-why"), "Your session has ended").await;
}

#[tokio::test]
async fn logging_out_ends_the_session() {
    let desk = Guarded::with(&[]).await;
    desk.log_in(ROOT).await;
    desk.state("live").await;
    desk.browser.click(&id("log-out")).await;
    desk.asks_for_key().await;
    desk.browser.run("fetch('/v1/me').then((me) => { window.status_of_me = me.status; })").await;
    desk.browser.until("window.status_of_me === 401").await;
    // From the keyboard alone: the field has the focus.
    let paste = format!(
        "const data = new DataTransfer(); data.setData('text', ' {ROOT}\\n'); \
         const field = document.activeElement; \
         field.dispatchEvent(new ClipboardEvent('paste', {{ clipboardData: data, cancelable: true }})); \
         return field.value"
    );
    assert_eq!(desk.browser.run(&paste).await, ROOT);
    desk.browser.press("\u{E007}").await;
    desk.browser.until(&is_shown("me")).await;
}

#[tokio::test]
async fn wrong_keys_are_slowed_down_and_a_right_one_is_not() {
    let desk = Guarded::with(&[]).await;
    let wrong = desk.secured.stranger().with_key("ab_wrong");
    let guess = async {
        loop {
            wrong.get("/v1/me").await;
        }
    };
    let log_in = async {
        eventually(LIMIT, "guesses are refused", async || {
            (wrong.get("/v1/me").await.status == 429).then_some(())
        })
        .await;
        desk.enter("ab_wrong").await;
        desk.shows(&id("login-error"), "Too many tries").await;
        desk.log_in(ROOT).await;
    };
    tokio::select! {
        () = guess => {}
        () = log_in => {}
    }
}

#[tokio::test]
async fn a_server_that_cannot_log_in_now_says_why() {
    let desk = Guarded::with(&[]).await;
    let starting = json!({"status": 503, "code": "starting", "detail": "waits for the store"});
    desk.browser
        .run(&format!(
            "window.fetch = async () => new Response(JSON.stringify({starting}), \
               {{ status: 503, headers: {{ 'content-type': 'application/problem+json' }} }})"
        ))
        .await;
    desk.enter(ROOT).await;
    desk.shows(&id("login-error"), "The server is starting").await;
    desk.shows(&id("login-error"), "waits for the store").await;
    desk.open().await;
    desk.secured.deployment.agentbus().kill9();
    desk.enter(ROOT).await;
    desk.shows(&id("login-error"), "Cannot reach the server").await;
}

#[tokio::test]
async fn what_a_key_lacks_is_said_in_plain_words() {
    let desk = Guarded::with(&[]).await;
    let grants = json!({"as": ["ann"], "publish": ["agent.message.>"], "read": ["agent.>"]});
    desk.log_in_with("ann", grants).await;
    desk.state("live").await;
    desk.shows(&id("rail"), "This key lacks: can observe").await;
    assert_eq!(desk.browser.run(&format!("return {}", is_hidden("log-in"))).await, true);
    let tab = "document.querySelector('[data-page=keys]').hidden";
    assert_eq!(desk.browser.run(&format!("return {tab}")).await, true);
    for (page, needs) in [("consumers", "can observe"), ("dead-letters", "can dead_letters")] {
        desk.page(page).await;
        desk.shows(&on_page("problem"), &format!("This key lacks: {needs}")).await;
    }
    desk.browser.screenshot("forbidden").await;
    desk.browser.click(&id("compose-open")).await;
    let sender = "document.querySelector('[data-testid=compose-sender_id]').value";
    assert_eq!(desk.browser.run(&format!("return {sender}")).await, "ann");
    desk.browser.fill(&id("compose-type"), "note").await;
    desk.browser.fill(&id("compose-sender_id"), "bob").await;
    desk.browser.click(&id("compose-send")).await;
    desk.shows(&id("compose-result"), "This key lacks: as bob").await;
}

#[tokio::test]
async fn a_watcher_sees_consumers_and_cannot_pause_them() {
    let desk = Guarded::with(&[]).await;
    desk.log_in_with("screen", json!({"read": ["agent.>"], "can": ["observe"]})).await;
    desk.page("consumers").await;
    let row = entry("consumer", "agent-processor");
    desk.browser.click(&format!("{row} [data-testid=pause-consumer]")).await;
    desk.shows(&on_page("refusal"), "This key lacks: can process").await;
    // A key that reads nothing has lists, and no feed.
    desk.browser.click(&id("log-out")).await;
    desk.asks_for_key().await;
    desk.log_in_with("worker", json!({"work": ["builds"]})).await;
    desk.browser.click("[data-testid=tabs] [data-page=live]").await;
    desk.shows(&id("error"), "This key lacks: read").await;
    desk.browser.click("[data-testid=tabs] [data-page=queues]").await;
    desk.shows(&on_page("nothing"), "No queue").await;
    desk.state("asking").await;
}

#[tokio::test]
async fn without_keys_nothing_of_identity_is_shown() {
    let desk = Desk::with(&messages("alice", 2)).await;
    desk.rows(1..=2).await;
    let hidden = ["login-page", "me", "log-out", "ended"].map(is_hidden).join(" && ");
    let no_tab = "!document.querySelector('[data-page=keys]').checkVisibility()";
    assert_eq!(desk.browser.run(&format!("return {hidden} && {no_tab}")).await, true);
    // The address of the keys leads to the feed, as any unknown one.
    desk.browser.run("location.hash = '#keys'").await;
    desk.browser.run("document.activeElement.blur()").await;
    desk.browser.press("7").await;
    desk.rows(1..=2).await;
    // The cookie of another server on this machine is refused once, and removed.
    desk.browser.run("document.cookie = 'agentbus_session=stale; path=/'; location.reload()").await;
    desk.rows(1..=2).await;
    desk.state("live").await;
    assert_eq!(desk.browser.run("return document.cookie").await, "");
    assert_eq!(desk.browser.run(&format!("return {hidden} && {no_tab}")).await, true);
}
