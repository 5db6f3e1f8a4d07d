//! Replays that catch up while others publish, with a ring so small that every replay reads the store; also
//! slow readers and the memory that they cost.

use std::time::Duration;

use crate::support::raw_stream::hang;
use crate::support::records::{Record, assert_same, history, of_frames};
use crate::support::streams::{LIMIT, large, message, messages, publish, publish_one};
use crate::support::wire::committed;
use crate::support::{Frame, Http, eventually, for_each_mode, metrics, within};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

const BEFORE: usize = 3_000;
const MEANWHILE: usize = 3_000;
const WRITERS: usize = 3;
const SUBSCRIBERS: usize = 30;
/// Time limit for reading everything that was published.
const LONG: Duration = Duration::from_secs(120);

/// Size of one message in bytes.
const LARGE: usize = 10_000;
/// How many messages are left unread: far more than the buffers of a connection on both sides.
const UNREAD: usize = 2_000;
const HANGING: usize = 30;
const PUBLISHED: usize = 50_000_000;
/// The most bytes that the server may buffer for one reader that hangs.
const BUFFERED: f64 = agentbus::limits::STREAM_BYTES as f64;
/// How much the memory of the process may grow: far more than its allocator keeps for reuse, far less than
/// the readers that hang have not read.
const GROWTH: u64 = (HANGING * PUBLISHED / 4) as u64;

/// The last message, whose type every filter of the test also passes.
fn sentinel() -> Value {
    json!({"kind": "message", "type": "sentinel", "sender_id": "sentinel", "recipient_id": "sentinel",
        "task_id": "sentinel", "conversation_id": "sentinel"})
}

fn numbered(n: usize) -> Value {
    let of = |what: &str, count: usize| format!("{what}{}", n * 7 % count);
    match n % 3 {
        0 => {
            json!({"kind": "message", "type": of("t", 5), "sender_id": of("s", 4), "recipient_id": of("r", 3)})
        }
        1 => {
            json!({"kind": "task", "type": of("t", 2), "sender_id": of("s", 3), "task_id": of("k", 50)})
        }
        _ => {
            json!({"kind": "status", "type": of("t", 5), "sender_id": of("s", 4), "conversation_id": of("c", 2)})
        }
    }
}

/// A random filter that also passes the sentinel; some pass few other messages, some none.
fn filter() -> String {
    let n = fastrand::usize(0..6);
    match fastrand::usize(0..9) {
        0 => String::new(),
        1 => format!("type=t{n}&type=sentinel"),
        2 => format!("sender=s{n}&sender=sentinel"),
        3 => format!("recipient=r{n}&recipient=sentinel"),
        4 => format!("task=k{n}&task=sentinel"),
        5 => format!("conversation=c{n}&conversation=sentinel"),
        6 => format!("subject=agent.status.s{n}.*&subject=agent.*.*.sentinel"),
        7 => format!("kind=message&type=t{n}&type=sentinel&sender=s1&sender=s2&sender=sentinel"),
        _ => format!("recipient=r{n}&recipient=sentinel&broadcast=true&kind=message&kind=status"),
    }
}

/// Publishes with several writers at once, in batches and one by one, and the sentinel last. Returns the
/// sentinel's sequence.
async fn load(http: &Http) -> u64 {
    write(http).await;
    publish_one(http, &sentinel()).await
}

async fn write(http: &Http) {
    join_all((0..WRITERS).map(|writer| async move {
        let mut written = 0;
        while written < MEANWHILE / WRITERS {
            let count = if fastrand::bool() { 1 } else { fastrand::usize(2..100) };
            let batch: Vec<Value> =
                (written..written + count).map(|n| numbered(n * WRITERS + writer)).collect();
            match batch.as_slice() {
                [one] => drop(publish_one(http, one).await),
                batch => drop(publish(http, batch).await),
            }
            written += count;
        }
    }))
    .await;
}

