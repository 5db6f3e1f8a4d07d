//! The queue of publish calls, and the choice of which are sent next.
//!
//! Invariant: no I/O; time is passed in. A call is never divided between batches, and a batch holds calls in
//! the order of their arrival. A call with an id that was seen recently is sent alone, after every earlier
//! call has ended: a single duplicate makes the server refuse a whole batch. [`Step::Wait`] is returned only
//! while the queue is empty or something is in flight. So no call waits for ever if the caller asks again
//! whenever something in flight has ended.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use crate::limits::{
    NATS_BATCH_BYTES, NATS_BATCH_LEAST, NATS_BATCH_LINGER, NATS_BATCH_MESSAGES,
    NATS_BATCH_RECENT_IDS,
};

/// A call that can be queued here.
pub(super) trait Queued {
    /// The number of messages, at most [`NATS_BATCH_MESSAGES`].
    fn messages(&self) -> usize;
    /// The bytes of all messages, at most [`NATS_BATCH_BYTES`].
    fn bytes(&self) -> usize;
    /// The message ids that the client chose.
    fn ids(&self) -> &[u128];
    /// Whether its caller no longer waits for the outcome.
    fn is_abandoned(&self) -> bool;
}

/// Calls in the order of their arrival, numbered.
#[derive(Debug)]
pub(super) struct BatchQueue<T> {
    waiting: VecDeque<(u64, T)>,
    repeats: VecDeque<(u64, T)>,
    /// The number of messages in `waiting`.
    messages: usize,
    /// The batch in flight: the number of its first call, and how many messages it has.
    in_flight: Option<(u64, usize)>,
    /// The highest number of messages that waited or were in flight when a recent batch was sent. Decays with
    /// each batch.
    recent_load: usize,
    last_ended: Option<Instant>,
    next_number: u64,
    recent_ids: RecentIds,
}

/// What the caller does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<T> {
    /// Send these as one batch, and call [`BatchQueue::batch_ended`] when it has ended.
    Batch(Vec<T>),
    /// Send the messages of this call one by one.
    Single(T),
    /// Ask again when something in flight has ended or another call has come.
    Wait,
    /// As [`Step::Wait`], but ask again at this time at the latest.
    WaitUntil(Instant),
}

