//! A restart must not stop plain `EventSource`s for good. Tested with npm's and Chromium's, under load and
//! many kills.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::support::webdriver::Browser;
use crate::support::{Agentbus, Deployment, Http, Mode, eventually, programs};

/// How often the server is killed.
const KILLS: usize = 50;
/// EventSources of the npm package `eventsource`.
const SOURCES: usize = 12;
/// EventSources in Chromium: as many as it opens to one server at once, less one for the page itself.
const TABS: usize = 5;
const LIMIT: Duration = Duration::from_secs(60);
/// How many messages are acknowledged between two kills.
const LIFE: usize = 15;

/// What one EventSource has received.
#[derive(Clone, Debug, Default)]
struct Seen {
    ids: Vec<u64>,
    opened: usize,
    closed: bool,
}

/// EventSources of the npm package, in a Node process.
struct Npm {
    seen: Arc<Mutex<Vec<Seen>>>,
    _process: Child,
}

impl Npm {
    fn start(url: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hostile/event_sources.mjs");
        let mut process = Command::new(programs::node())
            .args([script, &programs::node_clients().to_string_lossy(), url, &SOURCES.to_string()])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node runs");
        let seen = Arc::new(Mutex::new(vec![Seen::default(); SOURCES]));
        let (mut lines, into) =
            (BufReader::new(process.stdout.take().expect("piped")).lines(), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let line: Value = serde_json::from_str(&line).expect("a line of JSON");
                let source =
                    usize::try_from(line["source"].as_u64().expect("a source")).expect("small");
                let seen = &mut into.lock().expect("no panic")[source];
                match line["what"].as_str() {
                    Some("event") => seen.ids.push(line["id"].as_u64().expect("an id")),
                    Some("open") => seen.opened += 1,
                    _ => seen.closed = true,
                }
            }
        });
        Self { seen, _process: process }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }
}

/// Opens EventSources in a page of our server.
async fn open_tabs(browser: &Browser, url: &str) {
    browser.open(&format!("{url}/favicon.svg")).await;
    let script = format!(
        "window.seen = Array.from({{length: {TABS}}}, () => ({{ids: [], opened: 0, closed: false}}));
         window.sources = window.seen.map((seen) => {{
           const events = new EventSource('/v1/stream?from=1');
           for (const kind of ['message', 'status', 'task'])
             events.addEventListener(kind, (event) => seen.ids.push(Number(event.lastEventId)));
           events.onopen = () => {{ seen.opened += 1; }};
           events.onerror = () => {{ seen.closed ||= events.readyState === EventSource.CLOSED; }};
           return events;
         }});"
    );
    browser.run(&script).await;
}

async fn seen_in_tabs(browser: &Browser) -> Vec<Seen> {
    let tabs = browser.run("return window.seen").await;
    let seen = |tab: &Value| Seen {
        ids: tab["ids"].as_array().expect("ids").iter().filter_map(Value::as_u64).collect(),
        opened: usize::try_from(tab["opened"].as_u64().expect("a count")).expect("small"),
        closed: tab["closed"].as_bool().expect("true or false"),
    };
    tabs.as_array().expect("tabs").iter().map(seen).collect()
}

