//! The entries for the projector: from the broadcaster's ring while that has the next entry, else from the
//! log.
//!
//! Invariant: a batch is filled in the order of the log, from either source. Entries that entered the ring
//! before the gate last closed are read again from the log, which may have other content there now.

use futures_util::FutureExt as _;

use crate::broadcast::{RingRead, RingReader};
use crate::bus::{Bus, BusError, Reader};
use crate::continuity::Gate;
use crate::limits::PROJECT_PACE;
use crate::store::Batch;

/// Reads the log for one term of the projector.
pub(super) struct Source<'a> {
    bus: &'a dyn Bus,
    gate: &'a Gate,
    tail: RingReader,
    /// A reader of the log; open while the ring lacks the next entry.
    reader: Option<Box<dyn Reader>>,
    /// The gate's count of closings when this last looked.
    times_closed: u64,
    /// The newest entry of the ring when the gate last closed. Entries up to it must be read from the
    /// log.
    doubted_through: u64,
}

/// The outcome of reading the ring into a batch.
enum Taken {
    Entries,
    Nothing,
    /// The ring lacks the next entry, which must be read from the log.
    NotInRing,
}

impl<'a> Source<'a> {
    pub(super) fn new(bus: &'a dyn Bus, gate: &'a Gate, tail: RingReader) -> Self {
        Self {
            bus,
            gate,
            times_closed: gate.times_closed(),
            doubted_through: 0,
            tail,
            reader: None,
        }
    }

    /// Waits until it has added at least one entry to the batch. Cancel safe.
    pub(super) async fn next(&mut self, batch: &mut Batch) -> Result<(), BusError> {
        loop {
            match self.take_from_ring(batch) {
                Taken::Entries => return Ok(()),
                Taken::Nothing => self.tail.wait_beyond(batch.through()).await,
                Taken::NotInRing => return self.read(batch).await,
            }
        }
    }

    /// Adds the entries that are ready, without waiting for more.
    pub(super) async fn fill(&mut self, batch: &mut Batch) {
        while batch.has_room() {
            match self.take_from_ring(batch) {
                Taken::Entries => {}
                Taken::Nothing => return,
                // The next call of `next` meets the same error, and returns it.
                Taken::NotInRing => match self.read(batch).now_or_never() {
                    Some(Ok(())) => {}
                    Some(Err(_)) | None => return,
                },
            }
            tokio::task::yield_now().await;
        }
    }

    /// Reads until the batch is full or an error occurs, which the next call of `next` returns. It is not
    /// urgent, so it polls. Cancel safe.
    pub(super) async fn read_on(&mut self, batch: &mut Batch) {
        while batch.has_room() {
            match self.take_from_ring(batch) {
                Taken::Entries => {}
                Taken::Nothing => tokio::time::sleep(PROJECT_PACE).await,
                Taken::NotInRing => {
                    if self.read(batch).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn take_from_ring(&mut self, batch: &mut Batch) -> Taken {
        let times_closed = self.gate.times_closed();
        if times_closed != self.times_closed {
            (self.times_closed, self.doubted_through) = (times_closed, self.tail.newest());
        }
        if batch.through() < self.doubted_through {
            return Taken::NotInRing;
        }
        match self.tail.after(batch.through()) {
            RingRead::Entries(entries) => {
                self.reader = None;
                entries.records().for_each(|record| batch.push(record.clone()));
                Taken::Entries
            }
            RingRead::Empty => Taken::Nothing,
            RingRead::NotInRing => Taken::NotInRing,
        }
    }

    async fn read(&mut self, batch: &mut Batch) -> Result<(), BusError> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(self.bus.reader(batch.through() + 1).await?),
        };
        batch.extend(reader.next().await?, self.bus.log_name());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;
    use uuid::Uuid;

    use super::*;
    use crate::broadcast::Broadcaster;
    use crate::bus::memory::MemoryBus;
    use crate::clock::Clock;
    use crate::committed::Committed;
    use crate::limits::PROJECT_ROWS;
    use crate::message::{Draft, Outgoing};
    use crate::projector::StoreJournal;
    use crate::store::Store;
    use crate::store::sqlite::SqliteStore;

    /// A log on the memory bus, and its ring.
    struct Log {
        bus: Arc<dyn Bus>,
        broadcaster: Arc<Broadcaster>,
        gate: Gate,
        end: CancellationToken,
        dir: PathBuf,
    }

    impl Log {
        /// Starts with a ring of this many entries.
        async fn start(ring: usize) -> Self {
            let dir = std::env::temp_dir().join(format!("agentbus-source-{}", Uuid::new_v4()));
            let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir).await.expect("opens"));
            let claimed = store.claim(Uuid::now_v7(), Duration::from_secs(60), true).await;
            let lease = claimed.expect("the store answers").expect("nobody else has it");
            let (committed, end) = (Arc::new(Committed::default()), CancellationToken::new());
            let (its_store, its_mark) = (Arc::clone(&store), Arc::clone(&committed));
            let journal = StoreJournal::new(its_store, lease, its_mark, "log");
            let opened = MemoryBus::open(Arc::new(journal), Clock::system()).await;
            let (bus, writer) = opened.expect("opens");
            tokio::spawn(writer.run(end.clone()));
            let bus: Arc<dyn Bus> = Arc::new(bus);
            let broadcaster = Broadcaster::new(Arc::clone(&bus), store, committed, ring);
            Self { bus, broadcaster: Arc::new(broadcaster), gate: Gate::open(), end, dir }
        }

        async fn publish(&self, count: usize) {
            let body = br#"{"kind":"message","type":"tick","sender_id":"a","content":"x"}"#;
            let draft = Draft::parse(body).expect("a message");
            let encode =
                || Outgoing::encode(&draft, Uuid::now_v7(), crate::clock::Clock::system().now());
            let messages = std::iter::repeat_with(encode).take(count).collect();
            for outcome in self.bus.publish(messages).await {
                outcome.expect("published");
            }
        }

        /// Starts to fill the ring if needed, and waits until it has the whole log.
        async fn fill_ring(&self) {
            if self.broadcaster.head().is_none() {
                tokio::spawn(Arc::clone(&self.broadcaster).run(self.end.clone()));
                drop(self.broadcaster.watch(crate::message::Filter::default()).await);
            }
            let last = self.bus.identity().await.expect("answers").bounds.last;
            let reached = async {
                RingReader::new(Arc::clone(&self.broadcaster)).wait_beyond(last - 1).await
            };
            tokio::time::timeout(Duration::from_secs(20), reached).await.expect("read");
        }

        fn source(&self) -> Source<'_> {
            Source::new(&*self.bus, &self.gate, RingReader::new(Arc::clone(&self.broadcaster)))
        }
    }

