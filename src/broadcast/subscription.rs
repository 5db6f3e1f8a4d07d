//! One stream: replay, then follow, with signs of life (contract, section 4).
//!
//! Invariant: nothing is asked for while nobody pulls.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use super::Broadcaster;
use super::follower::Follower;
use crate::limits::HEARTBEAT;
use crate::message::{Filter, Principal};

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
    follower: Follower,
    heartbeat_at: Instant,
    /// Rings at `heartbeat_at` or, since that moves on with every piece sent, before.
    alarm: Pin<Box<Sleep>>,
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
        let follower = Follower::new(broadcaster, filter, start);
        let heartbeat_at = Instant::now() + HEARTBEAT;
        let alarm = Box::pin(tokio::time::sleep_until(heartbeat_at));
        Self { follower, heartbeat_at, alarm }
    }

    /// The next bytes for the client. Never ends. Cancel safe but for the
    /// first event: drop the subscription instead.
    pub async fn next(&mut self) -> Bytes {
        let Self { follower, heartbeat_at, alarm } = self;
        loop {
            if let Some(bytes) = follower.pending.pop_front() {
                follower.holds(bytes.len());
                *heartbeat_at = Instant::now() + HEARTBEAT;
                return bytes;
            }
            follower.holds(0);
            tokio::select! {
                biased;
                () = follower.advance() => {}
                () = alarm.as_mut() => {
                    if *heartbeat_at <= Instant::now() {
                        follower.beat();
                        *heartbeat_at = Instant::now() + HEARTBEAT;
                    }
                    alarm.as_mut().reset(*heartbeat_at);
                }
            }
        }
    }
}