/// Reads from a random start up to the sentinel; returns the first cursor and the messages. Increments
/// `joined` once the stream is open.
async fn subscribe(
    http: &Http,
    query: &str,
    last_event_id: Option<u64>,
    joined: &Semaphore,
) -> (u64, Vec<Record>) {
    let mut stream = http.stream(query, last_event_id).await;
    let ready = stream.expect_ready().await;
    joined.add_permits(1);
    let is_last = |frame: &Frame| frame.is_message() && frame.json()["type"] == "sentinel";
    let frames = stream.until(LONG, is_last).await;
    assert!(!frames.iter().any(|frame| frame.is("gap")), "a gap");
    let mut caught_up = frames.iter().filter(|frame| frame.is("caught_up")).count();
    if ready.replaying && caught_up == 0 {
        caught_up += stream.until(LONG, |frame| frame.is("caught_up")).await.len();
    }
    assert_eq!(caught_up, usize::from(ready.replaying), "caught_up of ?{query}");
    (ready.id, of_frames(&frames))
}

/// Resident memory of a process, in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// Publishes [`PUBLISHED`] bytes in large messages; returns the peak memory of the server meanwhile.
async fn publish_measured(http: &Http, pid: u32) -> u64 {
    let mut most = 0;
    for batch in 0..PUBLISHED / LARGE / 100 {
        let batch: Vec<Value> = (0..100).map(|n| large(batch * 100 + n, LARGE)).collect();
        publish(http, &batch).await;
        most = most.max(resident(pid));
    }
    most
}

