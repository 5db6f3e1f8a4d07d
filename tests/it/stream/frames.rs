//! The frames of a stream: where it can start, which event opens it, the names of its events, heartbeats, and
//! what is refused before it begins. Filters are tested in `filters.rs`, the end of streams in `end.rs`.

use std::collections::HashSet;
use std::time::Duration;

use crate::support::raw_stream::{RawStream, hang};
use crate::support::records::{Record, assert_same, history, of_frames};
use crate::support::sse::Ready;
use crate::support::streams::{LIMIT, message, messages, publish, publish_one, replay};
use crate::support::wire::committed;
use crate::support::{Frame, Http, Sse, Stop, eventually, for_each_mode, within};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

/// A heartbeat comes after 15 s of silence.
const SILENCE: Duration = Duration::from_secs(15);
/// The server's silence began before the client saw the frame before it.
const EARLIEST: Duration = Duration::from_secs(12);

async fn open(http: &Http, query: &str, last_event_id: Option<u64>) -> (Ready, Sse) {
    let mut stream = http.stream(query, last_event_id).await;
    (stream.expect_ready().await, stream)
}

/// The next sequences of a stream.
async fn next(stream: &mut Sse, count: usize) -> Vec<u64> {
    of_frames(&stream.collect_messages(count, LIMIT).await).iter().map(|line| line.seq).collect()
}

/// The heartbeat of a stream that has scanned up to `seq`. It has no data, so browsers dispatch nothing.
fn heartbeat_at(seq: u64) -> Frame {
    Frame { id: Some(seq.to_string()), event: Some("heartbeat".to_owned()), ..Frame::default() }
}

fn gap(frame: &Frame) -> serde_json::Value {
    assert!(frame.is("gap"), "{frame:?}");
    assert_eq!(frame.id, None, "a gap has no id");
    frame.json()
}

