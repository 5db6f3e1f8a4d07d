//! The publishes that wait, and what goes next.
//!
//! Invariant: pure, time passed in. A call's messages are never divided, a batch holds calls in the order they came,
//! and an id that was there recent_ids is not put into a batch: one repeat would have all of it refused.
//! Such a call goes alone, once everything that came before it is settled. What waits while
//! nothing is on the way does not exist, so whoever ends asks again and nobody waits for ever.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use crate::limits::{
    NATS_BATCH_BYTES, NATS_BATCH_LATELY, NATS_BATCH_LEAST, NATS_BATCH_LINGER, NATS_BATCH_MESSAGES,
    NATS_LOOK_MESSAGES,
};

/// A call that can wait here.
pub(super) trait Queued {
    /// How many messages it has, at most [`NATS_BATCH_MESSAGES`].
    fn messages(&self) -> usize;
    /// How many bytes they are, at most [`NATS_BATCH_BYTES`].
    fn bytes(&self) -> usize;
    /// The ids that its client chose.
    fn ids(&self) -> &[u128];
    /// Whether nobody waits for it any more.
    fn is_gone(&self) -> bool;
}

/// Calls in the order they came.
#[derive(Debug)]
pub(super) struct BatchQueue<T> {
    /// Each with its number.
    waiting: VecDeque<(u64, T)>,
    repeats: VecDeque<(u64, T)>,
    /// How many messages wait, those of repeats not counted.
    messages: usize,
    /// The batch on the way: the number of its first call, and how many messages it has.
    flying: Option<(u64, usize)>,
    /// About how many messages were here at once recent_ids.
    crowd: usize,
    /// When the last batch was over.
    landed: Option<Instant>,
    next: u64,
    recent_ids: RecentIds,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<T> {
    /// These go as one batch; [`BatchQueue::landed`] tells when it is over.
    Together(Vec<T>),
    /// This one sends its messages by itself.
    Alone(T),
    /// Nothing until something on the way has ended.
    Wait,
    /// Nothing until then, unless something comes.
    Until(Instant),
}

impl<T: Queued> BatchQueue<T> {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            repeats: VecDeque::new(),
            messages: 0,
            flying: None,
            crowd: 0,
            landed: None,
            next: 0,
            recent_ids: RecentIds::default(),
        }
    }

    pub(super) fn push(&mut self, call: T) {
        let number = self.next;
        self.next += 1;
        // Each is noted, also when the first was there.
        let mut repeats = false;
        for id in call.ids() {
            repeats |= self.recent_ids.was_there(*id);
        }
        if repeats {
            self.repeats.push_back((number, call));
        } else {
            self.messages += call.messages();
            self.waiting.push_back((number, call));
        }
    }

    /// What is next while so many messages are on the way alone. One batch is on the way at a time: the server writes
    /// one after the other, and the larger the cheaper. With `look`, some go alone that it be seen how they do.
    pub(super) fn next(&mut self, alone: usize, look: bool, now: Instant) -> Step<T> {
        let oldest = self.waiting.front().map(|(number, _)| *number);
        let oldest = self.flying.map(|(number, _)| number).or(oldest);
        if let Some((_, call)) =
            self.repeats.pop_front_if(|(number, _)| oldest.is_none_or(|oldest| *number < oldest))
        {
            return Step::Alone(call);
        }
        if look {
            return if alone < NATS_LOOK_MESSAGES { self.first_alone() } else { Step::Wait };
        }
        if self.messages >= NATS_BATCH_LEAST && self.flying.is_none() {
            self.forget_the_gone();
            if self.messages >= NATS_BATCH_LEAST {
                return self.batch_when_enough(now);
            }
        }
        if self.messages < NATS_BATCH_LEAST && self.flying.is_none() && alone < NATS_BATCH_LEAST {
            return self.first_alone();
        }
        Step::Wait
    }

    fn first_alone(&mut self) -> Step<T> {
        match self.pop() {
            Some((_, call)) => Step::Alone(call),
            None => Step::Wait,
        }
    }

    fn pop(&mut self) -> Option<(u64, T)> {
        let popped = self.waiting.pop_front()?;
        self.messages -= popped.1.messages();
        Some(popped)
    }

    fn forget_the_gone(&mut self) {
        self.waiting.retain(|(_, call)| {
            let gone = call.is_gone();
            if gone {
                self.messages -= call.messages();
            }
            !gone
        });
    }

    /// Those who were answered a moment ago come again within milliseconds: with half of them a batch is
    /// worth more than two are.
    fn batch_when_enough(&mut self, now: Instant) -> Step<T> {
        let enough = (self.crowd / 2).min(NATS_BATCH_MESSAGES);
        match self.landed.map(|at| at + NATS_BATCH_LINGER) {
            Some(until) if now < until && self.messages < enough => Step::Until(until),
            _ => self.batch(),
        }
    }

    fn batch(&mut self) -> Step<T> {
        let (mut messages, mut bytes) = (0, 0);
        let (mut first, mut calls) = (None, Vec::new());
        while let Some((_, call)) = self.waiting.front() {
            messages += call.messages();
            bytes += call.bytes();
            if !calls.is_empty() && (messages > NATS_BATCH_MESSAGES || bytes > NATS_BATCH_BYTES) {
                break;
            }
            if let Some((number, call)) = self.pop() {
                first.get_or_insert(number);
                calls.push(call);
            }
        }
        let Some(first) = first else { return Step::Wait };
        let size: usize = calls.iter().map(Queued::messages).sum();
        self.flying = Some((first, size));
        self.crowd = self.present().max(self.crowd - self.crowd / 8);
        Step::Together(calls)
    }

    /// The batch is not on the way any more.
    pub(super) fn landed(&mut self, now: Instant) {
        self.flying = None;
        self.landed = Some(now);
    }

    /// How many messages wait or are on the way in a batch; those of repeats are not counted.
    pub(super) fn present(&self) -> usize {
        self.messages + self.flying.map_or(0, |(_, size)| size)
    }

    /// All that wait.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.messages = 0;
        let (waiting, repeats) =
            (std::mem::take(&mut self.waiting), std::mem::take(&mut self.repeats));
        waiting.into_iter().chain(repeats).map(|(_, call)| call)
    }
}

