//! The follower of one subscription reads the log from a position: it begins, replays old messages, and
//! continues from the ring.
//!
//! Invariant: `position` never falls, and it is reported to the client only when everything up to it was
//! sent. At every wake-up the follower asks the ring first. If the ring begins too late, it reads the store
//! or the bus. So a replay passes only the position on to live reading.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::broadcaster::Broadcaster;
use super::event::Run;
use super::hub::Step;
use super::item::Item;
use super::member::Member;
use super::replay::Replay;
use super::start::Start;
use crate::limits::{FAULT_PAUSE, RING_PAUSE, RING_TIMEOUT};
use crate::message::Filter;
use crate::store::HoleReason;

pub(super) struct Follower {
    broadcaster: Arc<Broadcaster>,
    /// The normalised filter. Shared with the filter group once the follower has joined it.
    filter: Arc<Filter>,
    start: Start,
    /// Set once the subscription has begun.
    member: Option<Member>,
    position: u64,
    /// The log's head that `Ready` named. `None` once the position has reached it and `CaughtUp` was sent.
    replaying_to: Option<u64>,
    /// When the replay first reached the end of the ring.
    met_ring_at: Option<Instant>,
    /// Items to send before anything else is read.
    pub(super) pending: VecDeque<Item>,
    /// The number of erasures when the reading of the pending items began.
    erasures: u64,
    replay: Option<Box<Replay>>,
    /// Whether it has waited for the next event, with everything sent.
    waited: bool,
    /// When its delivery was last measured.
    measured_at: Option<Instant>,
    /// How many bytes this follower has added to [`Broadcaster::stream_bytes`].
    counted_bytes: usize,
}

impl Follower {
    pub(super) fn new(broadcaster: Arc<Broadcaster>, filter: Filter, start: Start) -> Self {
        broadcaster.open_streams.fetch_add(1, Ordering::Relaxed);
        Self {
            broadcaster,
            filter: Arc::new(filter.normalised()),
            start,
            member: None,
            position: 0,
            replaying_to: None,
            met_ring_at: None,
            pending: VecDeque::new(),
            erasures: 0,
            replay: None,
            waited: false,
            measured_at: None,
            counted_bytes: 0,
        }
    }

    /// Updates the count of bytes in memory, while `sending` bytes are being sent.
    pub(super) fn count_bytes(&mut self, sending: usize) {
        let pending: usize = self.pending.iter().map(Item::bytes).sum();
        // The pending items of a replay are part of its segment, so they are not added to it.
        let segment = self.replay.as_ref().map_or(0, |replay| replay.segment_bytes());
        let now = segment.max(pending + sending);
        let total = &self.broadcaster.stream_bytes;
        if now > self.counted_bytes {
            total.fetch_add(now - self.counted_bytes, Ordering::Relaxed);
        } else if now < self.counted_bytes {
            total.fetch_sub(self.counted_bytes - now, Ordering::Relaxed);
        }
        self.counted_bytes = now;
    }

    /// Adds a heartbeat. First moves the position past messages that the filter skipped, since these do not
    /// wake the follower.
    pub(super) fn beat(&mut self) {
        let Some(member) = &self.member else {
            self.pending.push_back(Item::Heartbeat { position: None });
            return;
        };
        if let Step::Events { events, position, .. } = member.step(self.position) {
            self.queue(&events, position);
        }
        if self.pending.is_empty() {
            self.pending.push_back(Item::Heartbeat { position: Some(self.position) });
        }
    }

    /// Takes the next pending item. What was erased since it was read is in its erased form.
    pub(super) fn pop(&mut self) -> Option<Item> {
        let item = self.pending.pop_front()?;
        let erased = &self.broadcaster.erased;
        Some(if erased.number() == self.erasures { item } else { item.shown(erased) })
    }

