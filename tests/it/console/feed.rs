//! The feed of the console in a real browser: it shows everything that the server streams, once, and executes
//! none of it. The other pages are tested in `pages.rs`.

use std::time::Duration;

use crate::support::console::{Desk, SEQS, id, message, messages, post, row, text_of};
use crate::support::webdriver::Browser;
use crate::support::{Agentbus, Deployment, Mode, within};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_feed_begins_with_history_and_continues_live() {
    let desk = Desk::with(&messages("alice", 3)).await;
    desk.rows(1..=3).await;
    post(&desk.http, &[message("bob", "hello from bob"), json!({"kind": "task", "type": "completed", "sender_id": "bob", "task_id": "T1", "content": "done"})]).await;
    desk.rows(1..=5).await;
    let text =
        desk.browser.run(&format!("return document.querySelector('{}').textContent", row(4))).await;
    let text = text.as_str().expect("text").to_owned();
    assert!(
        text.contains("hello from bob") && text.contains("bob") && text.contains("note"),
        "{text}"
    );
    let kind = desk
        .browser
        .run(&format!("return document.querySelector('{}').dataset.kind", row(5)))
        .await;
    assert_eq!(kind, "task");
    desk.browser.screenshot("live").await;
}

#[tokio::test]
async fn a_filter_applies_to_history_and_live() {
    let desk = Desk::with(&[messages("alice", 3), messages("bob", 3)].concat()).await;
    desk.filter("sender", "bob").await;
    desk.rows(4..=6).await;
    desk.state("live").await;
    post(&desk.http, &[message("alice", "not shown"), message("bob", "shown")]).await;
    desk.rows([4, 5, 6, 8]).await;
    assert_eq!(desk.browser.run("return location.search").await, "?sender=bob");
    desk.filter("sender", "").await;
    desk.rows(1..=8).await;
    // The counts in the side bar switch the same filters on and off.
    desk.browser.click("[data-testid=rail-sender][data-value=alice]").await;
    desk.rows([1, 2, 3, 7]).await;
    desk.filter("subject", "agent.task.>").await;
    desk.rows([]).await;
}

#[tokio::test]
async fn a_filter_that_the_server_refuses_is_reported() {
    let desk = Desk::with(&messages("alice", 3)).await;
    desk.filter("kind", "gossip").await;
    desk.state("error").await;
    let text = desk.browser.until(&text_of("error")).await;
    let text = text.as_str().expect("text").to_owned();
    assert!(text.contains("422") && text.contains("kind"), "{text}");
    assert_eq!(
        desk.browser.run("return document.querySelector('[data-testid=error]').hidden").await,
        false
    );
    desk.filter("kind", "message").await;
    desk.rows(1..=3).await;
    desk.state("live").await;
}

#[tokio::test]
async fn replay_begins_at_the_given_sequence() {
    let desk = Desk::with(&messages("alice", 30)).await;
    desk.browser.fill(&id("replay-from"), "11").await;
    desk.browser.click(&id("replay-go")).await;
    desk.rows(11..=30).await;
    desk.state("live").await;
    post(&desk.http, &messages("bob", 2)).await;
    desk.rows(11..=32).await;
    desk.browser.click(&id("replay-start")).await;
    desk.rows(1..=32).await;
    desk.state("live").await;
    desk.browser.click(&id("replay-now")).await;
    desk.state("live").await;
    post(&desk.http, &messages("eve", 1)).await;
    desk.browser.until(&format!("({SEQS}).at(-1) === '33'")).await;
}

#[tokio::test]
async fn older_pages_are_put_before_what_is_shown() {
    let desk = Desk::with(&messages("alice", 450)).await;
    desk.rows(251..=450).await;
    desk.browser.click(&id("older")).await;
    desk.rows(51..=450).await;
    desk.browser.click(&id("older")).await;
    desk.rows(1..=450).await;
    desk.browser.until(&format!("document.querySelector('{}').hidden", id("older"))).await;
}

#[tokio::test]
async fn a_pause_holds_the_feed_still_and_loses_nothing() {
    let desk = Desk::with(&messages("alice", 3)).await;
    desk.rows(1..=3).await;
    desk.browser.click(&id("pause")).await;
    desk.state("paused").await;
    post(&desk.http, &messages("bob", 50)).await;
    desk.browser.until(&format!("{}.includes('50')", text_of("pause"))).await;
    desk.rows(1..=3).await;
    desk.browser.click(&id("pause")).await;
    desk.rows(1..=53).await;
    desk.state("live").await;
    post(&desk.http, &messages("eve", 2)).await;
    desk.rows(1..=55).await;
}

