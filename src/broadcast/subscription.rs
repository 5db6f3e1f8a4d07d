//! One stream: replay, then follow (contract, section 4).
//!
//! Invariant: `cursor` rises and is told only when nothing at or below it is
//! owed. At every wake-up the subscription asks the ring first, and goes to the
//! store or the bus when the ring begins too late; so there is no hand-over to
//! get wrong, only a cursor.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::time::Instant;

use super::event::Event;
use super::hub::{Group, Step};
use super::older::{Older, chunks};
use super::{Broadcaster, frame};
use crate::limits::{
    CHUNK_BYTES, FAULT_PAUSE, HEALTH_WAIT, HEARTBEAT, RETRY_MILLIS, RING_PATIENCE, RING_PAUSE,
};
use crate::message::{Filter, Principal};
use crate::store::HoleReason;

/// Where a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After this sequence, which the client has seen (`Last-Event-ID`).
    After(u64),
    /// At this sequence (`from=N`).
    From(u64),
    /// At everything that is kept.
    First,
    /// At what comes now.
    Now,
}

/// A stream of SSE bytes. Pull it with [`Subscription::next`].
pub struct Subscription {
    broadcaster: Arc<Broadcaster>,
    filter: Filter,
    start: Start,
    /// Joined once the stream has begun.
    group: Option<Arc<Group>>,
    cursor: u64,
    /// The head that `ready` told, while `caught_up` is still to be told: not before it is reached.
    replaying_to: Option<u64>,
    /// When a replay met the ring.
    met_ring_at: Option<Instant>,
    pending: VecDeque<Bytes>,
    older: Option<Box<Older>>,
    heartbeat_at: Instant,
}

impl Subscription {
    /// A stream of what passes the filter, beginning at `start`.
    #[must_use]
    pub fn new(
        broadcaster: Arc<Broadcaster>,
        _principal: &Principal,
        filter: Filter,
        start: Start,
    ) -> Self {
        broadcaster.open.fetch_add(1, Ordering::Relaxed);
        let retry = RETRY_MILLIS / 2 + fastrand::u64(0..RETRY_MILLIS);
        Self {
            broadcaster,
            filter: filter.normalised(),
            start,
            group: None,
            cursor: 0,
            replaying_to: None,
            met_ring_at: None,
            pending: VecDeque::from([frame::retry(retry)]),
            older: None,
            heartbeat_at: Instant::now() + HEARTBEAT,
        }
    }

    /// The next bytes for the client. Never ends. Cancel safe but for the
    /// first event: drop the subscription instead.
    pub async fn next(&mut self) -> Bytes {
        loop {
            if let Some(bytes) = self.pending.pop_front() {
                self.heartbeat_at = Instant::now() + HEARTBEAT;
                return bytes;
            }
            let heartbeat = tokio::time::sleep_until(self.heartbeat_at);
            tokio::select! {
                biased;
                () = self.advance() => {}
                () = heartbeat => self.beat(),
            }
        }
    }

    /// A sign of life. Nobody woke us for what the filter skipped, so the
    /// cursor is moved past that first.
    fn beat(&mut self) {
        let (Some(group), Some(hub)) = (self.group.clone(), self.broadcaster.hub.get()) else {
            self.pending.push_back(frame::comment());
            return;
        };
        if let Step::Events { events, cursor, .. } = hub.step(&group, self.cursor) {
            self.queue(&events);
            self.cursor = cursor;
        }
        if self.pending.is_empty() {
            self.pending.push_back(frame::heartbeat(self.cursor));
        }
    }

    /// Moves on by one step; may find nothing to send.
    async fn advance(&mut self) {
        let Some(group) = self.group.clone() else {
            self.begin().await;
            return;
        };
        let broadcaster = Arc::clone(&self.broadcaster);
        let hub = broadcaster.hub().await;
        // Registered before the look, so that a push in between wakes us.
        let mut woken = std::pin::pin!(group.wake.0.notified());
        woken.as_mut().enable();
        match hub.step(&group, self.cursor) {
            Step::Wait => {
                self.older = None;
                // Told before waiting: what is pending goes out only when this returns.
                match self.replaying_to {
                    Some(head) if self.cursor >= head => self.tell_caught_up(),
                    Some(_) => {
                        // The ring is a moment behind the log. Nobody is woken when the
                        // filter skips what comes.
                        let met = *self.met_ring_at.get_or_insert_with(Instant::now);
                        if met.elapsed() < RING_PATIENCE {
                            let _ = tokio::time::timeout(RING_PAUSE, woken).await;
                        } else {
                            // What was the head is gone from the log.
                            self.replaying_to = Some(self.cursor);
                        }
                    }
                    None => woken.await,
                }
            }
            Step::Events { events, cursor, at_head } => {
                self.queue(&events);
                self.cursor = cursor;
                if at_head {
                    self.tell_caught_up();
                }
            }
            Step::Behind { ring_first } => self.read_older(ring_first).await,
        }
    }