/// The ids of the last calls: each for at least [`NATS_BATCH_LATELY`] further ids.
#[derive(Debug, Default)]
struct RecentIds {
    young: HashSet<u128>,
    old: HashSet<u128>,
}

impl RecentIds {
    /// Whether it was there; it is from now on.
    fn was_there(&mut self, id: u128) -> bool {
        let was_there = self.old.contains(&id) || !self.young.insert(id);
        if self.young.len() > NATS_BATCH_LATELY {
            self.old = std::mem::take(&mut self.young);
        }
        was_there
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
        gone: bool,
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

        fn is_gone(&self) -> bool {
            self.gone
        }
    }

    fn call(messages: usize) -> Call {
        Call { messages, bytes: messages, ids: Vec::new(), gone: false }
    }

    fn with_id(id: u128) -> Call {
        Call { ids: vec![id], ..call(1) }
    }

    fn line(calls: impl IntoIterator<Item = Call>) -> BatchQueue<Call> {
        let mut line = BatchQueue::new();
        calls.into_iter().for_each(|call| line.push(call));
        line
    }

    fn next(line: &mut BatchQueue<Call>, alone: usize) -> Step<Call> {
        // Later than any linger, if nothing has landed at this very moment.
        line.next(alone, false, Instant::now() + NATS_BATCH_LINGER)
    }

    fn together(line: &mut BatchQueue<Call>) -> Vec<usize> {
        match next(line, 0) {
            Step::Together(calls) => calls.iter().map(|call| call.messages).collect(),
            step => panic!("{step:?}"),
        }
    }

