//! What the filters of some subscriptions cost the others: measures how long an event takes from the push
//! until another filter group has it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::Event;
use super::hub::{Group, Hub, Step};
use crate::message::testing::record;
use crate::message::{Filter, Kind};

/// The number of streams: as many as the server allows connections by default (`DEFAULT_MAX_CONNECTIONS`).
const STREAMS: usize = 12_000;
/// The number of values in one filter: the most allowed (`MAX_FILTER_VALUES`).
const VALUES: usize = 128;
const EVENTS: u64 = 64;
const ROUNDS: usize = 5;

fn event(seq: u64) -> Arc<Event> {
    Event::new(record(seq, Kind::Task, ["done", "ann", "bob", "t1"]))
}

fn filter(values: impl IntoIterator<Item = (&'static str, String)>) -> Filter {
    let mut filter = Filter::default();
    for (name, value) in values {
        assert_eq!(filter.parse_parameter(name, &value), Some(Ok(())), "{name}={value}");
    }
    filter.normalised()
}

/// A hub with a group for each given filter, and one group that wants everything.
struct BusyHub {
    hub: Hub,
    _members: Vec<Arc<Group>>,
    other: Arc<Group>,
    head: u64,
}

impl BusyHub {
    fn of(filters: impl Iterator<Item = Filter>) -> Self {
        let hub = Hub::new(0, 8_192, usize::MAX);
        let members = filters.map(|filter| hub.join(&filter)).collect();
        let other = hub.join(&Filter::default());
        Self { hub, _members: members, other, head: 0 }
    }

    /// The time from the push of an event until the group that wants everything has it. The best of several
    /// rounds, since the machine may be busy.
    fn delivery(&mut self) -> Duration {
        let rounds = (0..ROUNDS).map(|_| {
            let events: Vec<_> = (self.head + 1..=self.head + EVENTS).map(event).collect();
            let begun = Instant::now();
            for event in events {
                self.hub.push(vec![event], |event| event);
                match self.hub.step(&self.other, self.head) {
                    Step::Events { events, position, at_head: true } if events.len() == 1 => {
                        self.head = position
                    }
                    _ => panic!("the event is there"),
                }
            }
            begun.elapsed() / EVENTS as u32
        });
        rounds.min().expect("rounds")
    }
}

/// Patterns that no event matches, although each has tokens of a subject that exists.
fn patterns(stream: usize) -> impl Iterator<Item = (&'static str, String)> {
    let near = ["agent.task.t1.x", "agent.*.t1.x", "agent.task.*.x", "agent.*.*.x"];
    (0..VALUES - 1).map(move |n| ("subject", format!("{}{stream}-{n}", near[n % near.len()])))
}

/// A filter that the event matches in one name and not in another: the index finds its group, and must then
/// dismiss it.
fn never_together(stream: usize) -> Filter {
    let one = [
        ("sender", "ann".to_owned()),
        ("sender", format!("x{stream}")),
        ("recipient", "bob".to_owned()),
        ("task", "t1".to_owned()),
        ("type", "done".to_owned()),
        ("subject", "agent.*.t1.*".to_owned()),
        ("kind", "status".to_owned()),
    ];
    filter(one)
}

#[test]
fn filters_that_pass_nothing_cost_no_more_than_streams_that_get_everything() {
    let inbox = |n| filter([("recipient", format!("agent-{n}"))]);
    // Each filter passes every event, and each is different, so each has its own group.
    let all = |n| filter([("type", "done".to_owned()), ("type", format!("x{n}"))]);
    let of_a_sender = |n| filter(patterns(n).chain([("sender", "ann".to_owned())]));
    let quiet = BusyHub::of((0..STREAMS).map(inbox)).delivery();
    let equal = BusyHub::of((0..STREAMS).map(|_| Filter::default())).delivery();
    let all = BusyHub::of((0..STREAMS).map(all)).delivery();
    let patterns = BusyHub::of((0..STREAMS).map(of_a_sender)).delivery();
    let never = BusyHub::of((0..STREAMS).map(never_together)).delivery();
    println!(
        "{STREAMS} streams, until another has an event: inboxes of others {quiet:?}, one filter {equal:?}"
    );
    println!("all events, each with a filter of its own: {all:?}");
    println!(
        "filters that pass nothing: {VALUES} patterns {patterns:?}, names never together {never:?}"
    );
    assert!(patterns <= all && never <= all && quiet <= all && equal <= all);
    // Patterns must cost far less, which shows that they are not compared one by one.
    assert!(patterns * 20 <= all, "{patterns:?}, where all events for each cost {all:?}");
}
