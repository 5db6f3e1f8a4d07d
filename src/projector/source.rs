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
    use std::ops::Deref;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::broadcast::testing;
    use crate::limits::PROJECT_ROWS;

    /// A log on the memory bus with its ring, and the gate of its source.
    struct Log {
        log: testing::Log,
        gate: Gate,
    }

    impl Deref for Log {
        type Target = testing::Log;

        fn deref(&self) -> &testing::Log {
            &self.log
        }
    }

    impl Log {
        /// Starts with a ring of this many entries.
        async fn start(ring: usize) -> Self {
            Self { log: testing::Log::start(ring).await, gate: Gate::open() }
        }

        fn source(&self) -> Source<'_> {
            let ring = RingReader::new(Arc::clone(&self.broadcaster));
            Source::new(&*self.bus, &self.gate, ring)
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