    fn queue(&mut self, events: &[Arc<Event>]) {
        match events {
            [] => {}
            [one] => self.pending.push_back(one.frame.clone()),
            many => {
                let mut joined = Vec::with_capacity(CHUNK_BYTES);
                many.iter().for_each(|event| joined.extend_from_slice(&event.frame));
                self.pending.push_back(Bytes::from(joined));
            }
        }
    }

    async fn read_older(&mut self, ring_first: u64) {
        let older = self.older.get_or_insert_default();
        let (store, bus) = (&*self.broadcaster.store, &self.broadcaster.bus);
        match older.read(store, bus, &self.filter, self.cursor, ring_first).await {
            Ok(stretch) => {
                self.cursor = stretch.cursor;
                self.pending.extend(chunks(stretch.frames));
            }
            Err(error) => {
                tracing::debug!(%error, cursor = self.cursor, "a replay waits");
                tokio::time::sleep(FAULT_PAUSE).await;
            }
        }
    }

    fn tell_caught_up(&mut self) {
        if self.replaying_to.take_if(|head| self.cursor >= *head).is_some() {
            self.pending.push_back(frame::caught_up(self.cursor));
        }
    }

    /// Finds the first cursor and tells `ready`, and a gap if one is owed.
    async fn begin(&mut self) {
        let broadcaster = Arc::clone(&self.broadcaster);
        let hub = broadcaster.hub().await;
        let Some((head, first)) = Self::bounds(&broadcaster, self.start, hub.head()).await else {
            tokio::time::sleep(FAULT_PAUSE).await;
            return;
        };
        let mut gap = None;
        self.cursor = match self.start {
            Start::Now => head,
            Start::First => first - 1,
            Start::From(from) => from.saturating_sub(1),
            Start::After(seen) if seen > head => {
                gap = Some((head + 1, seen, "ahead_of_log"));
                head
            }
            Start::After(seen) => seen,
        };
        let replaying = self.cursor < head;
        self.replaying_to = replaying.then_some(head);
        self.pending.push_back(frame::ready(self.cursor, head, first, replaying));
        if gap.is_none() && self.cursor + 1 < first {
            gap = Some((self.cursor + 1, first - 1, HoleReason::Expired.as_str()));
        }
        if let Some((from, to, reason)) = gap {
            self.pending.push_back(frame::gap(from, to, reason));
            self.cursor = self.cursor.max(to.min(first.saturating_sub(1)));
        }
        self.group = Some(hub.join(&self.filter));
    }

    /// Head and first sequence of all that is kept; `None` when they cannot
    /// be told truly now, so that the client waits instead of being misled.
    async fn bounds(broadcaster: &Broadcaster, start: Start, ring_head: u64) -> Option<(u64, u64)> {
        let (bus, store) = tokio::join!(
            broadcaster.bus.identity(),
            tokio::time::timeout(HEALTH_WAIT, broadcaster.store.log_state())
        );
        let (bus, store) =
            (bus.ok().map(|identity| identity.bounds), store.ok().and_then(Result::ok));
        let known = broadcaster.committed.seen();
        let head = ring_head
            .max(known)
            .max(bus.map_or(0, |bounds| bounds.last))
            .max(store.as_ref().map_or(0, |state| state.committed_through));
        let in_bus = bus.map(|bounds| bounds.first);
        let oldest_wanted = match start {
            Start::After(seen) if seen > head && bus.is_none() => return None,
            Start::Now => u64::MAX,
            Start::After(seen) => seen + 1,
            Start::From(from) => from,
            Start::First => 0,
        };
        let first = match (&store, in_bus) {
            // What the bus lacks may be in the store, which cannot be asked.
            (None, Some(first)) if oldest_wanted < first => return None,
            (None, first) => first?,
            (Some(state), first) => match (state.first_seq, first) {
                (Some(a), Some(b)) => a.min(b),
                (a, b) => a.or(b)?,
            },
        };
        Some((head, first.clamp(1, head + 1)))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.broadcaster.open.fetch_sub(1, Ordering::Relaxed);
        if let (Some(group), Some(hub)) = (self.group.take(), self.broadcaster.hub.get()) {
            hub.leave(&group);
        }
    }
}
