//! Compares what clients received with history, the stream and each other.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt as _;

use crate::load::{Load, Observed, all_committed};
use crate::support::records::{Record, assert_same, history};
use crate::support::{Http, Nats, eventually};

/// Time limit for a cluster to create a consumer.
const SOON: Duration = Duration::from_secs(60);

/// Ends the load and fails the test unless every promise was kept. Prints the figures.
pub async fn check(what: &str, load: Load, servers: &[&str], nats: Option<&Nats>) {
    let observed = load.end().await;
    let last = observed.acked.values().copied().max().expect("something was acknowledged");
    all_committed(servers, last).await;
    let stored = history(&Http::new(servers[0]), "").await;
    in_history(&observed, &stored);
    for (number, seen) in observed.seen.iter().enumerate() {
        assert_same(&format!("watcher {number} against history"), seen, &up_to(&stored, seen));
        let end = seen.last().map_or(0, |line| line.seq);
        assert!(end >= last, "watcher {number} ends at {end}, and {last} was acknowledged");
    }
    if let Some(nats) = nats {
        let stream = nats.jetstream().await.get_stream("agent-messages").await.expect("a stream");
        in_stream(&stream, &stored).await;
    }
    eprintln!(
        "{what}: {} acknowledged, missing 0, duplicate 0, false 0; {} watchers, out of order 0, gaps 0",
        observed.acked.len(),
        observed.seen.len()
    );
}

/// Fails the test unless history has every acknowledged message. Unacknowledged messages may be there too,
/// each once.
pub fn in_history(observed: &Observed, stored: &[Record]) {
    let mut seq_of = HashMap::new();
    let mut before = 0;
    for line in stored {
        assert!(line.seq > before, "{} comes after {before}", line.seq);
        before = line.seq;
        let id = line.json()["id"].as_str().expect("an id").to_owned();
        let twice = seq_of.insert(id.clone(), line.seq);
        assert_eq!(twice, None, "{id} is at two sequences, the second {}", line.seq);
    }
    for (id, seq) in &observed.acked {
        assert_eq!(seq_of.get(id), Some(seq), "{id} was acknowledged at {seq}");
    }
}

fn up_to(stored: &[Record], seen: &[Record]) -> Vec<Record> {
    let end = seen.last().map_or(0, |line| line.seq);
    stored.iter().take_while(|line| line.seq <= end).cloned().collect()
}

/// The header of envelopes that agentbus made, or that pretend it.
const NATIVE: &str = "Agentbus";

/// Fails the test unless the stream and history have the same messages.
async fn in_stream(stream: &Stream, stored: &[Record]) {
    let state = &stream.cached_info().state;
    // A cluster may have no leader for a moment after all nodes are back.
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
        let seq = message.info().expect("its position").stream_sequence;
        assert_eq!(seq, line.seq);
        // Only the sequences of other clients' messages are compared: the server makes their
        // envelopes.
        let headers = message.headers.as_ref();
        let is_native = headers.is_some_and(|headers| headers.get(NATIVE).is_some());
        if is_native && message.payload.starts_with(b"{\"id\":") {
            let payload = String::from_utf8_lossy(&message.payload);
            let spliced = payload.replacen('{', &format!("{{\"seq\":{seq},"), 1);
            assert_eq!(spliced.as_bytes(), &line.bytes[..]);
            compared += 1;
        }
        count += 1;
    }
    assert_eq!(count, state.messages, "the stream has what history lacks");
    assert!(compared > 0, "nothing was compared");
}
