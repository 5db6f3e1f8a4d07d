//! A subscription: replay, then live messages, and heartbeats (contract, section 4).
//!
//! Invariants: nothing is read outside of [`Subscription::next`]. Once the principal has ended, the subscription
//! yields no message, whatever was read before.

use std::pin::Pin;
use std::sync::Arc;

use tokio::time::{Instant, Sleep};

use super::broadcaster::Broadcaster;
use super::follower::Follower;
use super::item::Item;
use super::start::Start;
use crate::access::{EndReason, EndWatch, Principal, StreamPermit};
use crate::limits::HEARTBEAT;
use crate::message::Filter;

/// A sequence of [`Item`]s that ends only with its principal. Call [`Subscription::next`] for each.
pub struct Subscription {
    follower: Follower,
    principal_end: EndWatch,
    _permit: Option<StreamPermit>,
    /// Whether the last item was returned.
    is_over: bool,
    heartbeat_at: Instant,
    /// Fires at `heartbeat_at` or earlier. `heartbeat_at` moves with every item; resetting a timer each time
    /// would cost more.
    timer: Pin<Box<Sleep>>,
}

impl Subscription {
    /// A subscription to the messages that pass the filter and that the principal may read, from `start` on.
    #[must_use]
    pub fn new(
        broadcaster: Arc<Broadcaster>,
        principal: &Principal,
        filter: Filter,
        start: Start,
    ) -> Self {
        let follower = Follower::new(broadcaster, filter.within(principal.scope()), start);
        let heartbeat_at = Instant::now() + HEARTBEAT;
        let timer = Box::pin(tokio::time::sleep_until(heartbeat_at));
        let principal_end = principal.watch_end();
        Self { follower, principal_end, _permit: None, is_over: false, heartbeat_at, timer }
    }

    /// Keeps the permit as long as the subscription is open.
    #[must_use]
    pub fn with_permit(self, permit: Option<StreamPermit>) -> Self {
        Self { _permit: permit, ..self }
    }

    /// Waits for the next item. `None` once the principal has ended, after [`Item::Denied`] unless its grants
    /// have only changed. Cancel safe once the first item was returned; a subscription cancelled before that
    /// must be dropped.
    pub async fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(reason) = self.principal_end.reason() {
                return self.last(reason);
            }
            let Self { follower, principal_end, heartbeat_at, timer, .. } = self;
            if let Some(item) = follower.pop() {
                follower.count_bytes(item.bytes());
                *heartbeat_at = Instant::now() + HEARTBEAT;
                return Some(item);
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
                () = principal_end.ended() => {}
            }
        }
    }

    /// Returns once the principal has ended, so that a caller can stop sending an item. Cancel safe.
    pub async fn ended(&mut self) {
        self.principal_end.ended().await;
    }

    fn last(&mut self, reason: EndReason) -> Option<Item> {
        self.follower.pending.clear();
        self.follower.count_bytes(0);
        let code = match reason {
            EndReason::Revoked => "revoked",
            EndReason::Expired => "expired",
            // The client resumes, and its new grants count.
            EndReason::Changed => return None,
        };
        (!std::mem::replace(&mut self.is_over, true)).then_some(Item::Denied { code })
    }
}
