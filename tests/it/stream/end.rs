//! When the server is asked to end, its streams end spread over the drain window, while requests are
//! finished; then the streams resume at the restarted server.

use std::time::Duration;

use crate::support::raw_stream::hang;
use crate::support::records::{Record, assert_same, history, of_frames};
use crate::support::streams::{LIMIT, large, message, messages, publish, publish_one};
use crate::support::wire::committed;
use crate::support::{Sse, Stop, for_each_mode, within};
use futures_util::future::join_all;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

const DRAIN: Duration = Duration::from_secs(4);
/// Tolerance for a busy machine.
const LATE: Duration = Duration::from_secs(6);
const STREAMS: usize = 24;

/// Sends a request with a part of its body, and waits until the server has begun to read that.
async fn half_posted(address: &str, body: &str) -> TcpStream {
    let mut connection = TcpStream::connect(address).await.expect("connect");
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.expect("send");
    let mut answer = [0; 25];
    within(LIMIT, "the body is asked for", connection.read_exact(&mut answer)).await.expect("read");
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    connection.write_all(&body.as_bytes()[..10]).await.expect("send");
    connection
}

/// Reads a stream to its end: returns the last messages, and when it ended.
async fn end(stream: &mut Sse, asked: Instant) -> (Vec<Record>, Duration) {
    let mut frames = Vec::new();
    loop {
        match stream.try_next(DRAIN + LATE).await {
            Ok(frame) => frames.push(frame),
            Err(Stop::Ended(None)) => return (of_frames(&frames), asked.elapsed()),
            Err(stop) => panic!("not ended in good order: {stop:?}"),
        }
    }
}

for_each_mode! {
    |builder| builder.env("DRAIN_S", "4");

    async fn streams_end_spread_over_the_drain_window_and_resume_without_loss(
        deployment: &Deployment
    ) {
        let http = deployment.http();
        publish(http, &messages(20)).await;
        let mut streams = Vec::new();
        for start in 0..STREAMS {
            let mut stream = http.stream(&format!("from={}", start + 1), None).await;
            let count = 20_usize.saturating_sub(start);
            let seen = of_frames(&stream.collect_messages(count, LIMIT).await);
            streams.push((start as u64, stream, seen));
        }
        let address = deployment.bus().trim_start_matches("http://");
        let body = message(21).to_string();
        let mut request = half_posted(address, &body).await;

        let asked = Instant::now();
        deployment.agentbus().ask_to_end();
        let finish = async {
            request.write_all(&body.as_bytes()[10..]).await.expect("send");
            let mut answer = String::new();
            let read = request.read_to_string(&mut answer);
            within(DRAIN + LATE, "the request is answered", read).await.expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
        };
        let ends = join_all(streams.iter_mut().map(|(_, stream, _)| end(stream, asked)));
        let ((), ends) = tokio::join!(finish, ends);
        let status = deployment.agentbus().wait_exit(LATE).await;
        assert!(status.success(), "{status}");
        assert!(asked.elapsed() < DRAIN + LATE, "ended after {:?}", asked.elapsed());

        let at: Vec<Duration> = ends.iter().map(|(_, at)| *at).collect();
        let (first, last) = (at.iter().min().expect("a stream"), at.iter().max().expect("a stream"));
        assert!(*last - *first > DRAIN / 4, "all at once: {at:?}");
        let soon = at.iter().filter(|at| **at < *first + DRAIN / 8).count();
        assert!(soon < STREAMS * 3 / 4, "most at once: {at:?}");

        deployment.agentbus().restart().await;
        publish_one(http, &message(22)).await;
        publish(http, &messages(3)).await;
        committed(http, 25).await;
        let kept = history(http, "").await;
        assert_eq!(kept.len(), 25, "{kept:?}");
        for ((start, stream, mut seen), (meanwhile, _)) in streams.into_iter().zip(ends) {
            seen.extend(meanwhile);
            let cursor = stream.last_event_id().expect("a cursor");
            let mut resumed = http.stream(&format!("from={}", start + 1), Some(cursor)).await;
            let frames = resumed.until(LIMIT, |frame| frame.is_message() && frame.seq() == 25).await;
            seen.extend(of_frames(&frames));
            let wanted = kept.iter().filter(|line| line.seq > start);
            let wanted: Vec<Record> = wanted.cloned().collect();
            assert_same(&format!("from {start}, cut at {cursor}"), &seen, &wanted);
        }
    }

    async fn hung_readers_do_not_keep_the_server_from_ending(deployment: &Deployment) {
        let http = deployment.http();
        let mut hung = hang(deployment.bus(), 5, "").await;
        let large: Vec<Value> = (0..1_000).map(|n| large(n, 4_000)).collect();
        publish(http, &large).await;
        hung.extend(hang(deployment.bus(), 5, "from=start").await);
        deployment.agentbus().ask_to_end();
        let status = deployment.agentbus().wait_exit(DRAIN + LATE).await;
        assert!(status.success(), "{status}");
        // Each reader has got whole messages, and resumes after them.
        deployment.agentbus().restart().await;
        committed(http, 1_000).await;
        let kept = history(http, "").await;
        for mut wire in hung {
            let mut seen = Vec::new();
            while let Ok(line) = within(LIMIT, "a message or the end", wire.message()).await {
                seen.push(line);
            }
            let cursor = seen.last().map_or(0, |line| line.seq);
            let rest = 1_000 - usize::try_from(cursor).expect("a small number");
            let mut resumed = http.stream("", Some(cursor)).await;
            seen.extend(of_frames(&resumed.collect_messages(rest, LIMIT).await));
            assert_same("a reader that hung", &seen, &kept);
        }
    }

    async fn a_stream_is_refused_or_ended_while_the_server_drains(deployment: &Deployment) {
        let http = deployment.http();
        let mut open = http.stream("", None).await;
        open.expect_ready().await;
        let asked = Instant::now();
        deployment.agentbus().ask_to_end();
        // A new stream is refused, or ended with the others.
        match http.try_stream("from=start", None).await {
            Ok(Ok(mut late)) => drop(end(&mut late, asked).await),
            Ok(Err(answer)) => assert_eq!(answer.status, 503, "{answer:?}"),
            Err(_) => {}
        }
        end(&mut open, asked).await;
        assert!(deployment.agentbus().wait_exit(DRAIN + LATE).await.success());
    }
}
