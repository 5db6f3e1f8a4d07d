//! Computes the position that a consumer must have on the current bus.
//!
//! Invariant: no I/O. A feed (the range that the store delivers) reaches from the consumer's floor, up to
//! which everything is done, to right before the first sequence of the durable consumer. So no message that
//! is not done lies between the two.

use crate::bus::Bounds;
use crate::store::work::{Consumer, Feed, Position};

/// Where first deliveries come from. It decides at which position a consumer must be.
#[derive(Clone, Copy, Debug)]
pub(super) enum DeliverySource {
    /// All come from the store (memory bus).
    Store,
    /// Those within the stream's bounds come from a durable consumer, older ones from the store (NATS).
    Stream(Bounds),
}

/// The position to which a consumer must be moved; `None` if it is already right. A consumer that never had a
/// handler begins with the oldest message in the store.
pub(super) fn required_position(consumer: &Consumer, ground: DeliverySource) -> Option<Position> {
    let begun = match &consumer.feed {
        _ if !consumer.handled => Feed::default(),
        Some(feed) => feed.clone(),
        None => Feed { floor: consumer.floor, top: consumer.floor, ..Feed::default() },
    };
    let wanted = match ground {
        DeliverySource::Store => {
            Position { floor: begun.floor, feed: Some(Feed { to: None, ..begun }), handled: true }
        }
        DeliverySource::Stream(bounds) => on_stream(consumer, &begun, bounds),
    };
    let range = |feed: &Option<Feed>| feed.as_ref().map(|feed| feed.to);
    let is_right = consumer.handled
        && range(&consumer.feed) == range(&wanted.feed)
        && (wanted.feed.is_some() || consumer.floor == wanted.floor);
    (!is_right).then_some(wanted)
}

/// The position on NATS: the store feeds what the stream no longer has, and the durable consumer continues
/// after that.
fn on_stream(consumer: &Consumer, begun: &Feed, bounds: Bounds) -> Position {
    let ends = match &consumer.feed {
        // A feed that has an end keeps it, unless the stream has dropped messages beyond that end.
        Some(Feed { to: Some(to), .. }) if consumer.handled && to + 1 >= bounds.first => *to,
        _ if begun.floor + 1 < bounds.first => bounds.first - 1,
        _ => begun.floor,
    };
    let feed = (ends > begun.floor).then(|| Feed {
        top: begun.top.min(ends),
        to: Some(ends),
        ..begun.clone()
    });
    Position { floor: ends, feed, handled: true }
}

/// The position of a consumer that must process again everything from `from` on.
pub(super) fn replay_position(consumer: &Consumer, from: u64, ground: DeliverySource) -> Position {
    let floor = from.saturating_sub(1);
    let there = Consumer { floor, feed: None, handled: true, ..consumer.clone() };
    required_position(&there, ground).unwrap_or(Position { floor, feed: None, handled: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::work::Totals;

    fn consumer(floor: u64, feed: Option<Feed>) -> Consumer {
        Consumer {
            name: "c".to_owned(),
            filter: "agent.>".to_owned(),
            generation: 1,
            handled: true,
            floor,
            feed,
            paused: None,
            totals: Totals::default(),
            set_aside: 0,
            retrying: 0,
            oldest_set_aside: None,
        }
    }

    fn feed(floor: u64, top: u64, to: Option<u64>, done: &[u64]) -> Option<Feed> {
        Some(Feed { floor, top, to, done: done.to_vec() })
    }

    fn stream(first: u64, last: u64) -> DeliverySource {
        DeliverySource::Stream(Bounds { first, last })
    }

    #[test]
    fn the_first_handler_begins_with_all_that_is_kept() {
        let new = Consumer { handled: false, ..consumer(77, None) };
        let begun = |floor, feed| Some(Position { floor, feed, handled: true });
        assert_eq!(required_position(&new, DeliverySource::Store), begun(0, feed(0, 0, None, &[])));
        assert_eq!(required_position(&new, stream(1, 90)), begun(0, None));
        assert_eq!(required_position(&new, stream(41, 90)), begun(40, feed(0, 0, Some(40), &[])));
    }

    #[test]
    fn what_stands_right_is_left_alone() {
        assert_eq!(required_position(&consumer(10, None), stream(5, 20)), None);
        assert_eq!(required_position(&consumer(10, None), stream(11, 20)), None);
        assert_eq!(
            required_position(&consumer(40, feed(10, 20, Some(40), &[15])), stream(41, 90)),
            None
        );
        assert_eq!(
            required_position(&consumer(40, feed(10, 20, Some(40), &[15])), stream(5, 90)),
            None
        );
        assert_eq!(
            required_position(&consumer(0, feed(10, 20, None, &[15])), DeliverySource::Store),
            None
        );
    }

    #[test]
    fn what_the_stream_dropped_is_fed() {
        let placed = required_position(&consumer(10, None), stream(31, 50)).expect("moved");
        assert_eq!((placed.floor, placed.feed), (30, feed(10, 10, Some(30), &[])));
        let placed =
            required_position(&consumer(30, feed(10, 20, Some(30), &[15])), stream(41, 50));
        let placed = placed.expect("moved");
        assert_eq!((placed.floor, placed.feed), (40, feed(10, 20, Some(40), &[15])));
    }

    #[test]
    fn a_switch_of_bus_keeps_what_is_done() {
        let placed = required_position(&consumer(10, None), DeliverySource::Store).expect("moved");
        assert_eq!(placed.feed, feed(10, 10, None, &[]));
        let placed = required_position(&consumer(0, feed(10, 20, None, &[15])), stream(41, 40))
            .expect("moved");
        assert_eq!((placed.floor, placed.feed), (40, feed(10, 20, Some(40), &[15])));
        let placed = required_position(&consumer(0, feed(40, 40, None, &[])), stream(41, 40))
            .expect("moved");
        assert_eq!((placed.floor, placed.feed), (40, None));
        let placed =
            required_position(&consumer(40, feed(10, 20, Some(40), &[15])), DeliverySource::Store);
        assert_eq!(placed.expect("moved").feed, feed(10, 20, None, &[15]));
    }

    #[test]
    fn reset_goes_below_the_first_of_the_stream() {
        let placed = replay_position(&consumer(90, None), 3, stream(41, 99));
        assert_eq!((placed.floor, placed.feed), (40, feed(2, 2, Some(40), &[])));
        let placed = replay_position(&consumer(90, None), 50, stream(41, 99));
        assert_eq!((placed.floor, placed.feed), (49, None));
        let placed =
            replay_position(&consumer(0, feed(90, 95, None, &[92])), 3, DeliverySource::Store);
        assert_eq!(placed.feed, feed(2, 2, None, &[]));
    }
}
