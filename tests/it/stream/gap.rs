//! What the stream in NATS lost before a server stored it is reported as a gap with its exact bounds. What
//! the store has is no gap, whatever the stream has lost since.

use crate::support::records::history;
use crate::support::sse::Ready;
use crate::support::streams::{LIMIT, message, messages, publish};
use crate::support::wire::committed;
use crate::support::{
    Agentbus, Deployment, Frame, Http, Mode, Nats, Postgres, Sse, eventually, within,
};
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, Stream};
use serde_json::json;

const NAME: &str = "agent-messages";

/// Creates the stream as agentbus does, but with room for only `keeps` messages.
async fn create(jetstream: &Context, keeps: i64) -> Stream {
    let subjects = ["agent.message.>", "agent.status.>", "agent.task.>"].map(str::to_owned);
    let config = Config {
        name: NAME.to_owned(),
        subjects: subjects.to_vec(),
        max_messages: keeps,
        allow_direct: true,
        ..Config::default()
    };
    jetstream.create_stream(config).await.expect("a stream")
}

/// Publishes envelopes as another NATS client does; returns the last sequence.
async fn publish_foreign(jetstream: &Context, count: usize) -> u64 {
    let mut acks = Vec::with_capacity(count);
    for n in 0..count {
        let payload = message(n).to_string().into();
        acks.push(jetstream.publish("agent.message.agent.note", payload).await.expect("publish"));
    }
    let mut last = 0;
    for ack in acks {
        last = ack.await.expect("an ack").sequence;
    }
    last
}

async fn open(http: &Http, query: &str, last_event_id: Option<u64>) -> (Ready, Sse) {
    let mut stream = http.stream(query, last_event_id).await;
    (stream.expect_ready().await, stream)
}

/// The gaps and messages of a stream up to sequence `last`, in order, for example `1-3 4 5`.
async fn events(stream: &mut Sse, last: u64) -> String {
    let reaches = |frame: &Frame| match frame {
        frame if frame.is_message() => frame.seq() >= last,
        frame if frame.is("gap") => frame.json()["to"].as_u64() >= Some(last),
        _ => false,
    };
    let frames = stream.until(LIMIT, reaches).await;
    let tell = |frame: &Frame| {
        if frame.is_message() {
            return Some(frame.seq().to_string());
        }
        frame.is("gap").then(|| {
            let gap = frame.json();
            assert_eq!((&gap["reason"], &frame.id), (&json!("expired"), &None), "{frame:?}");
            format!("{}-{}", gap["from"], gap["to"])
        })
    };
    frames.iter().filter_map(tell).collect::<Vec<_>>().join(" ")
}

fn range(from: u64, to: u64) -> String {
    (from..=to).map(|seq| seq.to_string()).collect::<Vec<_>>().join(" ")
}

/// A server that started after its stream had lost messages.
struct Late {
    agentbus: Agentbus,
    jetstream: Context,
    _nats: Nats,
}

async fn late(lose: impl AsyncFnOnce(&Context)) -> Late {
    let nats = Nats::start().await;
    let jetstream = nats.jetstream().await;
    lose(&jetstream).await;
    let pg_url = Postgres::shared().await.database().await;
    let agentbus = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    Late { agentbus, jetstream, _nats: nats }
}

#[tokio::test]
async fn what_expired_before_the_first_start_is_a_gap_below_the_first_kept() {
    let late = late(async |jetstream| {
        create(jetstream, 20).await;
        assert_eq!(publish_foreign(jetstream, 50).await, 50);
    })
    .await;
    let http = late.agentbus.http();
    // The events are the same while the messages are being stored, and afterwards.
    for _ in 0..2 {
        for (query, last_event_id, id, wanted) in [
            ("from=start", None, 30, range(31, 50)),
            ("from=31", None, 30, range(31, 50)),
            ("from=40", None, 39, range(40, 50)),
            ("", Some(30), 30, range(31, 50)),
            ("", Some(45), 45, range(46, 50)),
            ("", Some(0), 0, format!("1-30 {}", range(31, 50))),
            ("", Some(10), 10, format!("11-30 {}", range(31, 50))),
            ("", Some(29), 29, format!("30-30 {}", range(31, 50))),
            ("last_event_id=7&from=start", None, 7, format!("8-30 {}", range(31, 50))),
            ("from=1", None, 0, format!("1-30 {}", range(31, 50))),
            ("from=5", None, 4, format!("5-30 {}", range(31, 50))),
            ("from=30", None, 29, format!("30-30 {}", range(31, 50))),
        ] {
            let (ready, mut stream) = open(&http, query, last_event_id).await;
            let what = format!("?{query} {last_event_id:?}");
            assert_eq!((ready.id, ready.first, ready.head), (id, 31, 50), "{what}");
            assert_eq!(events(&mut stream, 50).await, wanted, "{what}");
        }
        committed(&http, 50).await;
    }
    let kept = history(&http, "").await;
    assert!(kept.iter().map(|line| line.seq).eq(31..=50), "{kept:?}");
    // A filter does not hide a gap: the lost messages might have passed it.
    let (_, mut stream) = open(&http, "type=absent", Some(10)).await;
    assert_eq!(events(&mut stream, 30).await, "11-30");
}