    impl Drop for Log {
        fn drop(&mut self) {
            self.end.cancel();
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }

    fn seqs(batch: &Batch) -> Vec<u64> {
        assert!(batch.holes.is_empty(), "nothing was deleted");
        batch.records.iter().map(|record| record.seq).collect()
    }

    async fn next(source: &mut Source<'_>, after: u64) -> Vec<u64> {
        let mut batch = Batch::after(after);
        let read = tokio::time::timeout(Duration::from_secs(20), source.next(&mut batch));
        read.await.expect("in time").expect("the log answers");
        seqs(&batch)
    }

    #[tokio::test]
    async fn what_the_ring_lacks_is_read_from_the_log() {
        let log = Log::start(8).await;
        let mut source = log.source();
        log.publish(5).await;
        assert_eq!(next(&mut source, 0).await, [1, 2, 3, 4, 5], "the ring was never filled");
        assert!(source.reader.is_some());
        log.fill_ring().await;
        log.publish(3).await;
        log.fill_ring().await;
        assert_eq!(next(&mut source, 5).await, [6, 7, 8]);
        assert!(source.reader.is_none(), "the ring has it");
        log.publish(20).await;
        log.fill_ring().await;
        assert_eq!(next(&mut source, 8).await[0], 9, "no longer in the ring");
        assert!(source.reader.is_some());
    }

    #[tokio::test]
    async fn what_was_in_the_ring_when_the_log_was_doubted_is_read_from_the_log() {
        let log = Log::start(100).await;
        log.publish(1).await;
        log.fill_ring().await;
        log.publish(9).await;
        log.fill_ring().await;
        let mut source = log.source();
        assert_eq!(next(&mut source, 1).await.last(), Some(&10));
        assert!(source.reader.is_none());
        log.gate.recheck();
        assert_eq!(next(&mut source, 4).await[0], 5);
        assert!(source.reader.is_some(), "not from the ring");
        log.publish(1).await;
        log.fill_ring().await;
        assert_eq!(next(&mut source, 10).await, [11]);
        assert!(source.reader.is_none(), "it came since");
    }

    #[tokio::test]
    async fn reads_on_until_a_batch_is_full() {
        let log = Log::start(2 * PROJECT_ROWS).await;
        log.publish(1).await;
        log.fill_ring().await;
        log.publish(PROJECT_ROWS + 700).await;
        let mut batch = Batch::after(1);
        log.source().read_on(&mut batch).await;
        let full = seqs(&batch);
        assert!(full.len() >= PROJECT_ROWS && !batch.has_room());
        assert_eq!(full, (2..2 + full.len() as u64).collect::<Vec<_>>());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_entry_comes_once_and_in_order_at_any_pace() {
        const LAST: u64 = 6_000;
        let log = Log::start(64).await;
        log.publish(1).await;
        log.fill_ring().await;
        let publishing = async {
            let mut sent = 1;
            while sent < LAST {
                let count = fastrand::u64(1..=100).min(LAST - sent);
                log.publish(usize::try_from(count).expect("small")).await;
                sent += count;
            }
        };
        let (mut from_ring, mut from_log) = (0, 0);
        let reading = async {
            let (mut source, mut batch) = (log.source(), Batch::after(0));
            while batch.through() < LAST {
                source.next(&mut batch).await.expect("the log answers");
                let counter = if source.reader.is_some() { &mut from_log } else { &mut from_ring };
                *counter += 1;
                if fastrand::u8(..) < 64 {
                    source.fill(&mut batch).await;
                }
                let first = batch.after + 1;
                assert_eq!(seqs(&batch), (first..=batch.through()).collect::<Vec<_>>());
                batch = Batch::after(batch.through());
                for _ in 0..fastrand::usize(0..200) {
                    tokio::task::yield_now().await;
                }
            }
        };
        let both = async { tokio::join!(publishing, reading) };
        tokio::time::timeout(Duration::from_secs(60), both).await.expect("in time");
        assert!(
            from_ring > 0 && from_log > 0,
            "{from_ring} from the ring, {from_log} from the log"
        );
    }
}
