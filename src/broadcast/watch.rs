//! Waits for messages that pass a filter, for long polls and replies.
//!
//! Invariant: every message that passes the filter after [`FilterWatch::since`] is either returned or covered
//! by a [`WatchEvent::Missed`], since the ring may drop messages between two calls of [`FilterWatch::next`].

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::broadcaster::Broadcaster;
use super::event::Event;
use super::hub::Step;
use super::member::Member;
use crate::message::Filter;

/// Waits for messages of one filter.
pub struct FilterWatch {
    member: Member,
    since: u64,
    position: u64,
    ready: VecDeque<Arc<Event>>,
}

/// What [`FilterWatch::next`] returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// A message that passes the filter.
    Message {
        /// The sequence of the message.
        seq: u64,
        /// The message's envelope without `seq`.
        body: Bytes,
    },
    /// Messages up to this sequence may have been missed: read them from the store.
    Missed {
        /// The last sequence that may have been missed.
        through: u64,
    },
}

impl Broadcaster {
    /// Begins to watch. First waits until the end of the log is known.
    pub async fn watch(&self, filter: Filter) -> FilterWatch {
        let member = Member::join(self.hub().await, &filter.normalised());
        // Read after joining: every later message is in the group.
        let since = member.head();
        FilterWatch { member, since, position: since, ready: VecDeque::new() }
    }
}

impl FilterWatch {
    /// Messages after this sequence are watched for.
    #[must_use]
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Waits for the next message, in order. Cancel safe.
    pub async fn next(&mut self) -> WatchEvent {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return WatchEvent::Message { seq: event.seq(), body: event.record.body.clone() };
            }
            match self.member.step(self.position) {
                Step::Wait => self.member.beyond(self.position).await,
                Step::Events { events, position, .. } => {
                    self.position = position;
                    self.ready.extend(events.iter().cloned());
                }
                Step::Behind { ring_first } => {
                    self.position = ring_first - 1;
                    return WatchEvent::Missed { through: self.position };
                }
            }
        }
    }
}