    #[test]
    fn few_go_alone_and_many_together() {
        let mut line = line(vec![call(1); NATS_BATCH_LEAST - 1]);
        for alone in 0..NATS_BATCH_LEAST - 1 {
            assert_eq!(next(&mut line, alone), Step::Alone(call(1)));
        }
        line.push(call(1));
        assert_eq!(next(&mut line, NATS_BATCH_LEAST), Step::Wait, "enough are on the way");
        (1..NATS_BATCH_LEAST).for_each(|_| line.push(call(1)));
        assert_eq!(together(&mut line).len(), NATS_BATCH_LEAST);
        line.push(call(1));
        assert_eq!(next(&mut line, 0), Step::Wait, "more may come until the batch is there");
        line.landed(Instant::now());
        assert_eq!(next(&mut line, 0), Step::Alone(call(1)));
        assert_eq!(next(&mut line, 0), Step::Wait);
    }

    #[test]
    fn batches_stay_within_their_bounds_and_keep_calls_whole() {
        let mut line = line([call(400), call(500), call(200), call(1_000), call(40)]);
        for batch in [&[400, 500][..], &[200], &[1_000], &[40]] {
            assert_eq!(together(&mut line), batch);
            assert_eq!(next(&mut line, 0), Step::Wait, "one is on the way");
            line.landed(Instant::now());
        }
        let large = || Call { bytes: NATS_BATCH_BYTES / 2 + 1, ..call(20) };
        let mut line = super::tests::line([large(), large()]);
        assert_eq!(together(&mut line), [20]);
        assert_eq!(line.present(), 40);
    }

    #[test]
    fn waits_a_little_for_half_of_those_who_were_there() {
        let mut line = line(vec![call(1); 200]);
        assert_eq!(together(&mut line).len(), 200);
        let now = Instant::now();
        line.landed(now);
        (0..40).for_each(|_| line.push(call(1)));
        assert_eq!(line.next(0, false, now), Step::Until(now + NATS_BATCH_LINGER));
        (0..70).for_each(|_| line.push(call(1)));
        assert!(matches!(line.next(0, false, now), Step::Together(calls) if calls.len() == 110));
        line.landed(now);
        (0..40).for_each(|_| line.push(call(1)));
        assert_eq!(together(&mut line).len(), 40, "no longer");
    }

    #[test]
    fn repeats_go_alone_after_what_came_before() {
        let mut line = line((0..40).map(with_id));
        line.push(with_id(7));
        line.push(Call { ids: vec![50, 50], ..call(2) });
        assert_eq!(together(&mut line).len(), 40);
        line.push(with_id(60));
        assert_eq!(next(&mut line, 0), Step::Wait);
        line.landed(Instant::now());
        assert_eq!(next(&mut line, 0), Step::Alone(with_id(7)));
        assert_eq!(next(&mut line, 0), Step::Alone(Call { ids: vec![50, 50], ..call(2) }));
        assert_eq!(next(&mut line, 0), Step::Alone(with_id(60)));
    }

    #[test]
    fn who_has_gone_is_left_out() {
        let gone = Call { gone: true, ..call(1) };
        let mut line = line(std::iter::repeat_n(gone, 50).chain(vec![call(1); 3]));
        assert_eq!(next(&mut line, 0), Step::Alone(call(1)));
        assert_eq!(line.drain().count(), 2);
        assert_eq!(line.present(), 0);
    }

    #[test]
    fn some_go_alone_to_be_looked_at() {
        let mut line = line(vec![call(1); 500]);
        let now = Instant::now();
        assert_eq!(line.next(NATS_BATCH_LEAST, true, now), Step::Alone(call(1)));
        assert_eq!(line.next(NATS_LOOK_MESSAGES, true, now), Step::Wait);
    }

    #[test]
    fn ids_are_remembered_for_a_while() {
        let mut recent_ids = RecentIds::default();
        let count = NATS_BATCH_LATELY as u128;
        assert!((0..count).all(|id| !recent_ids.was_there(id)));
        assert!((0..count).all(|id| recent_ids.was_there(id)));
        (count..4 * count).for_each(|id| assert!(!recent_ids.was_there(id)));
        assert!(!recent_ids.was_there(0), "not for ever");
    }
}
