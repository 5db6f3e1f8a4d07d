//! Chromium at a console with TLS: more streams in one page than HTTP/1.1 allows.

use super::server;
use crate::support::console::message;
use crate::support::streams::publish;
use crate::support::webdriver::Browser;

/// Streams of the page; over HTTP/1.1 a browser opens six to a host.
const STREAMS: usize = 30;
const MESSAGES: usize = 20;

#[tokio::test]
async fn thirty_streams_of_one_page_receive_everything() {
    let ((server, _files), browser) = tokio::join!(server(), Browser::trusting());
    browser.open(&server.url().replace("127.0.0.1", "localhost")).await;
    browser.until("document.querySelector('[data-testid=state]').dataset.state === 'live'").await;
    browser
        .run(&format!(
            "window.seen = Array.from({{length: {STREAMS}}}, () => []);
             window.open = 0;
             window.sources = seen.map((seqs) => {{
               const source = new EventSource('/v1/stream?from=1');
               source.onopen = () => {{ window.open += 1; }};
               source.addEventListener('message', (event) => seqs.push(Number(event.lastEventId)));
               return source;
             }});"
        ))
        .await;
    browser.until(&format!("window.open === {STREAMS}")).await;
    let all: Vec<_> = (0..MESSAGES).map(|n| message("ann", &n.to_string())).collect();
    let seqs = publish(&server.http(), &all).await;
    let wanted = seqs.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    browser.until(&format!("window.seen.every((seqs) => seqs.join() === '{wanted}')")).await;
    let protocols = browser
        .run("return [...new Set(performance.getEntriesByType('navigation').map((entry) => entry.nextHopProtocol))].join()")
        .await;
    assert_eq!(protocols, "h2");
    // A page of the server itself may change something: its origin is https.
    let posted = browser
        .run(
            "return fetch('/v1/messages', {method: 'POST', headers: {'content-type': 'application/json'},
               body: JSON.stringify({kind: 'message', type: 'note', sender_id: 'bob', content: 'x'})})
             .then((response) => response.status)",
        )
        .await;
    assert_eq!(posted, 201);
}