for_each_mode! {
    async fn every_start_of_an_empty_log_waits_for_its_first_message(deployment: &Deployment) {
        let http = deployment.http();
        let mut streams = Vec::new();
        for (query, last_event_id) in
            [("", None), ("from=now", None), ("from=start", None), ("from=1", None), ("", Some(0))]
        {
            let (ready, stream) = open(http, query, last_event_id).await;
            assert_eq!((ready.id, ready.head), (0, 0), "?{query} {last_event_id:?}");
            streams.push(stream);
        }
        assert_eq!(publish_one(http, &message(1)).await, 1);
        for stream in &mut streams {
            assert_eq!(next(stream, 1).await, [1]);
        }
    }

    async fn every_start_is_ready_with_a_true_cursor(deployment: &Deployment) {
        let http = deployment.http();
        publish(http, &messages(10)).await;
        let starts = [
            ("", Some(4), 4, true),
            ("", Some(0), 0, true),
            ("", Some(10), 10, false),
            ("last_event_id=6", None, 6, true),
            ("lastEventId=7", None, 7, true),
            ("from=4", None, 3, true),
            ("from=1", None, 0, true),
            ("from=10", None, 9, true),
            ("from=11", None, 10, false),
            ("from=start", None, 0, true),
            ("from=now", None, 10, false),
            ("", None, 10, false),
        ];
        let mut streams = Vec::new();
        for (query, last_event_id, id, behind) in starts {
            let what = format!("?{query} {last_event_id:?}");
            let (ready, mut stream) = open(http, query, last_event_id).await;
            assert_eq!((ready.id, ready.head, ready.first), (id, 10, 1), "{what}");
            assert!(ready.replaying || !behind, "{what}: a replay is not announced");
            if ready.replaying {
                let (replayed, through) = replay(&mut stream).await;
                let seqs: Vec<u64> = replayed.iter().map(|line| line.seq).collect();
                assert_eq!((seqs, through), ((id + 1..=10).collect(), 10), "{what}");
            }
            streams.push((what, stream));
        }
        publish(http, &messages(2)).await;
        for (what, stream) in &mut streams {
            assert_eq!(next(stream, 2).await, [11, 12], "{what}");
        }
    }

    async fn the_last_event_id_wins_over_the_address(deployment: &Deployment) {
        let http = deployment.http();
        publish(http, &messages(10)).await;
        for (query, last_event_id, id) in [
            ("from=2", Some(7), 7),
            ("from=start", Some(7), 7),
            ("from=now", Some(7), 7),
            ("from=100", Some(7), 7),
            ("last_event_id=3", Some(8), 8),
            ("lastEventId=9", Some(2), 2),
            ("last_event_id=5&from=start", None, 5),
            ("from=now&lastEventId=5", None, 5),
            ("from=8&last_event_id=0", None, 0),
        ] {
            let (ready, mut stream) = open(http, query, last_event_id).await;
            assert_eq!(ready.id, id, "?{query} {last_event_id:?}");
            assert_eq!(next(&mut stream, 1).await, [id + 1], "?{query} {last_event_id:?}");
        }
    }

    async fn the_delay_before_a_reconnect_differs_between_connections(deployment: &Deployment) {
        let mut delays = HashSet::new();
        for _ in 0..20 {
            let (ready, _) = open(deployment.http(), "", None).await;
            assert!((1_000..=4_000).contains(&ready.retry), "retry {}", ready.retry);
            delays.insert(ready.retry);
        }
        assert!(delays.len() > 1, "always the same: {delays:?}");
    }

    async fn the_headers_keep_proxies_from_buffering_the_stream(deployment: &Deployment) {
        let path = format!("{}/v1/stream", deployment.bus());
        let request = reqwest::Client::builder().no_proxy().tls_certs_only([]);
        let request = request.build().expect("a client").get(path);
        let request = request.header("accept-encoding", "gzip, br").header("accept", "*/*");
        let response = request.send().await.expect("an answer");
        let header = |name| response.headers().get(name).map(|value| value.to_str().expect("text"));
        assert_eq!(response.status(), 200);
        let content_type = header("content-type").expect("a content type").to_lowercase();
        let mut media = content_type.split(';').map(str::trim);
        assert_eq!(media.next(), Some("text/event-stream"));
        assert!(media.all(|parameter| parameter == "charset=utf-8"), "{content_type}");
        assert_eq!(header("cache-control"), Some("no-cache, no-transform"));
        assert_eq!(header("x-accel-buffering"), Some("no"));
        assert_eq!((header("content-encoding"), header("content-length")), (None, None));
    }

    async fn a_stream_follows_all_pipelined_responses_of_its_connection(deployment: &Deployment) {
        const BEFORE: usize = 20;
        let (http, base) = (deployment.http(), deployment.bus());
        let seqs = publish(http, &messages(400)).await;
        committed(http, 400).await;
        let opened = async {
            let mut wire = RawStream::connect_slow(base).await?;
            // Far more than the buffers of a connection take, so the head of the response has to
            // wait.
            for _ in 0..BEFORE {
                wire.ask(base, "GET", "/v1/messages?limit=400", "").await?;
            }
            wire.ask(base, "GET", "/v1/stream?from=start", "").await?;
            // A second request on the connection of a stream gets no response, and does no harm.
            wire.ask(base, "GET", "/livez", "").await?;
            let mut whole = Vec::new();
            for _ in 0..BEFORE {
                whole.push(wire.body().await?);
            }
            assert!(whole[0].len() > 40_000, "{} bytes are too few", whole[0].len());
            assert!(whole.iter().all(|body| *body == whole[0]), "the answers differ");
            wire.opened().await
        };
        let mut wire = within(LIMIT, "answers", opened).await.expect("a stream");
        for seq in seqs.into_iter().chain([publish_one(http, &message(400)).await]) {
            let line = within(LIMIT, "a message", wire.message()).await.expect("a message");
            assert_eq!(line.seq, seq);
        }
    }

    async fn the_head_of_a_stream_can_be_asked_for_alone(deployment: &Deployment) {
        let base = deployment.bus();
        let asked = async {
            let mut wire = RawStream::connect_slow(base).await?;
            wire.ask(base, "HEAD", "/v1/stream", "").await?;
            let (status, headers) = wire.head().await?;
            assert_eq!(status, "HTTP/1.1 200 OK");
            let event_stream = headers.iter().any(|h| h == "content-type: text/event-stream");
            assert!(event_stream, "{headers:?}");
            // The connection can be used for the next request.
            wire.ask(base, "GET", "/v1/stats", "").await?;
            wire.body().await
        };
        let stats = within(LIMIT, "answers", asked).await.expect("stats");
        let stats: serde_json::Value = serde_json::from_slice(&stats).expect("JSON");
        assert_eq!(stats["streams_open"], 0, "{stats}");
    }

    async fn a_client_of_http_1_0_gets_events_without_chunks(deployment: &Deployment) {
        let address = deployment.bus().trim_start_matches("http://");
        publish(deployment.http(), &messages(3)).await;
        let mut connection = TcpStream::connect(address).await.expect("connect");
        let request = format!("GET /v1/stream?from=start HTTP/1.0\r\nHost: {address}\r\n\r\n");
        connection.write_all(request.as_bytes()).await.expect("sent");
        let mut received = Vec::new();
        let read = async {
            while !received.ends_with(b"event: caught_up\ndata: {\"seq\":3}\n\n") {
                assert_ne!(connection.read_buf(&mut received).await.expect("more"), 0, "it ended");
            }
        };
        within(LIMIT, "a replay", read).await;
        let received = String::from_utf8(received).expect("UTF-8");
        let (head, events) = received.split_once("\r\n\r\n").expect("a head");
        assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
        assert!(events.starts_with("retry: ") && !events.contains('\r'), "{events}");
        let names = events.lines().filter(|line| line.starts_with("event: "));
        assert_eq!(names.count(), 5, "ready, three messages, caught_up: {events}");
    }

    async fn a_client_that_disconnects_is_detected_before_anything_is_sent_to_it(deployment: &Deployment) {
        let http = deployment.http();
        let open = async |wanted: u64| {
            eventually(EARLIEST, "streams open", async || {
                let stats = http.get("/v1/stats").await.json();
                (stats["streams_open"] == wanted && stats["filter_groups"] == wanted.min(1)).then_some(())
            })
            .await;
        };
        let streams = hang(deployment.bus(), 5, "task=silent").await;
        open(5).await;
        drop(streams);
        open(0).await;
    }

    async fn an_event_has_the_sequence_as_id_the_kind_as_name_and_the_bytes_of_history(
        deployment: &Deployment
    ) {
        let http = deployment.http();
        let (_, mut live) = open(http, "", None).await;
        let posted = [
            json!({"kind": "status", "type": "online", "sender_id": "a",
                "metadata": {"z": 1.50, "a": [1e3, "\u{1f600}"]}}),
            json!({"kind": "message", "type": "note", "sender_id": "a",
                "content": "two\nlines, \u{2028} and \\ \" \r\n data: x\n\n"}),
            json!({"kind": "task", "type": "step", "task_id": "t", "sender_id": "a", "content": ""}),
        ];
        for message in &posted {
            publish_one(http, message).await;
        }
        let frames = live.collect_messages(3, LIMIT).await;
        for (frame, (name, seq)) in frames.iter().zip([("status", 1), ("message", 2), ("task", 3)]) {
            assert_eq!((frame.event.as_deref(), frame.seq()), (Some(name), seq));
            let data = frame.data.as_ref().expect("data");
            assert!(data.starts_with(format!(r#"{{"seq":{seq},"id":""#).as_bytes()), "{data:?}");
            assert!(!data.contains(&b'\n'), "one line");
        }
        committed(http, 3).await;
        let kept = history(http, "").await;
        assert_same("live", &of_frames(&frames), &kept);
        let (_, mut replayed) = open(http, "from=start", None).await;
        assert_same("replayed", &replay(&mut replayed).await.0, &kept);
        for line in kept {
            let id = line.json()["id"].as_str().expect("an id").to_owned();
            let one = http.get(&format!("/v1/messages/{id}")).await.expect(200).bytes;
            assert_same("by its id", &[Record { seq: line.seq, bytes: one }], &[line]);
        }
    }

    async fn caught_up_comes_once_and_only_after_a_replay(deployment: &Deployment) {
        let http = deployment.http();
        publish(http, &messages(5)).await;
        let (_, mut now) = open(http, "from=now", None).await;
        let (ready, mut start) = open(http, "from=start", None).await;
        assert!(ready.replaying);
        let (ready, mut none) = open(http, "from=start&type=absent", None).await;
        assert!(ready.replaying);
        replay(&mut start).await;
        let (nothing, through) = replay(&mut none).await;
        assert_same("a filter that nothing passes", &nothing, &[]);
        assert_eq!(through, 5);
        for _ in 0..3 {
            publish(http, &messages(40)).await;
        }
        publish_one(http, &json!({"kind": "message", "type": "absent", "sender_id": "a"})).await;
        for (stream, count) in [(&mut now, 121), (&mut start, 121), (&mut none, 1)] {
            let frames = stream.until(LIMIT, |frame| frame.is_message() && frame.seq() == 126).await;
            assert!(frames.iter().all(Frame::is_message), "{frames:?}");
            assert_eq!(frames.len(), count);
        }
    }

    async fn a_replay_has_caught_up_only_at_the_head_of_its_ready_event(deployment: &Deployment) {
        let http = deployment.http();
        let (published, batches) = watch::channel(0);
        let writer = async move {
            for batch in 1..=100 {
                publish(http, &messages(fastrand::usize(1..200))).await;
                published.send_replace(batch);
            }
        };
        let replays = (0..4).map(|_| async {
            let mut batches = batches.clone();
            while batches.changed().await.is_ok() {
                let head = open(http, "", None).await.0.head;
                let (ready, mut stream) = open(http, "", Some(head.saturating_sub(3))).await;
                if ready.replaying {
                    let (replayed, through) = replay(&mut stream).await;
                    assert!(through >= ready.head, "caught up at {through} of {}", ready.head);
                    let seqs = replayed.iter().map(|line| line.seq);
                    assert!(seqs.eq(ready.id + 1..=through), "{} to {through}", ready.id);
                }
            }
        });
        tokio::join!(writer, join_all(replays));
    }

    async fn a_start_beyond_the_head_waits_for_its_sequence(deployment: &Deployment) {
        let http = deployment.http();
        publish(http, &messages(3)).await;
        let (ready, mut stream) = open(http, "from=8", None).await;
        assert_eq!((ready.id, ready.head), (7, 3));
        publish(http, &messages(3)).await;
        publish(http, &messages(4)).await;
        let frames = stream.until(LIMIT, |frame| frame.is_message() && frame.seq() == 10).await;
        assert!(!frames.iter().any(|frame| frame.is("gap")), "{frames:?}");
        let seqs: Vec<u64> = of_frames(&frames).iter().map(|line| line.seq).collect();
        assert_eq!(seqs, [8, 9, 10]);
    }

    async fn a_cursor_of_another_deployment_gets_a_gap_and_follows_live(deployment: &Deployment) {
        let http = deployment.http();
        let mut head = 0;
        for published in [0, 10] {
            head += publish(http, &messages(published)).await.len() as u64;
            let mut streams = Vec::new();
            for (query, header) in
                [("", Some(1_000)), ("from=start", Some(1_000)), ("last_event_id=1000", None)]
            {
                let (ready, mut stream) = open(http, query, header).await;
                assert_eq!((ready.id, ready.head), (head, head), "?{query} {header:?}");
                let reported = gap(&stream.next(LIMIT).await);
                assert_eq!(reported, json!({"from": head + 1, "to": 1_000, "reason": "ahead_of_log"}));
                streams.push(stream);
            }
            // A cursor one above the head is ahead of the log; the head itself is not.
            let (_, mut above) = open(http, "", Some(head + 1)).await;
            let reported = gap(&above.next(LIMIT).await);
            assert_eq!(reported, json!({"from": head + 1, "to": head + 1, "reason": "ahead_of_log"}));
            let (_, at) = open(http, "", Some(head)).await;
            streams.extend([above, at]);
            publish(http, &messages(2)).await;
            for stream in &mut streams {
                assert_eq!(next(stream, 2).await, [head + 1, head + 2]);
            }
            head += 2;
        }
    }

    async fn silence_is_broken_by_an_id_that_moves_past_what_the_filter_skipped(
        deployment: &Deployment
    ) {
        let http = deployment.http();
        publish(http, &messages(3)).await;
        let (_, mut all) = open(http, "", None).await;
        let (_, mut filtered) = open(http, "type=wanted", None).await;
        let mut opened = Instant::now();
        let mut last = 3;
        for _ in 0..2 {
            // Messages that do not pass the filter do not delay the heartbeat.
            let heartbeat = loop {
                match filtered.try_next(Duration::from_secs(1)).await {
                    Ok(frame) => break frame,
                    Err(Stop::Deadline) => last = publish_one(http, &message(0)).await,
                    Err(stop) => panic!("{stop:?}"),
                }
                assert!(opened.elapsed() < SILENCE * 2, "no heartbeat");
            };
            assert!(opened.elapsed() > EARLIEST, "after {:?} already", opened.elapsed());
            let id = heartbeat.seq();
            assert_eq!(heartbeat, heartbeat_at(id));
            // At most the messages of the last moment have not been scanned yet.
            assert!((last.saturating_sub(2)..=last).contains(&id), "{id}, head {last}");
            opened = Instant::now();
        }
        let cursor = filtered.last_event_id();
        drop(filtered);

        let passed = of_frames(&all.until(LIMIT, |frame| frame.seq() == last).await);
        assert!(passed.iter().map(|line| line.seq).eq(4..=last), "silent, or not in order");
        let frame = all.next(SILENCE * 2).await;
        assert_eq!(frame, heartbeat_at(last));
        let wanted = json!({"kind": "status", "type": "wanted", "sender_id": "a"});
        let seq = publish_one(http, &wanted).await;
        let (ready, mut resumed) = open(http, "type=wanted", cursor).await;
        assert_eq!(Some(ready.id), cursor);
        assert_eq!(next(&mut resumed, 1).await, [seq]);
        assert_eq!(next(&mut all, 1).await, [seq]);
    }

    async fn bad_parameters_are_named_before_the_stream_begins(deployment: &Deployment) {
        let long = format!("sender={}", "x".repeat(65));
        for (query, wrong) in [
            ("bogus=1", "bogus"),
            ("limit=5", "limit"),
            ("after=5", "after"),
            ("since=2026-01-01T00:00:00Z", "since"),
            ("FROM=start", "FROM"),
            ("from=soon", "from"),
            ("from=-1", "from"),
            ("from=1.5", "from"),
            ("from=", "from"),
            ("from=99999999999999999999", "from"),
            ("last_event_id=x", "last_event_id"),
            ("lastEventId=-3", "lastEventId"),
            ("kind=letter", "kind"),
            ("kind=message&kind=", "kind"),
            ("type=a%20b", "type"),
            ("type=", "type"),
            (&long, "sender"),
            ("recipient=a.b", "recipient"),
            ("task=%C3%A9", "task"),
            ("conversation=*", "conversation"),
            ("in_reply_to=not-a-uuid", "in_reply_to"),
            ("recipient=a&broadcast=maybe", "broadcast"),
            ("subject=agent..x", "subject"),
            ("subject=agent.%3E.x", "subject"),
            ("subject=", "subject"),
            ("subject=agent.message.a%20b", "subject"),
        ] {
            let answer = deployment.http().get(&format!("/v1/stream?{query}")).await;
            assert_eq!(answer.status, 422, "?{query}: {}", answer.text());
            let content_type = answer.header("content-type").expect("a content type");
            assert!(content_type.starts_with("application/problem+json"), "{content_type}");
            let problem = answer.json();
            assert!(problem["code"].is_string() && problem["status"] == 422, "{problem}");
            let errors = problem["errors"].as_array().expect("errors");
            assert!(errors.iter().any(|error| error["parameter"] == wrong), "?{query}: {problem}");
            assert!(errors.iter().all(|error| error["detail"].is_string()), "{problem}");
        }
        let answer = deployment.http().get("/v1/stream?kind=x&bogus=1&from=y&type=ok").await;
        let problem = answer.expect(422).json();
        let errors = problem["errors"].as_array().expect("errors");
        let named: HashSet<&str> =
            errors.iter().map(|error| error["parameter"].as_str().expect("a name")).collect();
        assert_eq!(named, HashSet::from(["kind", "bogus", "from"]), "all at once, and only those");
    }

    async fn a_last_event_id_that_is_no_sequence_is_refused(deployment: &Deployment) {
        for id in ["abc", "-1", "1.5", "99999999999999999999"] {
            let headers = [("last-event-id", id)];
            let answer = deployment.http().request(Method::GET, "/v1/stream", &headers, "").await;
            let status = answer.expect("an answer").status;
            assert!([400, 422].contains(&status), "{id}: {status}");
        }
    }
}