#[tokio::test]
async fn the_detail_of_a_message_has_all_of_it_as_it_was_sent() {
    let metadata = r#"{"big":12345678901234567890,"one":1.0,"text":"é","list":[1,2]}"#;
    let body = format!(
        r#"{{"kind":"message","type":"note","sender_id":"alice","recipient_id":"bob","content":"first line\n  second line","metadata":{metadata}}}"#
    );
    let desk = Desk::with(&messages("alice", 2)).await;
    desk.http.post("/v1/messages", "application/json", body).await.expect(201);
    desk.browser.click(&row(3)).await;
    let content = desk.browser.until(&text_of("detail-content")).await;
    assert_eq!(content, "first line\n  second line");
    let shown = desk.browser.run(&format!("return {}", text_of("detail-metadata"))).await;
    let squeezed: String = shown.as_str().expect("text").split_whitespace().collect();
    assert_eq!(squeezed, metadata);
    let detail = desk.browser.run(&format!("return {}", text_of("detail"))).await;
    let detail = detail.as_str().expect("text").to_owned();
    assert!(detail.contains("agent.message.agent.note") && detail.contains("bob"), "{detail}");
    assert_eq!(desk.browser.run("return location.hash").await, "#seq=3");
    desk.browser.screenshot("detail").await;
}

#[tokio::test]
async fn nothing_that_a_message_holds_is_run_or_becomes_markup() {
    const EVIL: [&str; 4] = [
        "<img src=x onerror=\"window.pwned=1\">",
        "<script>window.pwned=1</script>",
        "</pre><svg onload=window.pwned=1>",
        "javascript:window.pwned=1",
    ];
    let (deployment, browser) = tokio::join!(Deployment::start(Mode::Nats), Browser::start());
    let evil: Vec<serde_json::Value> = EVIL
        .iter()
        .map(|evil| json!({"kind": "message", "type": "note", "sender_id": "eve", "content": evil, "metadata": {*evil: [evil]}}))
        .collect();
    post(deployment.http(), &evil).await;
    let other = deployment.nats().expect("a NATS server").jetstream().await;
    let subject = "agent.message.<img/src=x/onerror=pwned=1>.<script>pwned=1</script>";
    let body = r#"{"id":"<img src=x onerror=pwned=1>","type":"<img src=x onerror=pwned=1>","sender_id":"<img src=x onerror=pwned=1>","<img src=x onerror=pwned=1>":"<img src=x onerror=pwned=1>"}"#;
    let mut marked = async_nats::HeaderMap::new();
    marked.insert("Agentbus", "1");
    for headers in [async_nats::HeaderMap::new(), marked] {
        let sent = other.publish_with_headers(subject, headers, body.into()).await;
        sent.expect("publish").await.expect("the stream takes it");
    }
    browser.open(&format!("{}/?from=start", deployment.bus())).await;
    browser.until(&format!("({SEQS}).length === 6")).await;
    for seq in 1..=6 {
        browser.click(&row(seq)).await;
        browser.until(&format!("{}.includes('#{seq}')", text_of("detail"))).await;
        if let Some(evil) = EVIL.get(usize::try_from(seq).expect("small") - 1) {
            assert_eq!(browser.run(&format!("return {}", text_of("detail-content"))).await, *evil);
        }
        let made = browser.run("return document.querySelectorAll('img, iframe, #list script, #detail script, [onerror], [onload]').length");
        assert_eq!(made.await, 0);
    }
    assert_eq!(browser.run("return typeof window.pwned").await, "undefined");
    browser.screenshot("evil").await;
}

#[tokio::test]
async fn scripts_come_from_the_server_alone() {
    let agentbus = Agentbus::builder().memory_sqlite().start().await;
    let answer = agentbus.http().get("/").await.expect(200);
    assert!(answer.header("content-type").expect("Content-Type").starts_with("text/html"));
    let policy =
        answer.header("content-security-policy").expect("Content-Security-Policy").to_owned();
    let scripts = policy.split(';').map(str::trim);
    let scripts = scripts
        .clone()
        .find(|part| part.starts_with("script-src"))
        .or_else(|| scripts.clone().find(|part| part.starts_with("default-src")));
    assert_eq!(scripts.expect("a rule for scripts").split_once(' ').expect("a source").1, "'self'");
    assert!(!policy.contains("unsafe-eval"), "{policy}");
}