for_each_mode! {
    |builder| builder.env("RING_SIZE", "64");

    async fn a_replay_from_the_start_meets_the_live_edge_with_each_message_once(
        deployment: &Deployment
    ) {
        let http = deployment.http();
        publish(http, &messages(BEFORE)).await;
        let joined = Semaphore::new(0);
        let replays = join_all((0..4).map(|_| subscribe(http, "from=start", None, &joined)));
        let (head, replays) = tokio::join!(load(http), replays);
        committed(http, head).await;
        let kept = history(http, "").await;
        assert!(kept.len() > BEFORE + MEANWHILE, "{}", kept.len());
        for (cursor, seen) in replays {
            assert_eq!(cursor, 0);
            assert_same("a replay from the start", &seen, &kept);
        }
    }

    async fn subscribers_that_join_the_load_anywhere_see_what_history_has(deployment: &Deployment) {
        let http = deployment.http();
        let before: Vec<Value> = (0..BEFORE).map(numbered).collect();
        publish(http, &before).await;
        let mut paces = Vec::new();
        for _ in 0..SUBSCRIBERS {
            let mut pace = http.stream("", None).await;
            pace.expect_ready().await;
            paces.push(pace);
        }
        let joined = &Semaphore::new(0);
        let subscribers = paces.into_iter().enumerate().map(|(n, mut pace)| async move {
            // Each subscriber joins when this many messages have been published.
            pace.collect_messages(n * MEANWHILE / SUBSCRIBERS / 2, LONG).await;
            drop(pace);
            let (filter, place) = (filter(), fastrand::u64(1..=BEFORE as u64));
            let (start, last_event_id) = match fastrand::usize(0..4) {
                0 => ("from=now".to_owned(), None),
                1 => ("from=start".to_owned(), None),
                2 => (format!("from={place}"), None),
                _ => ("from=start".to_owned(), Some(place)),
            };
            let query = format!("{start}&{filter}");
            let (cursor, seen) = subscribe(http, &query, last_event_id, joined).await;
            (query, filter, cursor, seen)
        });
        // A subscriber that joined after the sentinel would never end.
        let load = async {
            write(http).await;
            let all = within(LONG, "all have joined", joined.acquire_many(SUBSCRIBERS as u32));
            all.await.expect("a semaphore").forget();
            publish_one(http, &sentinel()).await
        };
        let (head, subscribers) = tokio::join!(load, join_all(subscribers));
        committed(http, head).await;
        for (query, filter, cursor, seen) in subscribers {
            let kept = history(http, &filter).await;
            let kept: Vec<Record> = kept.into_iter().filter(|line| line.seq > cursor).collect();
            assert_same(&format!("?{query} after {cursor}"), &seen, &kept);
        }
    }

    async fn a_reader_that_pauses_misses_nothing(deployment: &Deployment) {
        let http = deployment.http();
        publish(http, &messages(10)).await;
        let mut slow = hang(deployment.bus(), 1, "").await.pop().expect("a stream");
        let mut replaying = hang(deployment.bus(), 1, "from=start").await.pop().expect("a stream");
        let posted: Vec<Value> = (0..UNREAD).map(|n| large(n, LARGE)).collect();
        for batch in posted.chunks(100) {
            publish(http, batch).await;
        }
        // The readers read a little, fall behind again, then read on while others still publish.
        let mut seen = Vec::new();
        while seen.len() < 100 {
            seen.push(within(LIMIT, "a message", slow.message()).await.expect("a message"));
        }
        publish(http, &messages(500)).await;
        let (last, ()) = tokio::join!(load(http), async {
            within(LONG, "all is read", async {
                while seen.last().is_none_or(|line| line.json()["type"] != "sentinel") {
                    seen.push(slow.message().await.expect("a message"));
                }
            })
            .await;
        });
        committed(http, last).await;
        let kept = history(http, "").await;
        assert_same("the slow reader", &seen, &kept[10..]);
        let mut seen = Vec::new();
        within(LONG, "all is read", async {
            while seen.len() < kept.len() {
                seen.push(replaying.message().await.expect("a message"));
            }
        })
        .await;
        assert_same("the slow replay", &seen, &kept);
    }

    async fn hung_readers_do_not_make_the_server_grow(deployment: &Deployment) {
        let http = deployment.http();
        let pid = deployment.agentbus().pid();
        // The memory that the same load costs with readers that do read.
        let mut without = publish_measured(http, pid).await;
        let all = (0..4).map(|_| async { http.stream("from=start", None).await });
        for mut stream in join_all(all).await {
            stream.until(LONG, |frame| frame.is("caught_up")).await;
            without = without.max(resident(pid));
        }
        // The store has all messages, so readers get them from there.
        committed(http, (PUBLISHED / LARGE) as u64).await;
        let mut live = hang(deployment.bus(), HANGING / 2, "").await;
        let mut replaying = hang(deployment.bus(), HANGING / 2, "from=start").await;
        let with = publish_measured(http, pid).await;
        let buffered = metrics::value(http, "agentbus_stream_bytes").await;
        println!(
            "{} KiB, with readers that hang {} KiB, of these for them {} KiB",
            without >> 10,
            with >> 10,
            buffered / 1024.0
        );
        assert!(buffered > 0.0 && buffered <= HANGING as f64 * BUFFERED, "{buffered} bytes are buffered for them");
        assert!(with < without + GROWTH, "{without} bytes, and {with} with readers that hang");
        // No stream was ended, and others are served.
        let last = publish_one(http, &message(0)).await;
        let first = (PUBLISHED / LARGE) as u64 + 1;
        for (stream, wanted) in [(&mut live[0], first), (&mut replaying[0], 1)] {
            let line = within(LIMIT, "a message", stream.message()).await.expect("a message");
            assert_eq!(line.seq, wanted);
        }
        let mut quick = http.stream("", Some(last - 1)).await;
        assert_eq!(quick.collect_messages(1, LIMIT).await[0].seq(), last);
        // Their buffers are freed.
        drop((live, replaying, quick));
        eventually(LIMIT, "nothing is buffered", async || {
            (metrics::value(http, "agentbus_stream_bytes").await == 0.0).then_some(())
        })
        .await;
    }
}
