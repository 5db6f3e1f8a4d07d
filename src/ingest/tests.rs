//! Ingest on a log whose sequences were set back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::bus::{Bounds, BusError, LogIdentity, Reader};
use crate::message::LogEntry;
use crate::store::sqlite::SqliteStore;

/// A bus that assigns sequences and stores nothing.
struct Counter(AtomicU64);

impl Counter {
    fn ack(&self) -> Ack {
        let seq = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        Ack { seq, duplicate: false, committed: false }
    }
}

#[async_trait]
impl Bus for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn log_name(&self) -> &str {
        "counter"
    }

    fn dedup_window(&self) -> Option<Duration> {
        None
    }

    async fn publish(&self, messages: Vec<Outgoing>) -> Vec<Result<Ack, PublishError>> {
        messages.iter().map(|_| Ok(self.ack())).collect()
    }

    async fn publish_if(&self, _: Outgoing, _: &Precondition) -> Result<Option<Ack>, PublishError> {
        Ok(Some(self.ack()))
    }

    async fn identity(&self) -> Result<LogIdentity, BusError> {
        let bounds = Bounds { first: 1, last: self.0.load(Ordering::Relaxed) };
        Ok(LogIdentity { bounds, epoch: None, write_back_pending: false })
    }

    async fn erase(&self, _: u64, _: Uuid, _: &bytes::Bytes) -> Result<(), BusError> {
        Ok(())
    }

    async fn get(&self, _: u64) -> Result<Option<LogEntry>, BusError> {
        Ok(None)
    }

    async fn reader(&self, _: u64) -> Result<Box<dyn Reader>, BusError> {
        Err(BusError("nothing to read".to_owned()))
    }

    fn health(&self) -> Result<(), String> {
        Ok(())
    }

    fn uncommitted_share(&self, _: u64) -> f64 {
        0.0
    }
}

fn draft() -> Draft {
    Draft::parse(br#"{"kind":"status","type":"t","sender_id":"a"}"#).expect("valid")
}

/// An ingest on a log that continues after `last`.
async fn ingest(last: u64) -> (Ingest, Arc<Counter>, std::path::PathBuf) {
    let dir = std::env::temp_dir().join(format!("agentbus-ingest-{}", Uuid::new_v4()));
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir).await.expect("SQLite opens"));
    let bus = Arc::new(Counter(AtomicU64::new(last)));
    let log = Arc::clone(&bus) as Arc<dyn Bus>;
    let ingest = Ingest::new(log, store, Arc::default(), Gate::open(), Clock::system());
    (ingest, bus, dir)
}

async fn post(ingest: &Ingest) -> Result<u64, IngestError> {
    let draft = [draft()];
    let answer = ingest.publish(&draft, AckLevel::Stored).await.pop();
    answer.expect("an answer").map(|receipt| receipt.seq)
}

fn is_refused(answer: &Result<u64, IngestError>, ingest: &Ingest) -> bool {
    matches!(answer, Err(IngestError::Bus { source: PublishError::Unknown(_), .. }))
        && ingest.gate.check().is_err()
}

#[tokio::test]
async fn a_sequence_is_not_acknowledged_twice_though_it_was_never_committed() {
    let (ingest, bus, dir) = ingest(0).await;
    for seq in 1..=3 {
        assert_eq!(post(&ingest).await, Ok(seq));
    }
    assert_eq!(ingest.committed.through(), 0);
    // The stream has lost its tail, and nothing has noticed.
    bus.0.store(1, Ordering::Relaxed);
    let again = post(&ingest).await;
    assert!(is_refused(&again, &ingest), "{again:?}");
    std::fs::remove_dir_all(dir).expect("the directory goes");
}

#[tokio::test]
async fn a_sequence_that_was_read_is_not_acknowledged() {
    let (ingest, _, dir) = ingest(6).await;
    ingest.committed.record_seen(7);
    let again = post(&ingest).await;
    assert!(is_refused(&again, &ingest), "{again:?}");
    std::fs::remove_dir_all(dir).expect("the directory goes");
}

#[tokio::test]
async fn a_conditional_publish_is_held_to_the_same_mark() {
    let (ingest, _, dir) = ingest(6).await;
    ingest.committed.record_seen(7);
    let condition = Precondition {
        subjects: "agent.status.a.*".parse().expect("a pattern"),
        newest: 0,
        known_through: 7,
    };
    let answer = ingest.publish_if(&draft(), &condition).await;
    let answer = answer.map(|receipt| receipt.map_or(0, |receipt| receipt.seq));
    assert!(is_refused(&answer, &ingest), "{answer:?}");
    std::fs::remove_dir_all(dir).expect("the directory goes");
}
