//! The end of a stream whose credential ends, with clients that read and clients that do not.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::access::testing::principal;
use crate::access::{EndReason, Principal};
use crate::limits::SEND_BUFFER;
use crate::message::Filter;
use crate::services::streams::Start;
use crate::services::streams::testing::Log;

const LIMIT: Duration = Duration::from_secs(20);
/// Within this time a revoked stream must be closed (contract, section 11, and its issue).
const CLOSED_WITHIN: Duration = Duration::from_secs(2);
/// A connection without progress for so long is full: the first probes of a full window may still find room.
const STUCK: Duration = Duration::from_secs(1);
const MESSAGES: usize = 150;
const MESSAGE_BYTES: usize = 60_000;

/// A log that is much larger than the buffers of a connection and that the ring does not hold.
async fn large_log() -> Log {
    let log = Log::start(8).await;
    log.publish_each(MESSAGES, "a", &"x".repeat(MESSAGE_BYTES)).await;
    log.fill_ring().await;
    log
}

/// Streams the whole log to a client with small buffers.
async fn stream(log: &Log, principal: &Principal, chunked: bool) -> (JoinHandle<()>, TcpStream) {
    let buffer = u32::try_from(SEND_BUFFER).expect("small");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let client = TcpSocket::new_v4().expect("a socket");
    client.set_recv_buffer_size(buffer).expect("a size");
    let address = listener.local_addr().expect("an address");
    let (client, accepted) = tokio::join!(client.connect(address), listener.accept());
    let socket = accepted.expect("accepts").0;
    socket2::SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER).expect("a size");
    let broadcaster = std::sync::Arc::clone(&log.broadcaster);
    let subscription = Subscription::new(broadcaster, principal, Filter::default(), Start::First);
    let drain = Drain { begun: CancellationToken::new(), window: LIMIT };
    let writer = Box::new(StreamWriter::new(subscription, drain, (), chunked));
    let writing = writer.run(socket, true);
    println!("the future of a stream has {} bytes", size_of_val(&writing));
    assert!(size_of_val(&writing) <= 1_024, "an idle stream keeps it in memory");
    (tokio::spawn(writing), client.expect("connects"))
}

/// Waits until nothing more arrives because the client does not read.
async fn blocked(client: &TcpStream) {
    let mut unread = vec![0; 4 * SEND_BUFFER];
    let (mut before, mut since) = (0, Instant::now());
    while since.elapsed() < STUCK {
        let now = timeout(LIMIT, client.peek(&mut unread)).await.expect("data").expect("open");
        if now != before {
            (before, since) = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn rest(client: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(LIMIT, client.read_to_end(&mut bytes)).await.expect("in time").expect("closed");
    bytes
}

/// The frames in the whole chunks of a body, and whether the last chunk came.
fn frames(mut body: &[u8]) -> (Vec<String>, bool) {
    let mut text = String::new();
    let ended = loop {
        let Some(line) = body.windows(2).position(|end| end == b"\r\n") else { break false };
        let size = std::str::from_utf8(&body[..line]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size");
        let Some(chunk) = body.get(line + 2..line + 2 + size) else { break false };
        if size == 0 {
            assert_eq!(&body[line + 2..], b"\r\n", "nothing follows");
            break true;
        }
        text += std::str::from_utf8(chunk).expect("UTF-8");
        body = &body[line + 4 + size..];
    };
    assert!(text.ends_with("\n\n"));
    (text.split_terminator("\n\n").map(str::to_owned).collect(), ended)
}

#[tokio::test]
async fn a_client_that_reads_gets_the_reason_and_a_proper_end() {
    let log = large_log().await;
    let reasons = [
        (EndReason::Revoked, Some("event: denied\ndata: {\"code\":\"revoked\"}")),
        (EndReason::Expired, Some("event: denied\ndata: {\"code\":\"expired\"}")),
        (EndReason::Changed, None),
    ];
    for (reason, denied) in reasons {
        let principal = principal(r#"{"read":["agent.>"]}"#);
        let (writing, mut client) = stream(&log, &principal, true).await;
        let mut body = vec![0; 10 * MESSAGE_BYTES];
        timeout(LIMIT, client.read_exact(&mut body)).await.expect("in time").expect("data");
        principal.end(reason);
        body.extend(rest(&mut client).await);
        timeout(LIMIT, writing).await.expect("has ended").expect("no panic");
        let (frames, ended) = frames(&body);
        assert!(ended, "the last chunk");
        let (last, messages) = match denied {
            Some(_) => {
                frames.split_last().map(|(last, rest)| (Some(last.as_str()), rest)).expect("frames")
            }
            None => (None, &frames[..]),
        };
        assert_eq!(last, denied);
        let count = messages.iter().filter(|frame| frame.starts_with("id: ")).count();
        assert!(count < MESSAGES / 2, "{count} messages, of which most were not sent at the end");
        assert!(!messages.iter().any(|frame| frame.contains("denied")));
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    let log = large_log().await;
    for (reason, chunked) in
        [(EndReason::Revoked, true), (EndReason::Expired, false), (EndReason::Changed, true)]
    {
        let principal = principal(r#"{"read":["agent.>"]}"#);
        let (writing, mut client) = stream(&log, &principal, chunked).await;
        blocked(&client).await;
        let ended = Instant::now();
        principal.end(reason);
        timeout(CLOSED_WITHIN, writing).await.expect("closed in time").expect("no panic");
        println!("closed after {:?}", ended.elapsed());
        assert_eq!(log.broadcaster.open_streams(), 0);
        let body = rest(&mut client).await;
        assert!(body.len() < MESSAGES * MESSAGE_BYTES / 2, "{} bytes", body.len());
    }
}