/// Posts messages one after the other, each until it is acknowledged, and counts them.
async fn load(http: Http, acknowledged: Arc<Mutex<usize>>, over: CancellationToken) {
    let mut number = 0;
    while !over.is_cancelled() {
        let message = json!({"kind": "message", "type": "note", "sender_id": "load", "content": format!("message {number}")});
        let key = format!("load-{number}");
        let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
        let posted = http
            .request(reqwest::Method::POST, "/v1/messages", &headers, message.to_string())
            .await;
        if posted.is_ok_and(|answer| matches!(answer.status, 200 | 201)) {
            number += 1;
            *acknowledged.lock().expect("no panic") = number;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// Waits until `more` messages are acknowledged.
async fn acknowledged_more(acknowledged: &Mutex<usize>, more: usize) {
    let wanted = *acknowledged.lock().expect("no panic") + more;
    eventually(LIMIT, "more messages are acknowledged", async || {
        (*acknowledged.lock().expect("no panic") >= wanted).then_some(())
    })
    .await;
}

/// Fails the test unless every EventSource has received every message once, in order, and none has closed.
async fn all_complete(npm: &Npm, browser: &Browser, last: u64) {
    let complete = |seen: &Seen| seen.ids.last() == Some(&last);
    eventually(LIMIT, "every source reaches the last message", async || {
        let tabs = seen_in_tabs(browser).await;
        let all: Vec<Seen> = npm.seen().into_iter().chain(tabs).collect();
        if let Some(closed) = all.iter().find(|seen| seen.closed) {
            panic!("a source closed for good after {} events", closed.ids.len());
        }
        all.iter().all(complete).then_some(())
    })
    .await;
    for (number, seen) in npm.seen().into_iter().chain(seen_in_tabs(browser).await).enumerate() {
        assert!(seen.ids.iter().copied().eq(1..=last), "source {number}: {:?}", seen.ids);
    }
}

async fn last_seq(http: &Http) -> u64 {
    let page = http.get("/v1/messages?order=desc&limit=1").await.json();
    page["messages"][0]["seq"].as_u64().expect("a message")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_event_sources_survive_fifty_kills_under_load() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let (acknowledged, over) = (Arc::new(Mutex::new(0)), CancellationToken::new());
    let load = tokio::spawn(load(server.http(), Arc::clone(&acknowledged), over.clone()));
    let (npm, browser) = (Npm::start(server.url()), Browser::start().await);
    open_tabs(&browser, server.url()).await;
    for _ in 0..KILLS {
        acknowledged_more(&acknowledged, LIFE).await;
        server.kill9();
        server.restart_listening().await;
    }
    server.wait_ready().await;
    over.cancel();
    load.await.expect("the load ends");
    all_complete(&npm, &browser, last_seq(&server.http()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_come_back_while_the_server_is_starting() {
    let page = "https://app.example.com";
    let deployment = Deployment::tuned(Mode::Nats, |it| it.env("CORS_ORIGINS", page)).await;
    let (server, http) = (deployment.agentbus(), deployment.http());
    let nats = deployment.nats().expect("a NATS server");
    let message = json!({"kind": "message", "type": "note", "sender_id": "load"});
    http.post_json("/v1/messages", &message).await.expect(201);
    let (npm, browser) = (Npm::start(server.url()), Browser::start().await);
    open_tabs(&browser, server.url()).await;
    let opened = async || {
        let tabs = seen_in_tabs(&browser).await;
        npm.seen().into_iter().chain(tabs).map(|seen| seen.opened).collect::<Vec<_>>()
    };
    all_complete(&npm, &browser, 1).await;
    for round in 0..3 {
        nats.pause();
        server.kill9();
        server.restart_listening().await;
        // Other programs get a 503; an EventSource gets a stream that ends without an event.
        let refused =
            http.request(reqwest::Method::GET, "/v1/stream", &[], "").await.expect("an answer");
        assert_eq!(refused.status, 503, "{}", refused.text());
        let accept = [("accept", "text/event-stream"), ("origin", page)];
        let turned =
            http.request(reqwest::Method::GET, "/v1/stream", &accept, "").await.expect("an answer");
        let text = turned.text();
        assert_eq!(
            (turned.status, turned.header("content-type")),
            (200, Some("text/event-stream"))
        );
        // Without this header, the browser would take the response for a permanent refusal.
        assert_eq!(turned.header("access-control-allow-origin"), Some(page));
        assert!(
            text.starts_with("retry: ") && text.ends_with("\nevent: unavailable\n\n"),
            "{text}"
        );
        let before = opened().await;
        eventually(LIMIT, "every source is refused twice", async || {
            let now = opened().await;
            now.iter().zip(&before).all(|(now, before)| *now >= before + 2).then_some(())
        })
        .await;
        nats.resume();
        server.wait_ready().await;
        http.post_json("/v1/messages", &message).await.expect(201);
        all_complete(&npm, &browser, round + 2).await;
    }
}
