//! What different grants of subscribers cost: an event for 5,000 subscribers with many grants against the same
//! event for 5,000 subscribers with one.
//!
//! Subscribers with different grants cannot share a group, and a group costs something by itself, whatever makes
//! it different. So a comparison is fair if both sides give the event to as many subscribers in about as many
//! groups: on the side with one grant, the filters differ instead. Only 50 groups for 5,000 subscribers are few
//! enough to compare them with a single group too, within a wider limit. Subscribers take the event group by
//! group, in the order in which the hub wakes them. Measured is everything up to the bytes that a connection
//! writes: index, groups, wake-ups, and what each woken subscriber takes. Writing costs the same on both sides,
//! and would only hide differences.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::Event;
use super::hub::{Hub, Step};
use super::member::Member;
use crate::message::testing::record;
use crate::message::{Filter, Kind, Scope};

const SUBSCRIBERS: usize = 5_000;
const GRANTS: usize = 50;
/// The best time of so many events counts, since the machine may be busy; if that is not enough, of more.
const EVENTS: usize = 100;
const MOST_EVENTS: usize = 1_500;

/// Subscribers of which the first `woken` get each event.
struct Subscribers {
    hub: Arc<Hub>,
    members: Vec<Member>,
    woken: usize,
    head: u64,
}

impl Subscribers {
    fn new(woken: usize, filter: impl Fn(usize) -> Filter) -> Self {
        let hub = Arc::new(Hub::new(0, 8_192, usize::MAX));
        let filters = (0..SUBSCRIBERS).map(|n| filter(n).normalised());
        let members = filters.map(|filter| Member::join(&hub, &filter)).collect();
        Self { hub, members, woken, head: 0 }
    }

    /// The time from the push of an event until all that get it have taken it.
    fn deliver(&mut self) -> Duration {
        let event = event(self.head + 1);
        let begun = Instant::now();
        self.hub.push(vec![event], |event| event);
        for member in &self.members[..self.woken] {
            match member.step(self.head) {
                Step::Events { events, at_head: true, .. } if events.len() == 1 => {
                    assert!(events.messages().is_some());
                }
                _ => panic!("one event is there"),
            }
        }
        self.head += 1;
        begun.elapsed()
    }
}

fn event(seq: u64) -> Arc<Event> {
    Event::new(record(seq, Kind::Task, ["done", "name-0", "name-1", "t1"]))
}

fn filter(values: &[(&str, String)]) -> Filter {
    let mut filter = Filter::default();
    for (name, value) in values {
        assert_eq!(filter.parse_parameter(name, value), Some(Ok(())), "{name}={value}");
    }
    filter
}

fn scope(subjects: &[&str], names: &[String]) -> Option<Arc<Scope>> {
    Some(Arc::new(Scope {
        subjects: subjects.iter().map(|text| text.parse().expect("a pattern")).collect(),
        names: names.iter().map(|text| text.parse().expect("a token")).collect(),
    }))
}

/// All subscribers have this grant.
fn one_grant() -> Option<Arc<Scope>> {
    scope(&["agent.task.>"], &[])
}

/// Passes every event; as many different filters as numbers.
fn all_events(n: usize) -> Filter {
    filter(&[("type", "done".to_owned()), ("type", format!("x{n}"))]).within(one_grant())
}

/// Fails the test unless an event for `many` takes at most `percent` of its time for `one`.
fn assert_costs(percent: u128, what: &str, mut many: Subscribers, mut one: Subscribers) {
    let (mut with_many, mut with_one) = (Duration::MAX, Duration::MAX);
    let is_cheap =
        |many: Duration, one: Duration| many.as_nanos() * 100 <= one.as_nanos() * percent;
    for events in 1..=MOST_EVENTS {
        with_many = with_many.min(many.deliver());
        with_one = with_one.min(one.deliver());
        if events >= EVENTS && is_cheap(with_many, with_one) {
            break;
        }
    }
    println!("{what}: an event takes {with_many:?}, with one grant {with_one:?}");
    assert!(is_cheap(with_many, with_one), "{what}: over {percent} %");
}

#[test]
fn fifty_grants_cost_no_more_than_one() {
    let group = |n: usize| n * GRANTS / SUBSCRIBERS;
    let granted = |n: usize| {
        let own = format!("agent.task.*.x{}", group(n));
        Filter::default().within(scope(&["agent.task.>", &own], &[]))
    };
    let of_fifty = || Subscribers::new(SUBSCRIBERS, granted);
    let filters = Subscribers::new(SUBSCRIBERS, |n| all_events(group(n)));
    assert_costs(120, "50 grants against 50 filters", of_fifty(), filters);
    let equal = Subscribers::new(SUBSCRIBERS, |_| Filter::default().within(one_grant()));
    assert_costs(150, "50 grants against one group", of_fifty(), equal);
}

#[test]
fn five_thousand_names_cost_no_more_than_one_grant() {
    let name = |n: usize| format!("name-{n}");
    let own = |n: usize| Filter::default().within(scope(&[], &[name(n)]));
    // The sender and the recipient get the event.
    let side = |n: usize| if n.is_multiple_of(2) { "sender" } else { "recipient" };
    let filtered = |n: usize| filter(&[(side(n), name(n))]).within(one_grant());
    let (names, filters) = (Subscribers::new(2, own), Subscribers::new(2, filtered));
    assert_costs(120, "5,000 names, two get the event", names, filters);
    // All get the event.
    let shared = |n: usize| Filter::default().within(scope(&["agent.task.>"], &[name(n)]));
    let names = Subscribers::new(SUBSCRIBERS, shared);
    let filters = Subscribers::new(SUBSCRIBERS, all_events);
    assert_costs(120, "5,000 names, all get the event", names, filters);
}
