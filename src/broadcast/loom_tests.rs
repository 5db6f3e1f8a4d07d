//! Checks the transition from replay to live reading with loom.
//!
//! Compiles [`super::hub`] a second time with loom's primitives, and runs a writer and a subscriber through
//! every interleaving. A model of the store has the events that the ring has dropped.

use super::{event, index};

mod sync {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
    pub(super) use loom::sync::{Arc as LoomArc, Mutex, MutexGuard};
    pub(super) use std::sync::Arc;

    #[derive(Debug, Default)]
    pub(super) struct WakeList {}

    impl WakeList {
        pub(super) fn wake_all(&self) {}
    }
}

#[path = "hub.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled again with loom's primitives")]
#[expect(dead_code, reason = "the model uses only what readers and the writer race on")]
mod hub;

use std::sync::Arc;

use event::Event;
use hub::{Hub, Step};
use sync::LoomArc;

use crate::message::{Filter, Kind};

const LAST: u64 = 3;

fn message(seq: u64) -> Arc<Event> {
    // The type that the filters want is `a`: events with odd sequences.
    let type_ = if seq % 2 == 1 { "a" } else { "b" };
    let record = crate::message::testing::record(seq, Kind::Task, [type_, "s", "", "t"]);
    Event::new(record)
}

/// One step of a subscriber, with a hub, and a store that holds everything that the ring has dropped.
fn step(hub: &Hub, group: &hub::Group, filter: &Filter, position: &mut u64, seen: &mut Vec<u64>) {
    match hub.step(group, *position) {
        Step::Wait => loom::thread::yield_now(),
        Step::Events { events, position: scanned, .. } => {
            assert!(scanned >= *position, "the position never goes back");
            seen.extend(events.iter().map(|event| event.seq()));
            *position = scanned;
        }
        Step::Behind { ring_first } => {
            assert!(ring_first > *position + 1);
            let row = message(*position + 1);
            if filter.matches(&row.record) {
                seen.push(row.seq());
            }
            *position += 1;
        }
    }
}

/// A subscriber joins while the writer pushes. It must see each wanted event exactly once and in order.
fn joins_without_gap(capacity: usize, filter: fn() -> Filter) {
    joins_while(capacity, filter, || vec![vec![message(1)], vec![message(2), message(3)]]);
}

fn joins_while(capacity: usize, filter: fn() -> Filter, pushed: fn() -> Vec<Vec<Arc<Event>>>) {
    loom::model(move || {
        let hub = LoomArc::new(Hub::new(0, capacity, usize::MAX));
        let writer = {
            let hub = LoomArc::clone(&hub);
            loom::thread::spawn(move || {
                pushed().into_iter().for_each(|events| hub.push(events, |event| event));
            })
        };
        let filter = filter();
        let group = hub.join(&filter);
        let (mut position, mut seen) = (0, Vec::new());
        step(&hub, &group, &filter, &mut position, &mut seen);
        step(&hub, &group, &filter, &mut position, &mut seen);
        writer.join().expect("the writer ends");
        while position < LAST {
            step(&hub, &group, &filter, &mut position, &mut seen);
        }
        let wanted: Vec<u64> =
            (1..=LAST).filter(|seq| filter.matches(&message(*seq).record)).collect();
        assert_eq!(seen, wanted);
        hub.leave(&group);
        assert_eq!(hub.group_count(), 0);
    });
}

fn odd_only() -> Filter {
    let mut filter = Filter::default();
    assert_eq!(filter.parse_parameter("type", "a"), Some(Ok(())));
    filter
}

#[test]
fn loom_join_with_room_in_the_ring() {
    joins_without_gap(8, Filter::default);
}

#[test]
fn loom_join_while_the_ring_turns_over() {
    joins_without_gap(1, Filter::default);
}

/// The log skips a sequence that only the store has.
#[test]
fn loom_join_across_what_the_log_skipped() {
    joins_while(8, Filter::default, || vec![vec![message(1)], vec![message(3)]]);
}

#[test]
fn loom_join_of_a_filter_that_skips() {
    joins_without_gap(2, odd_only);
    joins_without_gap(1, odd_only);
}