#[tokio::test]
async fn a_composed_message_is_sent_once_and_shown() {
    let desk = Desk::with(&[]).await;
    desk.browser.click(&id("compose-open")).await;
    desk.browser.choose(&id("compose-kind"), "task").await;
    for (name, text) in [
        ("type", "completed"),
        ("sender_id", "operator"),
        ("task_id", "T1"),
        ("content", "all done"),
        ("metadata", "{\"a\": 1.0}"),
    ] {
        desk.browser.fill(&id(&format!("compose-{name}")), text).await;
    }
    desk.browser.click(&id("compose-send")).await;
    let result = desk
        .browser
        .until(&format!("{0}.startsWith('Sent') && {0}", text_of("compose-result")))
        .await;
    assert!(result.as_str().expect("text").contains('1'), "{result}");
    desk.rows([1]).await;
    let log = desk.http.get("/v1/messages").await.expect(200).json();
    assert_eq!(log["messages"].as_array().map(Vec::len), Some(1), "{log}");
    let sent = &log["messages"][0];
    assert_eq!(
        (&sent["subject"], &sent["content"]),
        (&json!("agent.task.T1.completed"), &json!("all done"))
    );
    assert_eq!(sent["metadata"], json!({"a": 1.0}));
}

#[tokio::test]
async fn what_the_server_refuses_is_reported_beside_its_field() {
    let desk = Desk::with(&[]).await;
    desk.browser.click(&id("compose-open")).await;
    desk.browser.fill(&id("compose-type"), "two words").await;
    desk.browser.fill(&id("compose-recipient_id"), "no/token").await;
    desk.browser.click(&id("compose-send")).await;
    for name in ["type", "recipient_id"] {
        desk.browser.until(&text_of(&format!("compose-error-{name}"))).await;
    }
    assert_eq!(
        desk.browser.run(&format!("return {}", text_of("compose-error-sender_id"))).await,
        ""
    );
    desk.browser.fill(&id("compose-metadata"), "{not json").await;
    desk.browser.click(&id("compose-send")).await;
    desk.browser.until(&text_of("compose-error-metadata")).await;
    desk.browser.screenshot("refused").await;
    for (name, text) in [("type", "note"), ("recipient_id", ""), ("metadata", "")] {
        desk.browser.fill(&id(&format!("compose-{name}")), text).await;
    }
    desk.browser.click(&id("compose-send")).await;
    desk.rows([1]).await;
    assert_eq!(desk.browser.run(&format!("return {}", text_of("compose-error-type"))).await, "");
}

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_leaves_no_gap_and_no_duplicate() {
    let desk = Desk::with(&messages("alice", 20)).await;
    desk.rows(1..=20).await;
    for round in 1..=2 {
        desk.agentbus.kill9();
        desk.state("reconnecting").await;
        within(LIMIT, "a restart", desk.agentbus.restart()).await;
        post(&desk.http, &messages("bob", 20)).await;
        desk.state("live").await;
        post(&desk.http, &messages("eve", 5)).await;
        desk.rows(1..=20 + 25 * round).await;
    }
}

#[tokio::test]
async fn lost_messages_are_shown_as_a_gap() {
    let (deployment, browser) = tokio::join!(Deployment::start(Mode::Nats), Browser::start());
    let nats = deployment.nats().expect("a NATS server");
    deployment.agentbus().terminate().await;
    let jetstream = nats.jetstream().await;
    for _ in 0..4 {
        let sent = jetstream.publish("agent.task.T1.note", "x".into()).await;
        sent.expect("publish").await.expect("the stream takes it");
    }
    let stream = jetstream.get_stream("agent-messages").await.expect("the stream");
    for seq in [2, 3] {
        assert!(stream.delete_message(seq).await.expect("delete a message"));
    }
    deployment.agentbus().restart().await;
    browser.open(&format!("{}/?from=start", deployment.bus())).await;
    browser.until(&format!("({SEQS}).join() === '1,4'")).await;
    let gaps = browser.run("return [...document.querySelectorAll('[data-testid=gap]')].map((gap) => ({...gap.dataset}))").await;
    assert_eq!(gaps.as_array().map(Vec::len), Some(1), "{gaps}");
    assert_eq!(
        (&gaps[0]["from"], &gaps[0]["to"], &gaps[0]["reason"]),
        (&json!("2"), &json!("3"), &json!("expired"))
    );
}