#[tokio::test]
async fn a_log_that_lost_everything_reports_a_gap_and_continues() {
    let late = late(async |jetstream| {
        let stream = create(jetstream, -1).await;
        publish_foreign(jetstream, 12).await;
        stream.purge().await.expect("purged");
    })
    .await;
    let http = late.agentbus.http();
    let (ready, mut start) = open(&http, "from=start", None).await;
    assert_eq!((ready.id, ready.head), (12, 12));
    let (ready, mut resumed) = open(&http, "", Some(3)).await;
    assert_eq!((ready.id, ready.head), (3, 12));
    let (_, mut at_head) = open(&http, "", Some(12)).await;
    publish(&http, &messages(1)).await;
    assert_eq!(events(&mut start, 13).await, "13");
    assert_eq!(events(&mut resumed, 13).await, "4-12 13");
    assert_eq!(events(&mut at_head, 13).await, "13");
}

#[tokio::test]
async fn messages_deleted_before_they_were_stored_are_gaps_at_their_sequences() {
    let late = late(async |jetstream| {
        let stream = create(jetstream, -1).await;
        publish_foreign(jetstream, 50).await;
        for seq in (20..=25).chain([40]) {
            stream.delete_message(seq).await.expect("deleted");
        }
    })
    .await;
    let http = late.agentbus.http();
    let rest = format!("{} 40-40 {}", range(26, 39), range(41, 50));
    let whole = format!("{} 20-25 {rest}", range(1, 19));
    for _ in 0..2 {
        for (query, last_event_id, id, wanted) in [
            ("from=start", None, 0, whole.clone()),
            ("", Some(0), 0, whole.clone()),
            ("", Some(19), 19, format!("20-25 {rest}")),
            ("", Some(22), 22, format!("23-25 {rest}")),
            ("from=23", None, 22, format!("23-25 {rest}")),
            ("", Some(25), 25, rest.clone()),
            ("from=40", None, 39, format!("40-40 {}", range(41, 50))),
        ] {
            let (ready, mut stream) = open(&http, query, last_event_id).await;
            assert_eq!((ready.id, ready.first), (id, 1), "?{query} {last_event_id:?}");
            assert_eq!(events(&mut stream, 50).await, wanted, "?{query} {last_event_id:?}");
        }
        committed(&http, 50).await;
    }
    // History skips the lost messages.
    assert_eq!(history(&http, "").await.len(), 43);
    // The live stream continues after the gap.
    let (_, mut live) = open(&http, "", None).await;
    assert_eq!(publish_foreign(&late.jetstream, 2).await, 52);
    assert_eq!(events(&mut live, 52).await, "51 52");
}

#[tokio::test]
async fn what_the_store_has_is_no_gap_when_the_stream_has_lost_it() {
    let deployment = Deployment::tuned(Mode::Nats, |builder| builder.env("RING_SIZE", "64")).await;
    let http = deployment.http();
    publish(http, &messages(300)).await;
    committed(http, 300).await;
    let jetstream = deployment.nats().expect("NATS").jetstream().await;
    let stream = jetstream.get_stream(NAME).await.expect("the stream");
    stream.delete_message(299).await.expect("deleted");
    stream.purge().sequence(290).await.expect("purged");
    // The events are the same from the server's ring and from the store.
    for _ in 0..2 {
        for (query, last_event_id, from) in
            [("from=start", None, 1), ("from=1", None, 1), ("", Some(0), 1), ("", Some(112), 113)]
        {
            let (ready, mut replayed) = open(http, query, last_event_id).await;
            assert_eq!((ready.first, ready.id), (1, from - 1), "?{query} {last_event_id:?}");
            assert_eq!(
                events(&mut replayed, 300).await,
                range(from, 300),
                "?{query} {last_event_id:?}"
            );
        }
        deployment.agentbus().restart().await;
    }
}

