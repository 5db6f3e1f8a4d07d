//! HTTP/2: the same checks as on HTTP/1.1, streams that end one by one, and clients that want to use up the server.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use h2::client::Builder;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::server;
use crate::support::folder::Folder;
use crate::support::http2::{Http2, Http2Stream, read, tls};
use crate::support::keys::{ROOT, root_key_file};
use crate::support::streams::{large, messages, publish};
use crate::support::tls::Tls;
use crate::support::{Agentbus, Stop, eventually, metrics, within};

const LIMIT: Duration = Duration::from_secs(30);
/// Within this time a response that is not read is cut off: 30 s, and something for a busy machine.
const CUT: Duration = Duration::from_secs(45);
/// Within this time a connection without a request is closed: 60 s, and something.
const CLOSED: Duration = Duration::from_secs(75);
/// Connections of a flood, and the most requests of each.
const FLOODS: usize = 20;
const MOST_CANCELLED: usize = 50_000;
const UNREAD: &str = "agentbus_http_unread_total";
const OPEN: &str = "agentbus_streams_open";

#[tokio::test]
async fn a_request_is_checked_as_over_http1() {
    let (server, files) = server().await;
    let mut client = Http2::connect(server.url(), &files.ca_pem()).await;
    let (status, mut body) = client.get("/livez").await.expect("a response");
    assert_eq!((status, read(&mut body).await.expect("a body")), (200, b"ok\n".to_vec()));
    let status = async |client: &Http2, method: Method, headers: &[(&str, &str)]| {
        client.ask(method, "/v1/messages", headers).await.expect("a response").0
    };
    let host = server.url().trim_start_matches("https://").to_owned();
    assert_eq!(status(&client, Method::GET, &[("host", &host)]).await, 200);
    assert_eq!(status(&client, Method::GET, &[("host", "evil.example")]).await, 421);
    let own = format!("https://{host}");
    for (origin, expected) in [
        ("https://evil.example", 403),
        // The server's own origin is https.
        (&*format!("http://{host}"), 403),
        (&*own, 415),
    ] {
        assert_eq!(
            status(&client, Method::POST, &[("origin", origin)]).await,
            expected,
            "{origin}"
        );
    }
    assert_eq!(status(&client, Method::POST, &[("sec-fetch-site", "cross-site")]).await, 403);
    assert_eq!(client.get("/nothing").await.expect("a response").0, 404);
    client.base = "https://evil.example".to_owned();
    assert_eq!(status(&client, Method::GET, &[]).await, 421);
    assert_eq!(status(&client, Method::GET, &[("host", &host)]).await, 421);
}

#[tokio::test]
async fn sessions_are_bound_to_the_host_by_tls() {
    let (files, folder) = (Tls::new(), Folder::new("keys"));
    let server = secured(&files, &folder).await;
    let answer = server.http().with_key(ROOT).post("/v1/session", "application/json", "").await;
    let cookie = answer.header("set-cookie").expect("a cookie");
    assert!(
        cookie.starts_with("__Host-agentbus_session=") && cookie.ends_with("; Secure"),
        "{cookie}"
    );
}

async fn secured(files: &Tls, folder: &Folder) -> Agentbus {
    let root = root_key_file(folder);
    let builder = Agentbus::builder().memory_sqlite().env("AUTH", "required");
    let builder = builder.env("ROOT_KEY_FILE", root.to_str().expect("a path"));
    files.settings(builder).start().await
}