impl<T: Queued> BatchQueue<T> {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            repeats: VecDeque::new(),
            messages: 0,
            in_flight: None,
            recent_load: 0,
            last_ended: None,
            next_number: 0,
            recent_ids: RecentIds::default(),
        }
    }

    pub(super) fn push(&mut self, call: T) {
        let number = self.next_number;
        self.next_number += 1;
        // Not `any`, which would stop at the first repeat: every id must be recorded.
        let repeated = call.ids().iter().filter(|id| self.recent_ids.was_seen(**id)).count();
        if repeated > 0 {
            self.repeats.push_back((number, call));
        } else {
            self.messages += call.messages();
            self.waiting.push_back((number, call));
        }
    }

    /// Chooses the next step while `singles` messages are in flight outside of batches. Only one batch is in
    /// flight at a time: the server writes batches one after the other, and a larger batch costs less per
    /// message.
    pub(super) fn next(&mut self, singles: usize, now: Instant) -> Step<T> {
        let oldest = self.waiting.front().map(|(number, _)| *number);
        let oldest = self.in_flight.map(|(number, _)| number).or(oldest);
        if let Some((_, call)) =
            self.repeats.pop_front_if(|(number, _)| oldest.is_none_or(|oldest| *number < oldest))
        {
            return Step::Single(call);
        }
        if self.in_flight.is_some() {
            return Step::Wait;
        }
        if self.messages >= NATS_BATCH_LEAST {
            self.drop_abandoned();
        }
        if self.messages >= NATS_BATCH_LEAST {
            return self.batch_when_enough(now);
        }
        match self.pop_if(singles < NATS_BATCH_LEAST) {
            Some((_, call)) => Step::Single(call),
            None => Step::Wait,
        }
    }

    fn pop_if(&mut self, wanted: bool) -> Option<(u64, T)> {
        let popped = self.waiting.pop_front_if(|_| wanted)?;
        self.messages -= popped.1.messages();
        Some(popped)
    }

    fn drop_abandoned(&mut self) {
        self.waiting.retain(|(_, call)| !call.is_abandoned());
        self.messages = self.waiting.iter().map(|(_, call)| call.messages()).sum();
    }

    /// Clients whose publishes were acknowledged a moment ago often publish again within milliseconds. So
    /// this waits for about half of them: one batch with them is cheaper than two batches.
    fn batch_when_enough(&mut self, now: Instant) -> Step<T> {
        let enough = (self.recent_load / 2).min(NATS_BATCH_MESSAGES);
        match self.last_ended.map(|at| at + NATS_BATCH_LINGER) {
            Some(until) if now < until && self.messages < enough => Step::WaitUntil(until),
            _ => self.batch(),
        }
    }

    fn batch(&mut self) -> Step<T> {
        let (mut messages, mut bytes) = (0, 0);
        let mut first = None;
        let mut calls = Vec::new();
        while let Some((number, call)) = self.waiting.front() {
            messages += call.messages();
            bytes += call.bytes();
            if first.is_some() && (messages > NATS_BATCH_MESSAGES || bytes > NATS_BATCH_BYTES) {
                break;
            }
            first.get_or_insert(*number);
            calls.extend(self.pop_if(true).map(|(_, call)| call));
        }
        let size = calls.iter().map(Queued::messages).sum();
        self.in_flight = first.map(|first| (first, size));
        self.recent_load = self.load().max(self.recent_load - self.recent_load / 8);
        Step::Batch(calls)
    }

    /// Records that the batch is no longer in flight.
    pub(super) fn batch_ended(&mut self, now: Instant) {
        self.in_flight = None;
        self.last_ended = Some(now);
    }

    /// The number of messages that wait or are in flight in a batch. Calls with repeated ids are not counted.
    fn load(&self) -> usize {
        self.messages + self.in_flight.map_or(0, |(_, size)| size)
    }

    /// Takes all calls that wait.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.messages = 0;
        let waiting = std::mem::take(&mut self.waiting);
        let repeats = std::mem::take(&mut self.repeats);
        waiting.into_iter().chain(repeats).map(|(_, call)| call)
    }
}

/// The ids of recent calls. Each is remembered for at least [`NATS_BATCH_RECENT_IDS`] further ids.
#[derive(Debug, Default)]
struct RecentIds {
    young: HashSet<u128>,
    old: HashSet<u128>,
}

