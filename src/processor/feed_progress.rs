//! Tracks the progress of a feed: a range of the log whose messages a consumer gets from the store.
//!
//! Invariant: everything up to the floor is done, and nothing above the top was dispatched. A message between
//! them that is not open (dispatched and not done) is done, or the consumer does not want it.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::store::work::{Feed, FeedClaim};

/// The progress of one feed, from floor to top.
pub(super) struct FeedProgress {
    state: Mutex<State>,
    to: Option<u64>,
    /// The right of this process to dispatch the feed.
    pub claim: FeedClaim,
    /// Cancelled when the consumer is moved: then a later generation processes these messages.
    pub superseded: CancellationToken,
}

struct State {
    top: u64,
    /// Sequences that are dispatched, or about to be, and not done.
    open: BTreeSet<u64>,
    /// Sequences that are done and lie above an open one.
    done: BTreeSet<u64>,
    /// Whether anything changed since the last [`FeedProgress::take_changed`].
    changed: bool,
}

impl FeedProgress {
    /// A feed of which nothing after `floor` was dispatched yet.
    pub(super) fn new(
        floor: u64,
        to: Option<u64>,
        claim: FeedClaim,
        superseded: CancellationToken,
    ) -> Self {
        let state =
            State { top: floor, open: BTreeSet::new(), done: BTreeSet::new(), changed: false };
        Self { state: Mutex::new(state), to, claim, superseded }
    }

    /// Moves the top up to `through`. Of the sequences below it, the caller will dispatch those in `wanted`.
    pub(super) fn extend(&self, through: u64, wanted: impl Iterator<Item = u64>) {
        let mut state = self.state.lock();
        state.top = through;
        state.open.extend(wanted);
        state.changed = true;
    }

    /// Moves the top back below `from`: nothing from there on was dispatched after all.
    pub(super) fn retract(&self, from: u64) {
        let mut state = self.state.lock();
        state.top = from - 1;
        let _ = state.open.split_off(&from);
        state.changed = true;
    }

    /// Records that a message is done.
    pub(super) fn done(&self, seq: u64) {
        let mut state = self.state.lock();
        if !state.open.remove(&seq) {
            return;
        }
        state.changed = true;
        state.done.insert(seq);
        let floor = state.floor();
        if state.done.first().is_some_and(|first| *first <= floor) {
            state.done = state.done.split_off(&(floor + 1));
        }
    }

    /// The progress to save while the feed runs, and clears `changed`; `None` if nothing changed since the
    /// last call.
    pub(super) fn take_changed(&self) -> Option<Feed> {
        let mut state = self.state.lock();
        std::mem::take(&mut state.changed).then(|| self.feed(&state, state.top))
    }

    /// The progress to save when the feed breaks off. Messages that are open may have begun.
    pub(super) fn current(&self) -> Feed {
        let state = self.state.lock();
        self.feed(&state, state.top)
    }

    /// Records that the progress which [`FeedProgress::take_changed`] returned could not be saved.
    pub(super) fn mark_changed(&self) {
        self.state.lock().changed = true;
    }

    /// The progress to save when nothing is in flight any more. Messages that are open have never begun, so
    /// the top moves back below them.
    pub(super) fn at_rest(&self) -> Feed {
        let state = self.state.lock();
        let top = state.done.last().copied().unwrap_or_else(|| state.floor());
        self.feed(&state, top)
    }

    /// Whether every message of the feed is done.
    pub(super) fn is_finished(&self) -> bool {
        let state = self.state.lock();
        self.to.is_some_and(|to| state.floor() >= to)
    }

    fn feed(&self, state: &State, top: u64) -> Feed {
        Feed { floor: state.floor(), top, to: self.to, done: state.done.iter().copied().collect() }
    }
}

impl State {
    fn floor(&self) -> u64 {
        self.open.first().map_or(self.top, |first| first - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn progress(to: Option<u64>) -> FeedProgress {
        let claim = FeedClaim { generation: 1, owner: uuid::Uuid::nil() };
        FeedProgress::new(10, to, claim, CancellationToken::new())
    }

    #[test]
    fn the_floor_follows_what_is_done_without_a_gap() {
        let progress = progress(Some(15));
        assert_eq!(progress.take_changed(), None);
        progress.extend(15, [11, 13, 14].into_iter());
        let feed =
            |floor, top, done: &[u64]| Feed { floor, top, to: Some(15), done: done.to_vec() };
        assert_eq!(progress.take_changed(), Some(feed(10, 15, &[])));
        progress.done(13);
        progress.done(99);
        assert_eq!(progress.take_changed(), Some(feed(10, 15, &[13])));
        assert_eq!(progress.at_rest(), feed(10, 13, &[13]), "11 and 14 were never begun");
        progress.done(11);
        assert_eq!(progress.take_changed(), Some(feed(13, 15, &[])));
        assert!(!progress.is_finished());
        progress.done(14);
        assert!(progress.is_finished());
        assert_eq!(progress.at_rest(), feed(15, 15, &[]));
    }

    #[test]
    fn what_was_not_handed_out_is_not_in_flight() {
        let progress = progress(None);
        progress.extend(20, [11, 15, 18].into_iter());
        progress.done(11);
        progress.retract(15);
        let feed = |floor, top| Feed { floor, top, to: None, done: vec![] };
        assert_eq!(progress.take_changed(), Some(feed(14, 14)));
        progress.extend(20, [15, 18].into_iter());
        assert_eq!(progress.take_changed(), Some(feed(14, 20)));
    }

    proptest! {
        #[test]
        fn nothing_undone_is_ever_below_the_floor_or_called_done(
            wanted in proptest::collection::btree_set(11_u64..60, 0..40),
            order in proptest::collection::vec(11_u64..60, 0..80),
        ) {
            let progress = progress(None);
            progress.extend(60, wanted.iter().copied());
            let mut open = wanted.clone();
            for seq in order {
                progress.done(seq);
                open.remove(&seq);
                let feed = progress.at_rest();
                prop_assert!(open.iter().all(|seq| *seq > feed.floor && !feed.done.contains(seq)));
                prop_assert!(feed.done.iter().all(|seq| *seq > feed.floor && *seq <= feed.top));
                let undone = wanted.range(..=feed.top).filter(|seq| **seq > feed.floor);
                prop_assert!(undone.filter(|seq| !open.contains(seq)).all(|seq| feed.done.contains(seq)));
            }
        }
    }
}