#[tokio::test]
async fn streams_of_a_revoked_key_end_whether_they_are_read_or_not() {
    let (files, folder) = (Tls::new(), Folder::new("keys"));
    let server = secured(&files, &folder).await;
    let root = server.http().with_key(ROOT);
    publish(&root, &(0..200).map(|n| large(n, 20_000)).collect::<Vec<_>>()).await;
    let grants = json!({"name": "x", "grants": {"read": ["agent.>"]}});
    let made = root.post_json("/v1/keys", &grants).await.expect(201).json();
    let (id, key) = (made["id"].as_str().expect("an id"), made["key"].as_str().expect("a key"));
    let bearer = format!("Bearer {key}");
    // What one stream leaves unread must not fill the client's own window of the connection.
    let mut wide = Builder::new();
    wide.initial_connection_window_size(1 << 24);
    let client = Http2::tuned(server.url(), &files.ca_pem(), &mut wide).await;
    let open = async |query: &str| {
        let path = format!("/v1/stream?{query}");
        let headers = [("authorization", bearer.as_str())];
        client.ask(Method::GET, &path, &headers).await.expect("a stream").1
    };
    let mut live = Http2Stream::new(open("from=now").await);
    live.frame().await.expect("no reset").expect("ready");
    let mut unread = open("from=1").await;
    let mut over_http1 = server.http().with_key(key).stream("from=now", None).await;
    over_http1.expect_ready().await;
    let unread_over_http1 = tls(server.url(), &files.ca_pem(), &["http/1.1"], true).await;
    let mut unread_over_http1 = unread_over_http1.expect("TLS");
    let host = server.url().trim_start_matches("https://");
    let request = format!(
        "GET /v1/stream?from=1 HTTP/1.1\r\nHost: {host}\r\nAuthorization: {bearer}\r\n\r\n"
    );
    unread_over_http1.write_all(request.as_bytes()).await.expect("sent");
    eventually(LIMIT, "all streams are open", async || {
        (metrics::value(&root, OPEN).await == 4.0).then_some(())
    })
    .await;
    root.delete(&format!("/v1/keys/{id}")).await.expect(204);
    let revoked = Instant::now();
    let denied = live.frame().await.expect("no reset").expect("an event");
    assert!(denied.is("denied"), "{denied:?}");
    assert_eq!(live.frame().await.expect("no reset"), None);
    assert!(over_http1.expect_end(LIMIT).await.last().is_some_and(|frame| frame.is("denied")));
    eventually(LIMIT, "all streams are over", async || {
        (metrics::value(&root, OPEN).await == 0.0).then_some(())
    })
    .await;
    assert!(revoked.elapsed() < Duration::from_secs(3), "{:?}", revoked.elapsed());
    let end = read(&mut unread).await;
    assert!(end.is_err_and(|error| error.reason() == Some(h2::Reason::CANCEL)));
    let mut received = Vec::new();
    let ended = within(LIMIT, "the end", unread_over_http1.read_to_end(&mut received)).await;
    assert!(ended.is_err() && !received.ends_with(b"0\r\n\r\n"), "it ended as if complete");
}

#[tokio::test]
async fn what_a_client_does_not_read_is_cut_off_alone() {
    let (server, files) = server().await;
    let http = server.http();
    publish(&http, &(0..300).map(|n| large(n, 20_000)).collect::<Vec<_>>()).await;
    let mut narrow = Builder::new();
    narrow.initial_window_size(0).initial_connection_window_size(1 << 24);
    let stuck = Http2::tuned(server.url(), &files.ca_pem(), &mut narrow).await;
    let mut unread = Vec::new();
    for path in ["/livez", "/v1/messages?limit=300", "/v1/stream?from=1"] {
        unread.push(stuck.get(path).await.expect("a head").1);
    }
    // A connection that is not read at all, and one without a request.
    let frozen = frozen(&server, &files).await;
    let idle = Http2::connect(server.url(), &files.ca_pem()).await;
    let begun = Instant::now();
    // One stream is not read, and another one of the same connection is.
    let mut wide = Builder::new();
    wide.initial_connection_window_size(1 << 24);
    let shared = Http2::tuned(server.url(), &files.ca_pem(), &mut wide).await;
    let mut slow = shared.stream("from=1").await;
    let mut quick = shared.stream("from=1").await;
    let wanted: Vec<u64> = (1..=300).collect();
    assert_eq!(quick.messages(300).await, wanted);
    let first = slow.frame().await.expect("no reset").expect("an event");
    assert!(first.is("ready"), "{first:?}");

    eventually(CUT, "what is not read is cut off", async || {
        (metrics::value(&http, UNREAD).await >= 5.0).then_some(())
    })
    .await;
    assert!(begun.elapsed() >= Duration::from_secs(25), "{:?}", begun.elapsed());
    for body in &mut unread {
        let end = within(LIMIT, "the reset", body.data()).await.expect("no end");
        assert_eq!(end.expect_err("a reset").reason(), Some(h2::Reason::CANCEL));
    }
    drop(frozen);
    let more = publish(&http, &messages(3)).await;
    assert_eq!(quick.messages(3).await, more, "the other stream goes on");
    assert!(!shared.ended.is_finished() && !stuck.ended.is_finished());
    assert_eq!(shared.get("/livez").await.expect("a response").0, 200);
    eventually(CLOSED, "the connection without a request is closed", async || {
        idle.ended.is_finished().then_some(())
    })
    .await;
    assert!(!shared.ended.is_finished(), "a connection with a stream stays");
}

