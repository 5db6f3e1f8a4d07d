//! The sequences of erased messages, as this process knows them.
//!
//! Invariants: the set only grows. It holds a message only once store and stream have nothing of it any more; so what is
//! read after [`Erased::number`] was read has nothing of the messages up to that number, and what was read before must be
//! looked at again. The number is raised after the messages have left the ring.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::message::Record;

/// The erased messages: 8 bytes and some for each, as long as the store has a record of it.
#[derive(Debug, Default)]
pub struct Erased {
    seqs: RwLock<BTreeSet<u64>>,
    highest: AtomicU64,
    number: AtomicU64,
}

impl Erased {
    /// The number of erasures that have taken effect in this process ([`Versions`](crate::store::Versions)).
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Whether the message is erased. Costs next to nothing for the newest messages.
    #[must_use]
    pub fn contains(&self, seq: u64) -> bool {
        seq <= self.highest.load(Ordering::Acquire) && self.seqs.read().contains(&seq)
    }

    /// Whether a message in the range is erased.
    #[must_use]
    pub fn touches(&self, range: RangeInclusive<u64>) -> bool {
        *range.start() <= self.highest.load(Ordering::Acquire)
            && self.seqs.read().range(range).next().is_some()
    }

    /// The record, in its erased form if it is erased.
    #[must_use]
    pub fn shown(&self, record: Record) -> Record {
        if self.contains(record.seq) { record.erased() } else { record }
    }

    /// Adds messages. They count for [`Self::number`] only with [`Self::raise`].
    pub fn add(&self, seqs: &[u64]) {
        let mut all = self.seqs.write();
        all.extend(seqs);
        let highest = all.last().copied().unwrap_or_default();
        self.highest.store(highest, Ordering::Release);
    }

    /// Raises the number, once everything that this process holds is without the messages up to it.
    pub fn raise(&self, number: u64) {
        self.number.fetch_max(number, Ordering::AcqRel);
    }
}