impl RecentIds {
    /// Records the id. Returns whether it was seen recently.
    fn was_seen(&mut self, id: u128) -> bool {
        let was_seen = self.old.contains(&id) || !self.young.insert(id);
        if self.young.len() > NATS_BATCH_RECENT_IDS {
            self.old = std::mem::take(&mut self.young);
        }
        was_seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Call {
        messages: usize,
        bytes: usize,
        ids: Vec<u128>,
        abandoned: bool,
    }

    impl Queued for Call {
        fn messages(&self) -> usize {
            self.messages
        }

        fn bytes(&self) -> usize {
            self.bytes
        }

        fn ids(&self) -> &[u128] {
            &self.ids
        }

        fn is_abandoned(&self) -> bool {
            self.abandoned
        }
    }

    fn call(messages: usize) -> Call {
        Call { messages, bytes: messages, ids: Vec::new(), abandoned: false }
    }

    fn with_id(id: u128) -> Call {
        Call { ids: vec![id], ..call(1) }
    }

    fn queue(calls: impl IntoIterator<Item = Call>) -> BatchQueue<Call> {
        let mut queue = BatchQueue::new();
        calls.into_iter().for_each(|call| queue.push(call));
        queue
    }

    fn next(queue: &mut BatchQueue<Call>, singles: usize) -> Step<Call> {
        // Later than any linger would end, unless a batch ended at this very moment.
        queue.next(singles, Instant::now() + NATS_BATCH_LINGER)
    }

    fn next_batch(queue: &mut BatchQueue<Call>) -> Vec<usize> {
        match next(queue, 0) {
            Step::Batch(calls) => calls.iter().map(|call| call.messages).collect(),
            step => panic!("{step:?}"),
        }
    }

    #[test]
    fn few_messages_go_by_themselves_and_many_in_a_batch() {
        let mut queue = queue(vec![call(1); NATS_BATCH_LEAST - 1]);
        for singles in 0..NATS_BATCH_LEAST - 1 {
            assert_eq!(next(&mut queue, singles), Step::Single(call(1)));
        }
        queue.push(call(1));
        assert_eq!(next(&mut queue, NATS_BATCH_LEAST), Step::Wait, "enough are in flight");
        (1..NATS_BATCH_LEAST).for_each(|_| queue.push(call(1)));
        assert_eq!(next_batch(&mut queue).len(), NATS_BATCH_LEAST);
        queue.push(call(1));
        assert_eq!(next(&mut queue, 0), Step::Wait, "more may come until the batch has ended");
        queue.batch_ended(Instant::now());
        assert_eq!(next(&mut queue, 0), Step::Single(call(1)));
        assert_eq!(next(&mut queue, 0), Step::Wait);
    }

    #[test]
    fn batches_stay_within_their_bounds_and_keep_calls_whole() {
        let mut queue = queue([call(400), call(500), call(200), call(1_000), call(40)]);
        for batch in [&[400, 500][..], &[200], &[1_000], &[40]] {
            assert_eq!(next_batch(&mut queue), batch);
            assert_eq!(next(&mut queue, 0), Step::Wait, "one is in flight");
            queue.batch_ended(Instant::now());
        }
        let large = || Call { bytes: NATS_BATCH_BYTES / 2 + 1, ..call(20) };
        let mut queue = super::tests::queue([large(), large()]);
        assert_eq!(next_batch(&mut queue), [20]);
        assert_eq!(queue.load(), 40);
    }

    #[test]
    fn waits_a_little_for_half_of_the_recent_load() {
        let mut queue = queue(vec![call(1); 200]);
        assert_eq!(next_batch(&mut queue).len(), 200);
        let now = Instant::now();
        queue.batch_ended(now);
        (0..40).for_each(|_| queue.push(call(1)));
        assert_eq!(queue.next(0, now), Step::WaitUntil(now + NATS_BATCH_LINGER));
        (0..70).for_each(|_| queue.push(call(1)));
        assert!(matches!(queue.next(0, now), Step::Batch(calls) if calls.len() == 110));
        queue.batch_ended(now);
        (0..40).for_each(|_| queue.push(call(1)));
        assert_eq!(next_batch(&mut queue).len(), 40, "no longer");
    }

    #[test]
    fn repeats_go_by_themselves_after_what_came_before() {
        let mut queue = queue((0..40).map(with_id));
        queue.push(with_id(7));
        queue.push(Call { ids: vec![50, 50], ..call(2) });
        assert_eq!(next_batch(&mut queue).len(), 40);
        queue.push(with_id(60));
        assert_eq!(next(&mut queue, 0), Step::Wait);
        queue.batch_ended(Instant::now());
        assert_eq!(next(&mut queue, 0), Step::Single(with_id(7)));
        assert_eq!(next(&mut queue, 0), Step::Single(Call { ids: vec![50, 50], ..call(2) }));
        assert_eq!(next(&mut queue, 0), Step::Single(with_id(60)));
    }

    #[test]
    fn abandoned_calls_are_dropped() {
        let abandoned = Call { abandoned: true, ..call(1) };
        let mut queue = queue(std::iter::repeat_n(abandoned, 50).chain(vec![call(1); 3]));
        assert_eq!(next(&mut queue, 0), Step::Single(call(1)));
        assert_eq!(queue.drain().count(), 2);
        assert_eq!(queue.load(), 0);
    }

    #[test]
    fn ids_are_remembered_for_a_while() {
        let mut recent_ids = RecentIds::default();
        let count = NATS_BATCH_RECENT_IDS as u128;
        assert!((0..count).all(|id| !recent_ids.was_seen(id)));
        assert!((0..count).all(|id| recent_ids.was_seen(id)));
        (count..4 * count).for_each(|id| assert!(!recent_ids.was_seen(id)));
        assert!(!recent_ids.was_seen(0), "not for ever");
    }
}