/// A connection with a stream of the whole log, whose socket is not read.
async fn frozen(server: &Agentbus, files: &Tls) -> impl Sized {
    let socket = tls(server.url(), &files.ca_pem(), &["h2"], true).await.expect("TLS");
    let mut wide = Builder::new();
    wide.initial_window_size(1 << 24).initial_connection_window_size(1 << 24);
    let (sender, mut connection) = wide.handshake::<_, bytes::Bytes>(socket).await.expect("HTTP/2");
    let request = axum::http::Request::get(format!("{}/v1/stream?from=1", server.url()));
    let mut sender = sender.ready().await.expect("ready");
    let response = sender.send_request(request.body(()).expect("a request"), true);
    let mut response = response.expect("sent").0;
    // Polled until the response is there, then never again.
    let head = std::future::poll_fn(|cx| {
        use std::future::Future as _;
        let _ = std::pin::Pin::new(&mut connection).poll(cx);
        std::pin::Pin::new(&mut response).poll(cx)
    });
    let head = within(LIMIT, "a head", head).await.expect("a head");
    (connection, head, sender)
}

#[tokio::test]
async fn connections_do_not_multiply_what_one_client_may_open() {
    let files = Tls::new();
    let builder = Agentbus::builder().memory_sqlite().env("MAX_CONNECTIONS", "50");
    let server = files.settings(builder).start().await;
    let http = server.http();
    let client = Http2::connect(server.url(), &files.ca_pem()).await;
    let opening = (0..80).map(|_| client.get("/v1/stream"));
    let opened = join_all(opening).await;
    let statuses: Vec<u16> = opened.iter().map(|one| one.as_ref().expect("a response").0).collect();
    let count = |status| statuses.iter().filter(|found| **found == status).count();
    assert_eq!((count(200), count(503)), (50, 30), "{statuses:?}");
    // A connection that is gone takes its streams along.
    drop((opened, client));
    eventually(LIMIT, "no stream is open", async || {
        (metrics::value(&http, OPEN).await == 0.0).then_some(())
    })
    .await;
    let again = Http2::connect(server.url(), &files.ca_pem()).await;
    assert_eq!(again.get("/v1/stream").await.expect("a response").0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_cancelled_requests_slows_no_one_and_costs_no_memory() {
    let (server, files) = server().await;
    let http = server.http();
    let before = resident(&server);
    let (url, ca_pem) = (server.url().to_owned(), files.ca_pem());
    let flooding = tokio::spawn(async move {
        let mut cancelled = 0;
        for _ in 0..FLOODS {
            cancelled += flood(&url, &ca_pem).await;
        }
        cancelled
    });
    let (mut slowest, mut asked) = (Duration::ZERO, 0);
    while !flooding.is_finished() {
        let begun = Instant::now();
        http.get("/v1/messages").await.expect(200);
        (slowest, asked) = (slowest.max(begun.elapsed()), asked + 1);
    }
    let cancelled = flooding.await.expect("no panic");
    assert!(asked > 0 && slowest < Duration::from_secs(1), "{asked} requests: {slowest:?}");
    let after = resident(&server);
    eprintln!(
        "{cancelled} requests cancelled beside {asked} others, the slowest {slowest:?}; {before} MiB, then {after}"
    );
    assert!(after < before + 64, "{before} MiB before, {after} MiB after");
}

/// Sends requests that are cancelled at once, until the server closes the connection; returns how many.
async fn flood(url: &str, ca_pem: &str) -> usize {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let socket = tls(url, ca_pem, &["h2"], false).await.expect("TLS");
    let (mut input, mut output) = tokio::io::split(socket);
    let reading = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut input, &mut tokio::io::sink()).await;
    });
    output.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("sent");
    output.write_all(&SETTINGS).await.expect("sent");
    // GET, https, and two literals: the path and the authority (RFC 7541, appendix A).
    let host = url.trim_start_matches("https://");
    let path = "/v1/messages?limit=1000";
    let mut head = vec![0x82, 0x87, 0x04, path.len() as u8];
    head.extend_from_slice(path.as_bytes());
    head.extend_from_slice(&[0x01, host.len() as u8]);
    head.extend_from_slice(host.as_bytes());
    let mut cancelled = 0;
    while cancelled < MOST_CANCELLED {
        let stream = (2 * cancelled as u32 + 1).to_be_bytes();
        let mut frames = vec![0, 0, head.len() as u8, 1, 5];
        frames.extend_from_slice(&stream);
        frames.extend_from_slice(&head);
        frames.extend_from_slice(&[0, 0, 4, 3, 0]);
        frames.extend_from_slice(&stream);
        frames.extend_from_slice(&8_u32.to_be_bytes());
        if output.write_all(&frames).await.is_err() {
            break;
        }
        cancelled += 1;
    }
    let _ = output.flush().await;
    let _ = output.shutdown().await;
    let _ = within(LIMIT, "the server closes the connection", reading).await;
    cancelled
}

