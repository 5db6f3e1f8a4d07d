//! The other pages of the console, in a real browser: each shows what the server knows and follows the log,
//! and its buttons work.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::support::console::{Desk, SEQS, entry, id, message, messages, on_page, post};
use crate::support::folder::Folder;
use crate::support::webdriver::Browser;
use crate::support::{Agentbus, Deployment, Http, Mode, eventually, within};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

/// A command for the processor that fails every message, with markup as the error, until it is mended.
struct Handler(Folder);

impl Handler {
    fn new() -> Self {
        let folder = Folder::new("handler");
        let here = folder.path().display();
        let script = format!(
            "#!/bin/sh\ncat >/dev/null\nif [ -e '{here}/mended' ]; then echo done >>'{here}/done'; exit 0; fi\necho '{EVIL}' >&2\nexit 1\n"
        );
        let path = folder.join("handle");
        std::fs::write(&path, script).expect("write the command");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .expect("executable");
        Self(folder)
    }

    fn command(&self) -> String {
        self.0.join("handle").display().to_string()
    }

    fn mend(&self) {
        std::fs::write(self.0.join("mended"), "").expect("write a file");
    }

    /// Waits until `count` messages are processed.
    async fn done(&self, count: usize) {
        eventually(LIMIT, "the command succeeds", async || {
            let text = std::fs::read_to_string(self.0.join("done")).unwrap_or_default();
            (text.lines().count() == count).then_some(())
        })
        .await;
    }
}

const EVIL: &str = "<img src=x onerror=window.pwned=1><script>window.pwned=1</script>";

/// Turns a job of this queue into a dead letter with this reason.
async fn fail_job(http: &Http, queue: &str, reason: &str) {
    let job = json!({"type": "build", "payload": {"ref": "main", "n": 1}});
    http.post_json(&format!("/v1/queues/{queue}/jobs"), &job).await.expect(201);
    let wanted = json!({"max": 1, "wait_s": 10, "worker": "w1"});
    let leased = http.post_json(&format!("/v1/queues/{queue}/lease"), &wanted).await.expect(200);
    let token = leased.json()["jobs"][0]["lease_token"].as_str().expect("a token").to_owned();
    let path = format!("/v1/leases/{token}/fail");
    http.post_json(&path, &json!({ "reason": reason })).await.expect(200);
}

fn status(agent: &str, kind: &str) -> Value {
    json!({"kind": "status", "type": kind, "sender_id": agent, "content": ""})
}