    /// Does one step. It may add no item.
    pub(super) async fn advance(&mut self) {
        self.erasures = self.broadcaster.erased.number();
        let Some(member) = &self.member else {
            // Boxed, here and below: these futures are rare and large, and would add to the memory of every
            // waiting subscription.
            Box::pin(self.begin()).await;
            return;
        };
        match member.step(self.position) {
            Step::Wait => {
                if self.replay.take().is_some() {
                    self.broadcaster.replaying.fetch_sub(1, Ordering::Relaxed);
                }
                // `CaughtUp` is sent before waiting, since pending items are only sent when this function
                // returns.
                match self.replaying_to {
                    Some(head) if self.position >= head => self.report_caught_up(),
                    Some(_) => Box::pin(self.wait_for_ring()).await,
                    None => {
                        member.beyond(self.position).await;
                        self.waited = true;
                    }
                }
            }
            Step::Events { events, position, at_head } => {
                let is_empty = events.is_empty();
                if std::mem::take(&mut self.waited) {
                    self.broadcaster.delivery.record(&mut self.measured_at, &events);
                }
                self.queue(&events, position);
                if at_head {
                    self.report_caught_up();
                } else if is_empty {
                    // If the filter skips many messages, this searches the whole ring without ever waiting.
                    // So it lets other tasks run.
                    tokio::task::yield_now().await;
                }
            }
            Step::Behind { ring_first } => Box::pin(self.read_older(ring_first)).await,
        }
    }

    /// Waits a moment for the ring, which is slightly behind the log. Polls, because messages that the filter
    /// skips wake no subscription.
    async fn wait_for_ring(&mut self) {
        let met_at = *self.met_ring_at.get_or_insert_with(Instant::now);
        if met_at.elapsed() >= RING_TIMEOUT {
            // The log no longer holds the head that `Ready` named, so the ring will never reach it.
            self.replaying_to = Some(self.position);
        } else if let Some(member) = &self.member {
            let _ = tokio::time::timeout(RING_PAUSE, member.beyond(self.position)).await;
        }
    }

    fn queue(&mut self, events: &Run, position: u64) {
        self.pending.extend(events.messages().map(Item::Messages));
        self.position = position;
    }

    async fn read_older(&mut self, ring_first: u64) {
        if self.replay.is_none() {
            self.broadcaster.replaying.fetch_add(1, Ordering::Relaxed);
        }
        let replay = self.replay.get_or_insert_default();
        match replay.read(&self.broadcaster, &self.filter, self.position, ring_first).await {
            Ok(segment) => {
                self.erasures = self.erasures.min(segment.erasures);
                self.position = segment.position;
                self.pending.extend(segment.items.iter().cloned());
            }
            Err(error) => {
                tracing::debug!(%error, position = self.position, "a replay waits");
                tokio::time::sleep(FAULT_PAUSE).await;
            }
        }
    }

    fn report_caught_up(&mut self) {
        if self.replaying_to.take_if(|head| self.position >= *head).is_some() {
            self.pending.push_back(Item::CaughtUp { position: self.position });
        }
    }

    /// Finds the first position, reports `Ready`, reports a gap if there is one, and joins the filter group.
    async fn begin(&mut self) {
        let hub = Arc::clone(self.broadcaster.hub().await);
        let Some(bounds) = self.broadcaster.bounds.read(self.start, hub.head()).await else {
            tokio::time::sleep(FAULT_PAUSE).await;
            return;
        };
        let (head, first) = (bounds.last, bounds.first);
        let mut gap = None;
        self.position = match self.start {
            Start::Now => head,
            Start::First => first - 1,
            Start::From(from) => from.saturating_sub(1),
            Start::After(seen) if seen > head => {
                gap = Some((head + 1, seen, "ahead_of_log"));
                head
            }
            Start::After(seen) => seen,
        };
        let (position, replaying) = (self.position, self.position < head);
        self.replaying_to = replaying.then_some(head);
        self.pending.push_back(Item::Ready { position, head, first, replaying });
        if gap.is_none() && position + 1 < first {
            gap = Some((position + 1, first - 1, HoleReason::Expired.as_str()));
        }
        if let Some((from, to, reason)) = gap {
            self.pending.push_back(Item::Gap { from, to, reason });
            self.position = position.max(to.min(first.saturating_sub(1)));
        }
        let member = Member::join(&hub, &self.filter);
        self.filter = Arc::clone(member.filter());
        self.member = Some(member);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.broadcaster.open_streams.fetch_sub(1, Ordering::Relaxed);
        if self.replay.is_some() {
            self.broadcaster.replaying.fetch_sub(1, Ordering::Relaxed);
        }
        self.broadcaster.stream_bytes.fetch_sub(self.counted_bytes, Ordering::Relaxed);
    }
}