#[tokio::test]
async fn what_expired_while_no_server_ran_is_a_gap_between_the_store_and_the_stream() {
    let nats = Nats::start().await;
    let jetstream = nats.jetstream().await;
    create(&jetstream, 20).await;
    let pg_url = Postgres::shared().await.database().await;
    let agentbus = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let http = agentbus.http();
    publish(&http, &messages(10)).await;
    committed(&http, 10).await;
    assert!(agentbus.terminate().await.success());
    assert_eq!(publish_foreign(&jetstream, 50).await, 60);
    agentbus.restart().await;
    for _ in 0..2 {
        for (query, last_event_id, wanted) in [
            ("from=start", None, format!("{} 11-40 {}", range(1, 10), range(41, 60))),
            ("", Some(5), format!("{} 11-40 {}", range(6, 10), range(41, 60))),
            ("", Some(10), format!("11-40 {}", range(41, 60))),
            ("", Some(20), format!("21-40 {}", range(41, 60))),
            ("", Some(40), range(41, 60)),
        ] {
            let (ready, mut stream) = open(&http, query, last_event_id).await;
            assert_eq!((ready.id, ready.head), (last_event_id.unwrap_or(0), 60), "?{query}");
            assert_eq!(events(&mut stream, 60).await, wanted, "?{query} {last_event_id:?}");
        }
        committed(&http, 60).await;
    }
    assert_eq!(history(&http, "").await.len(), 30);
}

/// Each sequence is read or reported as a gap, once and in order, whatever the frozen server could still
/// read.
#[tokio::test]
async fn a_live_stream_gets_gaps_for_what_expired_before_its_server_read_it() {
    let late = late(async |jetstream| {
        create(jetstream, 20).await;
        publish_foreign(jetstream, 1).await;
    })
    .await;
    let http = late.agentbus.http();
    let (ready, mut live) = open(&http, "", None).await;
    assert_eq!(ready.id, 1);
    late.agentbus.pause();
    let last = publish_foreign(&late.jetstream, 5_000).await;
    late.agentbus.resume();
    let mut next = 2;
    let seen_live = events(&mut live, last).await;
    for part in seen_live.split(' ') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        assert_eq!(from.parse::<u64>().expect("a sequence"), next, "{seen_live}");
        next = to.parse::<u64>().expect("a sequence") + 1;
    }
    assert_eq!(next, last + 1);
    // Afterwards all servers report the same events.
    committed(&http, last).await;
    let (_, mut again) = open(&http, "", Some(1)).await;
    let seen = self::events(&mut again, last).await;
    let lost: Vec<&str> = seen.split(' ').filter(|part| part.contains('-')).collect();
    assert!(
        lost.iter().all(|gap| seen_live.contains(gap)),
        "{lost:?} were not reported live: {seen_live}"
    );
}

/// Another server has stored what the stream lost while this one was frozen, so there is no gap.
#[tokio::test]
async fn what_another_server_has_stored_is_no_gap_for_a_server_that_was_frozen() {
    let nats = Nats::start().await;
    let jetstream = nats.jetstream().await;
    let stream = create(&jetstream, -1).await;
    let pg_url = Postgres::shared().await.database().await;
    let frozen = Agentbus::builder().nats(&nats.url(), &pg_url).start().await;
    let other = frozen.like().start().await;
    let (_, mut live) = open(&frozen.http(), "", None).await;
    frozen.pause();
    let last = publish(&other.http(), &messages(2_000)).await.len() as u64;
    committed(&other.http(), last).await;
    within(LIMIT, "the stream is purged", async {
        stream.purge().sequence(last).await.expect("purged");
    })
    .await;
    frozen.resume();
    let seen_live = events(&mut live, last).await;
    let gaps: Vec<&str> = seen_live.split(' ').filter(|part| part.contains('-')).collect();
    assert!(gaps.is_empty(), "reported as a gap: {gaps:?}");
    assert_eq!(seen_live, range(1, last));
    eventually(LIMIT, "the frozen server is back", async || {
        let answer = frozen.http().get("/readyz").await;
        (answer.status == 200).then_some(())
    })
    .await;
}
