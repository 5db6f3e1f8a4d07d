//! A client that takes as much as it can get, beside a well-behaved one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::neighbour::{Neighbour, resident_kib};
use crate::raw::{head, send};
use crate::support::{Agentbus, Answer, Http, eventually, times};

const LIMIT: Duration = Duration::from_secs(60);
/// How much the pools may cost together, in KiB: bodies (256 MiB) and responses (128 MiB), half of each for
/// one client, and the connections.
const GROWTH_KIB: usize = 300 * 1024;
/// How many connections are opened at the same time.
const AT_ONCE: usize = 64;
/// How many requests of a flood are in flight.
const PRESSING: usize = 8;

/// Opens connections and sends the same bytes on each; returns those that the server keeps open.
async fn flood(server: &Agentbus, count: usize, request: &[u8]) -> Vec<TcpStream> {
    let mut open = Vec::with_capacity(count);
    for begun in (0..count).step_by(AT_ONCE) {
        let together = (begun..count.min(begun + AT_ONCE)).map(|_| send(server, request));
        open.extend(futures_util::future::join_all(together).await.into_iter().flatten());
    }
    open
}

fn half_a_body(length: usize, sent: usize) -> Vec<u8> {
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.into_bytes(), vec![b' '; sent]].concat()
}

/// A server, its neighbour, and the memory of the server before the flood.
async fn quiet(server: Agentbus) -> (Agentbus, Neighbour, usize) {
    let neighbour = Neighbour::of(&server).await;
    let before = resident_kib(&server);
    (server, neighbour, before)
}