fn event(task: &str, kind: &str, sender: &str) -> Value {
    json!({"kind": "task", "type": kind, "sender_id": sender, "task_id": task, "content": ""})
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
async fn the_feed_continues_where_it_was_left() {
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

#[tokio::test]
async fn a_page_shows_why_it_cannot_be_loaded_until_it_can() {
    let desk = Desk::with(&[status("alice", "online")]).await;
    desk.page("agents").await;
    desk.many(&on_page("agent"), 1).await;
    desk.agentbus.kill9();
    desk.state("reconnecting").await;
    desk.shows(&on_page("problem"), "cannot be loaded").await;
    desk.many(&on_page("agent"), 1).await;
    desk.browser.screenshot("away").await;
    within(LIMIT, "a restart", desk.agentbus.restart()).await;
    post(&desk.http, &[status("bob", "online")]).await;
    desk.many(&on_page("agent"), 2).await;
    desk.browser.until(&format!("document.querySelector('{}').hidden", on_page("problem"))).await;
    desk.state("live").await;
}

#[tokio::test]
async fn agents_are_updated_as_the_log_grows() {
    let desk = Desk::with(&[
        json!({"kind": "status", "type": "online", "sender_id": "alice", "content": "", "metadata": {"ttl_s": 600}}),
        json!({"kind": "message", "type": "note", "sender_id": "bob", "sender_role": "coder", "recipient_id": "alice", "content": ""}),
    ])
    .await;
    desk.page("agents").await;
    desk.many(&on_page("agent"), 2).await;
    let (alice, bob) = (entry("agent", "alice"), entry("agent", "bob"));
    desk.cells(&alice, &[("Status", "online"), ("Waiting", "1"), ("Consumed through", "0")]).await;
    desk.shows(&format!("{alice} [data-title=Lapses]"), "in 9m").await;
    desk.cells(&bob, &[("Role", "coder"), ("Status", "–"), ("Since", "–"), ("Waiting", "0")]).await;
    post(&desk.http, &[status("alice", "busy"), status("carol", "online")]).await;
    desk.many(&on_page("agent"), 3).await;
    desk.cells(&alice, &[("Status", "busy"), ("Lapses", "–")]).await;
    desk.shows(&on_page("summary"), "3 agents · as of 4").await;
    desk.http.post_json("/v1/agents/alice/inbox/ack", &json!({"through": 2})).await.expect(200);
    desk.cells(&alice, &[("Waiting", "0"), ("Consumed through", "2")]).await;
    desk.browser.screenshot("agents").await;
    desk.browser.click(&format!("{alice} a")).await;
    desk.rows([1, 3]).await;
    assert_eq!(desk.browser.run("return location.search + location.hash").await, "?sender=alice");
}

#[tokio::test]
async fn tasks_are_filtered_and_lead_to_their_messages() {
    let desk = Desk::with(&[
        event("T1", "started", "alice"),
        event("T2", "started", "bob"),
        event("T1", "completed", "alice"),
    ])
    .await;
    desk.page("tasks").await;
    desk.many(&on_page("task"), 2).await;
    desk.cells(&entry("task", "T1"), &[("State", "completed"), ("Messages", "2")]).await;
    desk.cells(&entry("task", "T1"), &[("Last event", "completed"), ("First", "1"), ("Last", "3")])
        .await;
    desk.cells(&entry("task", "T2"), &[("State", "open"), ("Late", "0")]).await;
    desk.browser.click(&on_page("tasks-open")).await;
    desk.many(&on_page("task"), 1).await;
    assert_eq!(desk.hash().await, "#tasks?state=open");
    post(&desk.http, &[event("T2", "failed", "bob"), event("T2", "note", "carol")]).await;
    desk.shows(&on_page("nothing"), "No task is open").await;
    desk.browser.click(&on_page("tasks-done")).await;
    desk.many(&on_page("task"), 2).await;
    desk.cells(&entry("task", "T2"), &[("State", "failed"), ("Late", "1")]).await;
    desk.shows(&format!("{} [data-title=Agents]", entry("task", "T2")), "carol").await;
    desk.browser.screenshot("tasks").await;
    desk.browser.click(&format!("{} th a", entry("task", "T2"))).await;
    desk.rows([2, 4, 5]).await;
    desk.browser.run("history.back()").await;
    desk.many(&on_page("task"), 2).await;
    assert_eq!(desk.hash().await, "#tasks?state=done");
}

#[tokio::test]
async fn a_long_list_is_shown_step_by_step() {
    let events: Vec<Value> =
        (0..150).map(|n| event(&format!("T{n:03}"), "started", "alice")).collect();
    let desk = Desk::with(&events).await;
    desk.page("tasks").await;
    desk.many(&on_page("task"), 100).await;
    desk.browser.click(&on_page("more")).await;
    desk.many(&on_page("task"), 150).await;
    desk.browser.until(&format!("document.querySelector('{}').hidden", on_page("more"))).await;
}

#[tokio::test]
async fn a_consumer_is_paused_resumed_and_reset() {
    let handler = Handler::new();
    handler.mend();
    let server = Agentbus::builder().memory_sqlite().env("PROCESSOR_EXEC", &handler.command());
    let desk = Desk::beside(server, &messages("alice", 3)).await;
    desk.page("consumers").await;
    let row = entry("consumer", "agent-processor");
    desk.cells(&row, &[("State", "running"), ("Processed", "3"), ("Through", "3")]).await;
    handler.done(3).await;
    desk.browser.click(&format!("{row} [data-testid=pause-consumer]")).await;
    desk.shows(&on_page("notice"), "agent-processor is paused").await;
    desk.shows(&format!("{row} [data-title=State]"), "paused").await;
    post(&desk.http, &messages("bob", 2)).await;
    desk.shows(&format!("{row} [data-title=Lag] .number"), "2").await;
    desk.cells(&row, &[("Processed", "3"), ("Dead letters", "0")]).await;
    desk.browser.screenshot("consumers").await;
    desk.browser.click(&format!("{row} [data-testid=resume]")).await;
    desk.cells(&row, &[("State", "running"), ("Processed", "5"), ("Pending", "0")]).await;
    desk.browser.click(&format!("{row} [data-testid=reset]")).await;
    desk.browser.fill(&id("ask-value"), "no number").await;
    desk.browser.click(&id("ask-confirm")).await;
    desk.shows(&id("ask-error"), "Not a sequence").await;
    desk.browser.fill(&id("ask-value"), "1000").await;
    desk.browser.click(&id("ask-confirm")).await;
    desk.shows(&id("ask-error"), "422").await;
    desk.browser.fill(&id("ask-value"), "2").await;
    desk.browser.click(&id("ask-confirm")).await;
    desk.shows(&on_page("notice"), "agent-processor processes again from 2").await;
    desk.cells(&row, &[("Processed", "9"), ("Through", "5")]).await;
    handler.done(9).await;
}

#[tokio::test]
async fn queues_are_counted() {
    let desk = Desk::with(&[]).await;
    desk.page("queues").await;
    desk.shows(&on_page("nothing"), "No queue").await;
    let rules = json!({"lease_s": 60, "max_deliver": 2, "backoff_s": [2, 4]});
    desk.http.put_json("/v1/queues/builds", &rules).await.expect(201);
    fail_job(&desk.http, "builds", "no such branch").await;
    for delay in [0, 0, 600] {
        let job = json!({"type": "build", "payload": {}, "delay_s": delay});
        desk.http.post_json("/v1/queues/builds/jobs", &job).await.expect(201);
    }
    let wanted = json!({"max": 1, "wait_s": 10, "worker": "w1"});
    desk.http.post_json("/v1/queues/builds/lease", &wanted).await.expect(200);
    let row = entry("queue", "builds");
    desk.cells(&row, &[("Waiting", "1"), ("Leased", "1"), ("Delayed", "1")]).await;
    desk.cells(&row, &[("Lease", "1m 0s"), ("Deliveries", "2"), ("Backoff", "2, 4s")]).await;
    desk.browser.screenshot("queues").await;
    desk.browser.click(&format!("{row} [data-title=\"Dead letters\"] a")).await;
    desk.shown("dead-letters").await;
    assert_eq!(desk.hash().await, "#dead-letters?source=builds");
    desk.many(&on_page("dead-letter"), 1).await;
    desk.shows(&on_page("dead-letter"), "no such branch").await;
    desk.browser.click(&on_page("open")).await;
    desk.shows(&on_page("letter-payload"), "\"ref\": \"main\"").await;
    desk.browser.click(&on_page("letter-redrive")).await;
    desk.shows(&on_page("notice"), "1 redriven").await;
    desk.many(&on_page("dead-letter"), 0).await;
    desk.page("queues").await;
    desk.cells(&row, &[("Waiting", "2"), ("Dead letters", "0")]).await;
}

#[tokio::test]
async fn dead_letters_are_read_redriven_and_discarded() {
    let handler = Handler::new();
    let server = Agentbus::builder().memory_sqlite().env("PROCESSOR_EXEC", &handler.command());
    let server = server.env("PROCESSOR_EXEC_SHOW_STDERR", "true");
    let desk = Desk::beside(server, &messages("alice", 4)).await;
    desk.page("dead-letters").await;
    desk.many(&on_page("dead-letter"), 4).await;
    desk.browser.fill(&on_page("source"), "another").await;
    desk.browser.click(&on_page("source-apply")).await;
    desk.shows(&on_page("nothing"), "another has no dead letters").await;
    desk.browser.fill(&on_page("source"), "agent-processor").await;
    desk.browser.click(&on_page("source-apply")).await;
    desk.many(&on_page("dead-letter"), 4).await;

    let first = format!("{}:first-child", on_page("dead-letter"));
    let letters = desk.http.get("/v1/dead-letters").await.expect(200).json();
    let seq = letters["dead_letters"][0]["seq"].to_string();
    desk.cells(&first, &[("Seq", &seq), ("Subject", "agent.message.agent.note")]).await;
    desk.browser.click(&format!("{first} [data-testid=open]")).await;
    desk.shows(&on_page("letter-content"), &format!("alice's {seq}")).await;
    desk.shows(&on_page("attempt"), EVIL).await;
    desk.browser.screenshot("dead-letters").await;
    desk.browser.click(&on_page("letter-close")).await;

    handler.mend();
    desk.browser.click(&format!("{first} [data-testid=redrive]")).await;
    desk.shows(&on_page("notice"), "1 redriven").await;
    desk.many(&on_page("dead-letter"), 3).await;
    handler.done(1).await;

    desk.browser.click(&format!("{first} [data-testid=discard]")).await;
    desk.browser.click(&id("ask-cancel")).await;
    desk.many(&on_page("dead-letter"), 3).await;
    desk.browser.click(&format!("{first} [data-testid=discard]")).await;
    desk.browser.click(&id("ask-confirm")).await;
    desk.shows(&on_page("notice"), "Discarded").await;
    desk.many(&on_page("dead-letter"), 2).await;

    desk.browser.click(&on_page("redrive-all")).await;
    desk.browser.click(&id("ask-confirm")).await;
    desk.shows(&on_page("notice"), "2 redriven").await;
    desk.many(&on_page("dead-letter"), 0).await;
    handler.done(3).await;
    desk.browser.click(&on_page("source-clear")).await;
    desk.shows(&on_page("nothing"), "There are no dead letters").await;
}

#[tokio::test]
async fn what_was_removed_meanwhile_is_reported_in_place() {
    let handler = Handler::new();
    let server = Agentbus::builder().memory_sqlite().env("PROCESSOR_EXEC", &handler.command());
    let desk = Desk::beside(server, &messages("alice", 1)).await;
    desk.page("dead-letters").await;
    desk.many(&on_page("dead-letter"), 1).await;
    let letters = desk.http.get("/v1/dead-letters").await.expect(200).json();
    let path =
        format!("/v1/dead-letters/{}", letters["dead_letters"][0]["id"].as_str().expect("an id"));
    // In one script: the page could read the list again between the deletion and the click.
    let button = on_page("redrive");
    desk.browser
        .run(&format!(
            "const button = document.querySelector('{button}'); \
             fetch('{path}', {{ method: 'DELETE' }}) \
               .then((response) => {{ window.deleted = response.status; button.click(); }});"
        ))
        .await;
    desk.browser.until("window.deleted === 204").await;
    desk.shows(&on_page("refusal"), "404").await;
    desk.many(&on_page("dead-letter"), 0).await;
    desk.browser.click(&on_page("dismiss")).await;
    desk.browser.until(&format!("document.querySelector('{}').hidden", on_page("refusal"))).await;
}

#[tokio::test]
async fn no_page_makes_markup_of_what_it_shows() {
    let handler = Handler::new();
    let started = Deployment::tuned(Mode::Nats, |it| {
        it.env("PROCESSOR_EXEC", &handler.command()).env("PROCESSOR_EXEC_SHOW_STDERR", "true")
    });
    let (deployment, browser) = tokio::join!(started, Browser::start());
    let other = deployment.nats().expect("a NATS server").jetstream().await;
    let subjects = [
        "agent.message.<img/src=x/onerror=pwned=1>.<script>pwned=1</script>",
        "agent.task.<img/src=x/onerror=pwned=1>.<img/src=x>",
        "agent.status.<img/src=x/onerror=pwned=1>.<img/src=x>",
    ];
    let body = format!(
        r#"{{"id":"{EVIL}","type":"{EVIL}","sender_id":"{EVIL}","task_id":"{EVIL}","recipient_id":"{EVIL}","content":"{EVIL}"}}"#
    );
    for subject in subjects {
        let mut marked = async_nats::HeaderMap::new();
        marked.insert("Agentbus", "1");
        for headers in [async_nats::HeaderMap::new(), marked] {
            let sent = other.publish_with_headers(subject, headers, body.clone().into()).await;
            sent.expect("publish").await.expect("the stream takes it");
        }
    }
    fail_job(deployment.http(), "builds", EVIL).await;
    browser.open(&format!("{}/?from=start", deployment.bus())).await;
    browser.until(&format!("({SEQS}).length === 6")).await;
    for (page, row) in [
        ("agents", "agent"),
        ("tasks", "task"),
        ("consumers", "consumer"),
        ("queues", "queue"),
        ("dead-letters", "dead-letter"),
    ] {
        browser.click(&format!("[data-testid=tabs] [data-page=\"{page}\"]")).await;
        browser.until(&format!("document.querySelector('{}')", on_page(row))).await;
        assert_clean(&browser).await;
    }
    browser
        .until(&format!("document.querySelectorAll('{}').length === 7", on_page("dead-letter")))
        .await;
    for nth in 1..=7 {
        browser
            .click(&format!("{}:nth-child({nth}) [data-testid=open]", on_page("dead-letter")))
            .await;
        browser
            .until(&format!(
                "document.querySelector('{}')?.textContent.includes('<img')",
                on_page("letter")
            ))
            .await;
        assert_clean(&browser).await;
        browser.click(&on_page("letter-close")).await;
    }
    browser.screenshot("evil-letters").await;
}

async fn assert_clean(browser: &Browser) {
    let made =
        "return document.querySelectorAll('img, iframe, body script, [onerror], [onload]').length";
    assert_eq!(browser.run(made).await, 0);
    assert_eq!(browser.run("return typeof window.pwned").await, "undefined");
}
