//! Waiting for messages of a filter: long polls and replies.
//!
//! Invariant: whatever passes the filter after [`FilterWatch::since`] is either seen or
//! told as missed; the ring may have moved on while nobody looked. A watch is a
//! member of its filter's group and nothing more: it costs no task, and nothing
//! at all while nothing comes.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::Broadcaster;
use super::event::Event;
use super::hub::{Group, Step};
use super::wake::Waiter;
use crate::message::Filter;

/// Waits for messages of one filter.
pub struct FilterWatch {
    broadcaster: Arc<Broadcaster>,
    group: Arc<Group>,
    waiter: Waiter,
    since: u64,
    cursor: u64,
    seen: VecDeque<Arc<Event>>,
}

/// What a watch saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// A message that passes the filter.
    Message {
        /// Its sequence.
        seq: u64,
        /// The envelope without `seq`.
        body: Bytes,
    },
    /// Everything up to here went by unseen: ask the store.
    Missed {
        /// The last sequence not seen.
        through: u64,
    },
}

impl Broadcaster {
    /// Begins to watch; waits until the log could be read for the first time.
    pub async fn watch(self: &Arc<Self>, filter: Filter) -> FilterWatch {
        let hub = self.hub().await;
        let group = hub.join(&filter.normalised());
        let waiter = group.wake.enter();
        // After joining: what comes from here on stands in the group.
        let since = hub.head();
        let (broadcaster, seen) = (Arc::clone(self), VecDeque::new());
        FilterWatch { broadcaster, group, waiter, since, cursor: since, seen }
    }
}

impl FilterWatch {
    /// The last sequence before what is watched for.
    #[must_use]
    pub fn since(&self) -> u64 {
        self.since
    }

    /// The next message, in order. Cancel safe.
    pub async fn next(&mut self) -> WatchEvent {
        let hub = self.broadcaster.hub().await;
        loop {
            if let Some(event) = self.seen.pop_front() {
                return WatchEvent::Message { seq: event.seq, body: event.record.body.clone() };
            }
            match hub.step(&self.group, self.cursor) {
                Step::Wait => self.waiter.until(|| hub.head() > self.cursor).await,
                Step::Events { events, cursor, .. } => {
                    self.cursor = cursor;
                    self.seen.extend(events.iter().cloned());
                }
                Step::Behind { ring_first } => {
                    self.cursor = ring_first - 1;
                    return WatchEvent::Missed { through: self.cursor };
                }
            }
        }
    }
}

impl Drop for FilterWatch {
    fn drop(&mut self) {
        if let Some(hub) = self.broadcaster.hub.get() {
            self.group.wake.leave(&self.waiter);
            hub.leave(&self.group);
        }
    }
}