fn memory_is_flat(server: &Agentbus, before: usize, what: &str) {
    let after = resident_kib(server);
    println!("{what}: {before} KiB before, {after} KiB after");
    assert!(after < before + GROWTH_KIB, "{what}: {before} KiB before, {after} KiB after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_half_sent_bodies_than_concurrent_requests_stop_no_one() {
    let (server, neighbour, before) =
        quiet(Agentbus::builder().memory_sqlite().start().await).await;
    let connections = flood(&server, 4_096, &half_a_body(300, 100)).await;
    assert!(connections.len() > 3_000, "{} connections", connections.len());
    neighbour.notices_nothing_of("4,096 half-sent bodies").await;
    memory_is_flat(&server, before, "4,096 half-sent bodies");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_as_many_connections_as_allowed_stop_no_one() {
    let server = Agentbus::builder().memory_sqlite().env("MAX_CONNECTIONS", "1000").start().await;
    let (server, neighbour, before) = quiet(server).await;
    let connections = flood(&server, 10_000, &half_a_body(300, 100)).await;
    neighbour.notices_nothing_of("10,000 half-sent bodies, 1,000 connections").await;
    memory_is_flat(&server, before, "10,000 half-sent bodies");
    drop(connections);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_half_sent_bodies_leave_memory_for_those_of_others() {
    let (server, neighbour, before) =
        quiet(Agentbus::builder().memory_sqlite().start().await).await;
    let request = half_a_body(8_000_000, 7_000_000);
    // Refused bodies do not use up the whole pool.
    let mut connections = JoinSet::new();
    for _ in 0..60 {
        let (url, request) =
            (server.url().trim_start_matches("http://").to_owned(), request.clone());
        connections.spawn(async move {
            use tokio::io::AsyncWriteExt as _;
            let mut socket = TcpStream::connect(url).await.expect("connected");
            let _ = socket.write_all(&request).await;
            socket
        });
    }
    let sockets = connections.join_all().await;
    neighbour.notices_nothing_of("60 bodies of 8 MB, half sent").await;
    memory_is_flat(&server, before, "60 bodies of 8 MB, half sent");
    drop(sockets);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn padded_requests_that_wait_for_replies_use_only_the_memory_of_their_messages() {
    let (server, neighbour, before) =
        quiet(Agentbus::builder().memory_sqlite().start().await).await;
    let padding = " ".repeat(7 * 1024 * 1024);
    let body =
        format!(r#"{{"kind":"message","type":"ask","sender_id":"evil","content":"?"{padding}}}"#);
    let head = format!(
        "POST /v1/messages?reply_within=60 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.into_bytes(), body.into_bytes()].concat();
    let mut waiting = Vec::new();
    for _ in 0..40 {
        waiting.push(send(&server, &request).await.expect("a connection"));
    }
    let http = server.http();
    eventually(LIMIT, "all forty are published", async || {
        let page = http.get("/v1/messages?type=ask").await.json();
        (page["messages"].as_array().map(Vec::len) == Some(40)).then_some(())
    })
    .await;
    neighbour.notices_nothing_of("40 padded waits").await;
    // The hostile client itself is still served.
    let message = json!({"kind": "message", "type": "note", "sender_id": "evil"});
    assert_eq!(http.post_json("/v1/messages", &message).await.status, 201);
    memory_is_flat(&server, before, "40 padded waits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_responses_are_bounded_and_end() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let http = server.http();
    for _ in 0..9 {
        let message = json!({"kind": "message", "type": "big", "sender_id": "evil", "content": "x".repeat(1_000_000)});
        http.post_json("/v1/messages", &message).await.expect(201);
    }
    let (server, neighbour, before) = quiet(server).await;
    let ask = b"GET /v1/messages?type=big HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut unread = flood(&server, 150, ask).await;
    neighbour.notices_nothing_of("150 unread answers of 9 MB").await;
    memory_is_flat(&server, before, "150 unread answers of 9 MB");
    let (mut given, mut refused) = (0, 0);
    for socket in &mut unread {
        match head(socket).await {
            head if head.starts_with("HTTP/1.1 200 ") => given += 1,
            head if head.starts_with("HTTP/1.1 503 ") => refused += 1,
            other => panic!("{other}"),
        }
    }
    println!("{given} answers, {refused} refused");
    assert!((4..=15).contains(&given), "{given} answers, {refused} refused");
    let cut = async || {
        let metrics = http.get("/metrics").await.text();
        let line = metrics.lines().find(|line| line.starts_with("agentbus_http_unread_total "))?;
        let count: usize = line.rsplit(' ').next()?.parse().ok()?;
        (count >= given).then_some(())
    };
    eventually(LIMIT, "clients that read nothing are disconnected", cut).await;
    let again = once_let_in(async || http.get("/v1/messages?type=big").await).await;
    assert_eq!(again.status, 200);
}

/// Asks until the response is not 503, from the address of a flood: the server answers 503 while it still
/// holds what the flood took.
async fn once_let_in(ask: impl AsyncFn() -> Answer) -> Answer {
    eventually(LIMIT, "the flood's own address is admitted again", async || {
        let answer = ask().await;
        (answer.status != 503).then_some(answer)
    })
    .await
}

/// Sends requests on a few connections, each after the response to the one before, and counts the responses
/// by status.
async fn press(http: &Http, requests: Vec<(Method, String, String)>) -> HashMap<u16, usize> {
    let (requests, mut pressing) = (Arc::new(Mutex::new(requests)), JoinSet::new());
    for _ in 0..PRESSING {
        let (http, requests) = (http.clone(), Arc::clone(&requests));
        pressing.spawn(async move {
            let mut answers: HashMap<u16, usize> = HashMap::new();
            let next = || requests.lock().expect("no panic").pop();
            while let Some((method, path, body)) = next() {
                let kind = if path.ends_with("/batch") {
                    "application/x-ndjson"
                } else {
                    "application/json"
                };
                let answer = http.request(method, &path, &[("content-type", kind)], body).await;
                *answers.entry(answer.expect("an answer").status).or_default() += 1;
            }
            answers
        });
    }
    let mut all: HashMap<u16, usize> = HashMap::new();
    for answers in pressing.join_all().await {
        for (status, count) in answers {
            *all.entry(status).or_default() += count;
        }
    }
    all
}

/// Sends a flood while the neighbour sends its requests, then checks memory.
async fn press_beside(
    server: Agentbus,
    requests: Vec<(Method, String, String)>,
    what: &str,
) -> (Agentbus, HashMap<u16, usize>) {
    let (server, neighbour, before) = quiet(server).await;
    let http = server.http();
    let pressing = tokio::spawn({
        let http = http.clone();
        async move { press(&http, requests).await }
    });
    neighbour.notices_nothing_of(what).await;
    let answers = pressing.await.expect("the flood ends");
    println!("{what}: {answers:?}");
    memory_is_flat(&server, before, what);
    (server, answers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_known_ids_slow_no_one() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let messages = |run: u128| -> String {
        let message = |n: u128| {
            json!({"kind": "message", "type": "known", "sender_id": "evil", "id": uuid::Uuid::from_u128(run << 64 | n)}).to_string()
        };
        (0..1_000).map(message).collect::<Vec<_>>().join("\n")
    };
    for run in 0..10 {
        server
            .http()
            .post("/v1/messages/batch", "application/x-ndjson", messages(run))
            .await
            .expect(200);
    }
    // A hundred times the content of one batch: each of ten batches ten times.
    let again = (0..100).map(|n| (Method::POST, "/v1/messages/batch".to_owned(), messages(n % 10)));
    let (server, answers) = press_beside(server, again.collect(), "100,000 known ids").await;
    assert_eq!(answers.into_keys().collect::<Vec<_>>(), [200]);
    let stats = server.http().get("/v1/stats").await.json();
    assert_eq!(stats["counts"]["by_type"]["known"], 10_000, "{stats}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_queues_slow_no_one_and_leases_create_none() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let names = times(30_000, 90_000);
    let lease = (0..names)
        .map(|n| (Method::POST, format!("/v1/queues/made-up-{n}/lease"), "{}".to_owned()));
    let put = (0..10_100).map(|n| (Method::PUT, format!("/v1/queues/q{n}"), "{}".to_owned()));
    let requests = lease.chain(put).collect();
    let (server, answers) =
        press_beside(server, requests, "many times as many queues as there may be").await;
    assert_eq!(
        (answers.get(&204), answers.get(&201), answers.get(&409)),
        (Some(&names), Some(&10_000), Some(&100))
    );
    let http = server.http();
    assert_eq!(http.get("/v1/queues/made-up-1").await.status, 404);
    // Deleting a queue frees its slot.
    assert_eq!(http.delete("/v1/queues/q9000").await.status, 204);
    assert_eq!(http.put_json("/v1/queues/wanted", &json!({})).await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_webhooks_slow_no_one() {
    let server =
        Agentbus::builder().memory_sqlite().env("WEBHOOK_ALLOW_PRIVATE", "true").start().await;
    // No server listens at the address, and no message passes the filter.
    let body = json!({"url": "http://127.0.0.1:9/", "filter": "agent.task.none.never"}).to_string();
    let make = (0..1_000).map(|_| (Method::POST, "/v1/webhooks".to_owned(), body.clone()));
    let (_, answers) =
        press_beside(server, make.collect(), "10 times as many webhooks as there may be").await;
    assert_eq!((answers.get(&201), answers.get(&409)), (Some(&100), Some(&900)));
}

/// Opens a stream as a proxy does for the client at `client`; returns the status and the connection.
async fn stream_for(server: &Agentbus, client: &str) -> (u16, TcpStream) {
    let request =
        format!("GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {client}\r\n\r\n");
    let mut socket = send(server, request.as_bytes()).await.expect("a connection");
    let head = head(&mut socket).await;
    (head[9..12].parse().expect("a status"), socket)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_of_a_trusted_proxy_does_not_take_all_streams() {
    let server = Agentbus::builder().memory_sqlite().env("MAX_CONNECTIONS", "200");
    let server = server.env("TRUSTED_PROXIES", "127.0.0.0/8").start().await;
    let (mut open, mut refused) = (Vec::new(), 0);
    for _ in 0..150 {
        match stream_for(&server, "198.51.100.7, 192.0.2.1").await {
            (200, socket) => open.push(socket),
            (status, _) => {
                assert_eq!(status, 503);
                refused += 1;
            }
        }
    }
    assert_eq!((open.len(), refused), (101, 49));
    let (status, other) = stream_for(&server, "192.0.2.2").await;
    assert_eq!(status, 200);
    // Addresses that the client adds before its own do not make it another client.
    assert_eq!(stream_for(&server, "203.0.113.5, 192.0.2.1").await.0, 503);
    drop(open);
    eventually(LIMIT, "its streams are over", async || {
        (stream_for(&server, "192.0.2.1").await.0 == 200).then_some(())
    })
    .await;
    drop(other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_leases_are_bounded_and_their_jobs_are_leased_again() {
    let server = Agentbus::builder().memory_sqlite().start().await;
    let http = server.http();
    let rules = json!({"lease_s": 30, "max_deliver": 10, "backoff_s": [1]});
    http.put_json("/v1/queues/big", &rules).await.expect(201);
    let job = json!({"type": "big", "payload": "x".repeat(1_000_000)});
    for _ in 0..160 {
        http.post_json("/v1/queues/big/jobs", &job).await.expect(201);
    }
    let before = resident_kib(&server);
    let body = r#"{"max":8}"#;
    let ask = format!(
        "POST /v1/queues/big/lease HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut unread = flood(&server, 40, ask.as_bytes()).await;
    let (mut given, mut refused) = (0, 0);
    for socket in &mut unread {
        match head(socket).await {
            head if head.starts_with("HTTP/1.1 200 ") => given += 1,
            head if head.starts_with("HTTP/1.1 503 ") => refused += 1,
            // Meanwhile all other jobs are leased.
            head if head.starts_with("HTTP/1.1 204 ") => {}
            other => panic!("{other}"),
        }
    }
    println!("{given} leases, {refused} refused");
    assert!((1..=16).contains(&given) && refused > 0, "{given} leases, {refused} refused");
    memory_is_flat(&server, before, "40 unread leases of 8 MB");
    drop(unread);
    let lease = json!({"max": 1, "wait_s": 20});
    let lease = once_let_in(async || http.post_json("/v1/queues/big/lease", &lease).await).await;
    assert_eq!(lease.status, 200, "{}", lease.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_unread_responses_of_middle_size_stop_no_one() {
    let (server, neighbour, before) =
        quiet(Agentbus::builder().memory_sqlite().start().await).await;
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(60_000));
    let style = "GET /style.css HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(20);
    let connections = flood(&server, 1_000, long.repeat(3).as_bytes()).await;
    let more = flood(&server, 4_000, style.as_bytes()).await;
    neighbour.notices_nothing_of("5,000 connections with unread answers").await;
    memory_is_flat(&server, before, "5,000 connections with unread answers");
    drop((connections, more));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_reply_to_thousands_of_waits_stays_within_the_memory_of_responses() {
    let (server, neighbour, before) =
        quiet(Agentbus::builder().memory_sqlite().start().await).await;
    let id = uuid::Uuid::from_u128(4);
    let body = json!({"kind": "message", "type": "ask", "sender_id": "evil", "id": id}).to_string();
    let ask = format!(
        "POST /v1/messages?reply_within=60 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let waits = flood(&server, 2_000, ask.as_bytes()).await;
    let reply = json!({"kind": "message", "type": "answer", "sender_id": "evil", "in_reply_to": id, "content": "x".repeat(1_000_000)});
    let http = server.http();
    once_let_in(async || http.post_json("/v1/messages", &reply).await).await.expect(201);
    neighbour.notices_nothing_of("a reply of 1 MB to 2,000 waits").await;
    memory_is_flat(&server, before, "a reply of 1 MB to 2,000 waits");
    drop(waits);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_does_not_take_all_waits() {
    let (server, neighbour, before) =
        quiet(Agentbus::builder().memory_sqlite().start().await).await;
    let body = r#"{"kind":"message","type":"ask","sender_id":"evil"}"#;
    let ask = format!(
        "POST /v1/messages?reply_within=60 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let waits = flood(&server, 6_000, ask.as_bytes()).await;
    neighbour.notices_nothing_of("6,000 waits for replies").await;
    memory_is_flat(&server, before, "6,000 waits for replies");
    drop(waits);
}
