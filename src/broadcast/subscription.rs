//! A subscription: replay, then live messages, and heartbeats (contract, section 4).
//!
//! Invariant: nothing is read outside of [`Subscription::next`].

use std::pin::Pin;
use std::sync::Arc;

use tokio::time::{Instant, Sleep};

use super::broadcaster::Broadcaster;
use super::follower::Follower;
use super::item::Item;
use super::start::Start;
use crate::access::Principal;
use crate::limits::HEARTBEAT;
use crate::message::Filter;

/// A sequence of [`Item`]s without end. Call [`Subscription::next`] for each.
pub struct Subscription {
    follower: Follower,
    heartbeat_at: Instant,
    /// Fires at `heartbeat_at` or earlier. `heartbeat_at` moves with every item; resetting a timer each time
    /// would cost more.
    timer: Pin<Box<Sleep>>,
}

impl Subscription {
    /// A subscription to the messages that pass the filter, from `start` on.
    #[must_use]
    pub fn new(
        broadcaster: Arc<Broadcaster>,
        _principal: &Principal,
        filter: Filter,
        start: Start,
    ) -> Self {
        let follower = Follower::new(broadcaster, filter, start);
        let heartbeat_at = Instant::now() + HEARTBEAT;
        let timer = Box::pin(tokio::time::sleep_until(heartbeat_at));
        Self { follower, heartbeat_at, timer }
    }

    /// Waits for the next item; there is always another. Cancel safe once the first item was returned; a
    /// subscription cancelled before that must be dropped.
    pub async fn next(&mut self) -> Item {
        let Self { follower, heartbeat_at, timer } = self;
        loop {
            if let Some(item) = follower.pending.pop_front() {
                follower.count_bytes(item.bytes());
                *heartbeat_at = Instant::now() + HEARTBEAT;
                return item;
            }
            follower.count_bytes(0);
            tokio::select! {
                biased;
                () = follower.advance() => {}
                () = timer.as_mut() => {
                    if *heartbeat_at <= Instant::now() {
                        follower.beat();
                        *heartbeat_at = Instant::now() + HEARTBEAT;
                    }
                    timer.as_mut().reset(*heartbeat_at);
                }
            }
        }
    }
}
