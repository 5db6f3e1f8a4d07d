//! What clients were told, held against history, the stream and each other.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt as _;

use crate::load::{Load, Told, all_committed};
use crate::support::streams::{Line, assert_same, history};
use crate::support::{Http, Nats, eventually};

/// Longest that a cluster takes to hand out a consumer.
const SOON: Duration = Duration::from_secs(60);

/// Ends the load and fails the test unless every promise was kept. Tells how much that was.
pub async fn hold(what: &str, load: Load, servers: &[&str], nats: Option<&Nats>) {
    let told = load.end().await;
    let last = told.acked.values().copied().max().expect("something was acknowledged");
    all_committed(servers, last).await;
    let stored = history(&Http::new(servers[0]), "").await;
    in_history(&told, &stored);
    for (number, seen) in told.seen.iter().enumerate() {
        assert_same(&format!("watcher {number} against history"), seen, &up_to(&stored, seen));
        let end = seen.last().map_or(0, |line| line.seq);
        assert!(end >= last, "watcher {number} ends at {end}, and {last} was acknowledged");
    }
    if let Some(nats) = nats {
        let stream = nats.jetstream().await.get_stream("agent-messages").await.expect("a stream");
        in_stream(&stream, &stored).await;
    }
    eprintln!(
        "{what}: {} acknowledged, missing 0, doubled 0, false 0; {} watchers, out of order 0, gaps 0",
        told.acked.len(),
        told.seen.len()
    );
}

/// Messages that nobody acknowledged may be there too, each once.
fn in_history(told: &Told, stored: &[Line]) {
    let mut seq_of = HashMap::new();
    let mut before = 0;
    for line in stored {
        assert!(line.seq > before, "{} comes after {before}", line.seq);
        before = line.seq;
        let id = line.json()["id"].as_str().expect("an id").to_owned();
        let twice = seq_of.insert(id.clone(), line.seq);
        assert_eq!(twice, None, "{id} stands at two sequences, the second {}", line.seq);
    }
    for (id, seq) in &told.acked {
        assert_eq!(seq_of.get(id), Some(seq), "{id} was acknowledged at {seq}");
    }
}

fn up_to(stored: &[Line], seen: &[Line]) -> Vec<Line> {
    let end = seen.last().map_or(0, |line| line.seq);
    stored.iter().take_while(|line| line.seq <= end).cloned().collect()
}

/// What the stream holds is what history has.
async fn in_stream(stream: &Stream, stored: &[Line]) {
    let state = &stream.cached_info().state;
    // A cluster that is whole again may have no leader of its own for a moment.
    let consumer = eventually(SOON, "a consumer", async || {
        let config = async_nats::jetstream::consumer::pull::OrderedConfig::default();
        stream.create_consumer(config).await.ok()
    })
    .await;
    let mut messages = consumer.messages().await.expect("messages");
    let wanted = stored.iter().filter(|line| line.seq >= state.first_sequence);
    let (mut count, mut compared) = (0, 0);
    for line in wanted {
        let message = messages.next().await.expect("a message").expect("no error");
        let seq = message.info().expect("its place").stream_sequence;
        assert_eq!(seq, line.seq);
        // Of what others published, the sequence alone: its bytes are made by us.
        if message.payload.starts_with(b"{\"id\":") {
            let payload = String::from_utf8_lossy(&message.payload);
            let spliced = payload.replacen('{', &format!("{{\"seq\":{seq},"), 1);
            assert_eq!(spliced.as_bytes(), &line.bytes[..]);
            compared += 1;
        }
        count += 1;
    }
    assert_eq!(count, state.messages, "the stream holds what history has not");
    assert!(compared > 0, "nothing was compared");
}
