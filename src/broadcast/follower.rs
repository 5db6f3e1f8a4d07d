//! A cursor that follows the log: begin, replay, go on with the ring.
//!
//! Invariant: `cursor` rises and is told only when nothing at or below it is
//! owed. At every wake-up the follower asks the ring first, and goes to the
//! store or the bus when the ring begins too late; so there is no hand-over to
//! get wrong, only a cursor.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::time::Instant;

use super::event::Run;
use super::hub::{Group, Hub, Step};
use super::replay::{Replay, Sources};
use super::subscription::Start;
use super::wake::Waiter;
use super::{Broadcaster, bounds, frame};
use crate::limits::{FAULT_PAUSE, RING_PAUSE, RING_TIMEOUT};
use crate::message::Filter;
use crate::store::HoleReason;

pub(super) struct Follower {
    broadcaster: Arc<Broadcaster>,
    /// The group's own, once joined.
    filter: Arc<Filter>,
    start: Start,
    /// Joined once the stream has begun.
    joined: Option<(Arc<Group>, Waiter)>,
    cursor: u64,
    /// The head that `ready` told, while `caught_up` is still to be told: not before it is reached.
    replaying_to: Option<u64>,
    /// When a replay met the ring.
    met_ring_at: Option<Instant>,
    /// What is to be sent before anything else.
    pub(super) pending: VecDeque<Bytes>,
    older: Option<Box<Replay>>,
    /// Bytes counted as held for the client.
    held: usize,
}

impl Follower {
    pub(super) fn new(broadcaster: Arc<Broadcaster>, filter: Filter, start: Start) -> Self {
        broadcaster.open.fetch_add(1, Ordering::Relaxed);
        Self {
            broadcaster,
            filter: Arc::new(filter.normalised()),
            start,
            joined: None,
            cursor: 0,
            replaying_to: None,
            met_ring_at: None,
            pending: VecDeque::new(),
            older: None,
            held: 0,
        }
    }

    /// Counts what is held while a piece of so many bytes is sent.
    pub(super) fn holds(&mut self, sending: usize) {
        let pending: usize = self.pending.iter().map(Bytes::len).sum();
        // What is pending of the past is part of what was read.
        let past = self.older.as_ref().map_or(0, |older| older.bytes());
        let now = past.max(pending + sending);
        let held = &self.broadcaster.held;
        match now.checked_sub(self.held) {
            Some(0) => {}
            Some(more) => {
                held.fetch_add(more, Ordering::Relaxed);
            }
            None => {
                held.fetch_sub(self.held - now, Ordering::Relaxed);
            }
        }
        self.held = now;
    }

    /// A sign of life. Nobody woke us for what the filter skipped, so the
    /// cursor is moved past that first.
    pub(super) fn beat(&mut self) {
        let (Some((group, _)), Some(hub)) = (&self.joined, self.broadcaster.hub.get()) else {
            self.pending.push_back(frame::comment());
            return;
        };
        if let Step::Events { events, cursor, .. } = hub.step(group, self.cursor) {
            self.queue(&events);
            self.cursor = cursor;
        }
        if self.pending.is_empty() {
            self.pending.push_back(frame::heartbeat(self.cursor));
        }
    }

    /// Moves on by one step; may find nothing to send.
    pub(super) async fn advance(&mut self) {
        let broadcaster = Arc::clone(&self.broadcaster);
        let (Some((group, _)), Some(hub)) = (&self.joined, broadcaster.hub.get()) else {
            // In boxes, here and below: what is rare and large would be part of every stream
            // that waits.
            Box::pin(self.begin()).await;
            return;
        };
        match hub.step(group, self.cursor) {
            Step::Wait => {
                self.older = None;
                // Told before waiting: what is pending goes out only when this returns.
                match self.replaying_to {
                    Some(head) if self.cursor >= head => self.tell_caught_up(),
                    Some(_) => Box::pin(self.meet_log(hub)).await,
                    None => self.news(hub).await,
                }
            }
            Step::Events { events, cursor, at_head } => {
                self.queue(&events);
                self.cursor = cursor;
                if at_head {
                    self.tell_caught_up();
                } else if events.is_empty() {
                    // A search of the whole ring lets others have their turn.
                    tokio::task::yield_now().await;
                }
            }
            Step::Behind { ring_first } => Box::pin(self.read_older(ring_first)).await,
        }
    }

    /// Returns when something for us stands beyond the cursor.
    async fn news(&mut self, hub: &Hub) {
        let cursor = self.cursor;
        if let Some((_, waiter)) = &self.joined {
            waiter.until(|| hub.head() > cursor).await;
        }
    }

    /// The ring is a moment behind the log. Nobody is woken when the filter skips what comes.
    async fn meet_log(&mut self, hub: &Hub) {
        let met = *self.met_ring_at.get_or_insert_with(Instant::now);
        if met.elapsed() < RING_TIMEOUT {
            let _ = tokio::time::timeout(RING_PAUSE, self.news(hub)).await;
        } else {
            // What was the head is gone from the log.
            self.replaying_to = Some(self.cursor);
        }
    }

    fn queue(&mut self, events: &Run) {
        self.pending.extend(events.bytes());
    }

    async fn read_older(&mut self, ring_first: u64) {
        let older = self.older.get_or_insert_default();
        let Broadcaster { past, store, bus, .. } = &*self.broadcaster;
        let sources = Sources { past, store: &**store, bus };
        match older.read(sources, &self.filter, self.cursor, ring_first).await {
            Ok(stretch) => {
                self.cursor = stretch.cursor;
                self.pending.extend(stretch.chunks.iter().cloned());
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
        let known = bounds::bounds(&broadcaster, self.start, hub.head()).await;
        let Some((head, first)) = known else {
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
        self.pending.push_back(frame::ready(
            frame::retry_millis(),
            self.cursor,
            head,
            first,
            replaying,
        ));
        if gap.is_none() && self.cursor + 1 < first {
            gap = Some((self.cursor + 1, first - 1, HoleReason::Expired.as_str()));
        }
        if let Some((from, to, reason)) = gap {
            self.pending.push_back(frame::gap(from, to, reason));
            self.cursor = self.cursor.max(to.min(first.saturating_sub(1)));
        }
        let group = hub.join(&self.filter);
        self.filter = Arc::clone(&group.filter);
        let waiter = group.wake.enter();
        self.joined = Some((group, waiter));
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.broadcaster.open.fetch_sub(1, Ordering::Relaxed);
        self.broadcaster.held.fetch_sub(self.held, Ordering::Relaxed);
        if let (Some((group, waiter)), Some(hub)) = (self.joined.take(), self.broadcaster.hub.get())
        {
            group.wake.leave(&waiter);
            hub.leave(&group);
        }
    }
}