#[tokio::test]
async fn a_stop_ends_streams_one_by_one_and_the_connection_by_goaway() {
    let files = Tls::new();
    let builder = Agentbus::builder().memory_sqlite().env("DRAIN_S", "4");
    let server = files.settings(builder).start().await;
    let client = Http2::connect(server.url(), &files.ca_pem()).await;
    let mut streams = join_all((0..20).map(|_| client.stream("from=now"))).await;
    for stream in &mut streams {
        stream.frame().await.expect("no reset").expect("ready");
    }
    let mut over_http1 = server.http().stream("from=now", None).await;
    over_http1.expect_ready().await;
    let begun = Instant::now();
    server.ask_to_end();
    let ends = join_all(streams.iter_mut().map(async |stream| {
        assert_eq!(stream.frame().await.expect("no reset"), None);
        begun.elapsed()
    }))
    .await;
    assert_eq!(over_http1.try_next(LIMIT).await, Err(Stop::Ended(None)));
    let (first, last) = (ends.iter().min().expect("ends"), ends.iter().max().expect("ends"));
    assert!(*last - *first > Duration::from_millis(300), "all at once: {ends:?}");
    assert!(server.wait_exit(LIMIT).await.success());
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_that_nobody_reads_hold_little_memory_and_end() {
    let (server, files) = server().await;
    let http = server.http();
    publish(&http, &(0..300).map(|n| large(n, 20_000)).collect::<Vec<_>>()).await;
    let before = resident(&server);
    let mut hostile = Vec::new();
    for _ in 0..10 {
        let mut narrow = Builder::new();
        narrow.initial_window_size(1).initial_connection_window_size(1 << 24);
        let client = Http2::tuned(server.url(), &files.ca_pem(), &mut narrow).await;
        let bodies = join_all((0..100).map(|_| client.get("/v1/stream?from=1"))).await;
        assert!(bodies.iter().all(|body| body.as_ref().is_ok_and(|(status, _)| *status == 200)));
        hostile.push((client, bodies));
    }
    let begun = Instant::now();
    http.get("/v1/messages?limit=1").await.expect(200);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let mut most = 0;
    eventually(CUT, "all of them are cut off", async || {
        most = most.max(resident(&server));
        (metrics::value(&http, OPEN).await == 0.0).then_some(())
    })
    .await;
    eprintln!("{before} MiB before, at most {most} MiB with 1,000 unread streams");
    // Each may hold a send buffer of 64 KiB and a piece of 16 KiB, beside the 7 KiB of any stream: 85 MiB of 6 GB.
    assert!(most < before + 90, "{before} MiB before, {most} MiB with 1,000 unread streams");
    assert!(metrics::value(&http, UNREAD).await >= 1_000.0);
}

/// The resident memory of a server, in MiB.
fn resident(server: &Agentbus) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()));
    let status = status.expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}
