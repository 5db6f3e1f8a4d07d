//! Whether publishes are worth putting together: found by what the server does, not by what it says.
//!
//! A server that syncs each message acknowledges those that wait some hundred microseconds apart, one
//! that does not within tens. What an atomic batch costs is measured the same way. Invariant: a pure
//! state machine, time passed in; together only while single acks were seen to come slowly, and a
//! batch's messages to come faster.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::limits::{
    NATS_BATCH_GAIN, NATS_BATCH_PAUSE_FIRST, NATS_BATCH_PAUSE_LONGEST, NATS_BATCH_TRIAL, NATS_LOOK,
    NATS_PACE_ACKS, NATS_PACE_AWAITED, NATS_PACE_SAMPLES, NATS_PACE_TIME, NATS_SPACING_SYNCED,
    NATS_SPACING_UNSYNCED,
};

/// What is known of the server's pace.
#[derive(Debug)]
pub(super) struct Pace {
    /// Singles on the way.
    awaited: usize,
    /// Batches on the way: acks of singles wait behind them, and tell nothing.
    batches: usize,
    busy: Busy,
    /// Samples in a row in which acks came slowly.
    slow: u32,
    /// Time between the acks of singles.
    single: Duration,
    together: bool,
    /// When it is to be looked again how singles do.
    look: Option<Instant>,
    trial: Trial,
    pause: Backoff,
    /// Until when batches are not tried again, unless more wait than so many.
    paused: Option<(Instant, usize)>,
    /// For tests: nothing that is seen changes it.
    #[cfg(test)]
    pinned: bool,
}

/// The time in which enough singles were awaited for it to be the server's, and the acks in it. A server
/// answers all that it found waiting in one burst, which may leave nobody waiting for a moment: such
/// moments are left out, and a sample is as long as one burst at least.
#[derive(Debug, Default)]
struct Busy {
    since: Option<Instant>,
    took: Duration,
    acks: u32,
    /// The most that were awaited.
    most: usize,
}

/// What some batches have cost.
#[derive(Debug, Default)]
struct Trial {
    batches: u32,
    messages: u32,
    took: Duration,
    /// The most messages that were on the way or waited.
    crowd: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            awaited: 0,
            batches: 0,
            busy: Busy::default(),
            slow: 0,
            single: Duration::ZERO,
            together: false,
            look: None,
            trial: Trial::default(),
            pause: Backoff::new(NATS_BATCH_PAUSE_FIRST, NATS_BATCH_PAUSE_LONGEST),
            paused: None,
            #[cfg(test)]
            pinned: false,
        }
    }
}

impl Pace {
    /// Whether publishes that wait are put together.
    pub(super) fn together(&self) -> bool {
        self.together
    }

    /// Time between the acks of singles.
    pub(super) fn single(&self) -> Duration {
        self.single
    }

    /// Whether it is time to look how singles do.
    pub(super) fn look_due(&self, now: Instant) -> bool {
        self.look.is_some_and(|at| now >= at)
    }

    /// A single was sent.
    pub(super) fn sent(&mut self, now: Instant) {
        self.awaited += 1;
        self.watch(now);
    }

    /// So many singles are not awaited any more.
    pub(super) fn given_up(&mut self, count: usize) {
        self.awaited = self.awaited.saturating_sub(count);
        self.busy = Busy::default();
    }

    /// Begins and ends busy time as it is now.
    fn watch(&mut self, now: Instant) {
        let busy = self.awaited >= NATS_PACE_AWAITED && self.batches == 0;
        self.busy.most = self.busy.most.max(self.awaited);
        match (busy, self.busy.since) {
            (true, None) => self.busy.since = Some(now),
            (false, Some(since)) => {
                self.busy.since = None;
                self.busy.took += now.saturating_duration_since(since);
            }
            _ => {}
        }
    }

    /// A single was acknowledged.
    pub(super) fn acked(&mut self, now: Instant) {
        let counts = self.busy.since.is_some();
        self.awaited = self.awaited.saturating_sub(1);
        self.watch(now);
        if !counts {
            return;
        }
        self.busy.acks += 1;
        let since = self.busy.since.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let (acks, took) = (self.busy.acks, self.busy.took + since);
        // Its last ones leave too few waiting to count.
        let burst = (self.busy.most + 1).saturating_sub(NATS_PACE_AWAITED);
        let burst = u32::try_from(burst).unwrap_or(u32::MAX);
        if acks >= burst.max(NATS_PACE_ACKS) && took >= NATS_PACE_TIME {
            self.busy = Busy::default();
            self.watch(now);
            self.sample(now, took / acks);
        }
    }

    fn sample(&mut self, now: Instant, spacing: Duration) {
        #[cfg(test)]
        if self.pinned {
            return;
        }
        // Smoothed: a disk stands still now and then.
        self.single = match self.single {
            Duration::ZERO => spacing,
            single => (single * 3 + spacing.min(single * 2)) / 4,
        };
        if self.together {
            self.look = Some(now + NATS_LOOK);
            self.together = spacing >= NATS_SPACING_UNSYNCED;
        } else {
            self.slow = if spacing >= NATS_SPACING_SYNCED { self.slow + 1 } else { 0 };
            self.together = self.slow >= NATS_PACE_SAMPLES && !self.is_paused(now);
        }
        if self.together && self.slow > 0 {
            (self.slow, self.trial) = (0, Trial::default());
            self.look = Some(now + NATS_LOOK);
        }
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.paused.is_some_and(|(until, crowd)| now < until && self.awaited < crowd)
    }

    /// A batch was sent; `crowd` messages wait or are on the way, its own among them.
    pub(super) fn batch_sent(&mut self, crowd: usize) {
        self.busy = Busy::default();
        self.batches += 1;
        self.trial.crowd = self.trial.crowd.max(crowd);
    }

    /// A batch was stored, so long after it was sent or the one before it was stored.
    pub(super) fn batch_stored(&mut self, now: Instant, messages: usize, took: Duration) {
        self.batches = self.batches.saturating_sub(1);
        let trial = &mut self.trial;
        trial.batches += 1;
        trial.messages += u32::try_from(messages).unwrap_or(u32::MAX);
        trial.took += took;
        if trial.batches < NATS_BATCH_TRIAL {
            return;
        }
        let each = trial.took / trial.messages.max(1);
        if each > self.single.mul_f64(NATS_BATCH_GAIN) {
            self.pause(now);
        } else {
            self.pause.reset();
        }
        self.trial = Trial::default();
    }

    /// A batch was refused as a whole for what one of its messages is.
    pub(super) fn batch_refused(&mut self) {
        self.batches = self.batches.saturating_sub(1);
    }

    /// What became of a batch is not known, or it could not be sent.
    pub(super) fn batch_lost(&mut self) {
        self.batches = self.batches.saturating_sub(1);
        self.forget();
    }

    /// A batch was not taken for what the server or the stream is.
    pub(super) fn batch_failed(&mut self, now: Instant) {
        self.batches = self.batches.saturating_sub(1);
        self.pause(now);
    }

    fn pause(&mut self, now: Instant) {
        // More than twice as many may be worth it where so many were not.
        self.paused = Some((now + self.pause.next_wait(), self.trial.crowd * 2));
        self.forget();
    }

    /// For tests: how many singles are on the way.
    #[cfg(test)]
    pub(super) fn awaited(&self) -> usize {
        self.awaited
    }

    /// For tests: batches, whatever the server does.
    #[cfg(test)]
    pub(super) fn put_together(&mut self) {
        (self.together, self.pinned) = (true, true);
        self.single = Duration::from_secs(60);
    }

    /// The bus does not answer: what was known of it may not hold when it does again.
    pub(super) fn forget(&mut self) {
        #[cfg(test)]
        {
            self.pinned = false;
        }
        self.together = false;
        (self.busy, self.slow, self.look) = (Busy::default(), 0, None);
        self.trial = Trial::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    struct Server {
        pace: Pace,
        now: Instant,
    }

    impl Server {
        fn new() -> Self {
            Self { pace: Pace::default(), now: Instant::now() }
        }

        /// So many clients, each with one message on the way, for so many acks.
        fn singles(&mut self, clients: usize, acks: u32, spacing: Duration) {
            while self.pace.awaited < clients {
                self.pace.sent(self.now);
            }
            for _ in 0..acks {
                self.now += spacing;
                self.pace.acked(self.now);
                self.pace.sent(self.now);
            }
        }

        fn batches(&mut self, count: u32, messages: usize, took: Duration) {
            for _ in 0..count {
                self.pace.batch_sent(messages);
                self.now += took;
                self.pace.batch_stored(self.now, messages, took);
            }
        }
    }

    #[test]
    fn puts_together_where_each_message_is_synced() {
        let mut server = Server::new();
        server.singles(64, 1_000, 40 * US);
        assert!(!server.pace.together());
        server.singles(64, 100, 217 * US);
        assert!(!server.pace.together(), "not at once");
        server.singles(64, 300, 217 * US);
        assert!(server.pace.together());
    }

    #[test]
    fn few_clients_tell_nothing() {
        let mut server = Server::new();
        server.singles(NATS_PACE_AWAITED - 1, 10_000, 400 * US);
        assert!(!server.pace.together());
    }

    #[test]
    fn moments_in_which_everything_stands_still_tell_nothing() {
        let mut server = Server::new();
        for _ in 0..100 {
            server.singles(64, 1_000, 30 * US);
            server.singles(64, 1, 100_000 * US);
        }
        assert!(!server.pace.together());
    }

    #[test]
    fn acks_that_come_in_bursts_are_spread_over_the_time_between() {
        let mut server = Server::new();
        for _ in 0..20 {
            server.singles(128, 0, US);
            server.now += 128 * 217 * US;
            (0..128).for_each(|_| server.pace.acked(server.now));
            server.now += 1_000 * US;
        }
        assert!(server.pace.together());
        assert!(server.pace.single < 300 * US, "{:?}", server.pace.single);
    }

    #[test]
    fn looks_again_and_stops_where_it_is_synced_no_more() {
        let mut server = Server::new();
        server.singles(64, 300, 217 * US);
        assert!(server.pace.together());
        assert!(!server.pace.look_due(server.now));
        server.now += NATS_LOOK;
        assert!(server.pace.look_due(server.now));
        server.singles(64, 65, 217 * US);
        assert!(server.pace.together());
        assert!(!server.pace.look_due(server.now), "seen");
        server.singles(64, 400, 30 * US);
        assert!(!server.pace.together());
    }

    #[test]
    fn stops_for_longer_and_longer_where_batches_gain_nothing() {
        let mut server = Server::new();
        let mut pause = NATS_BATCH_PAUSE_FIRST;
        for _ in 0..3 {
            server.singles(64, 300, 217 * US);
            assert!(server.pace.together());
            server.batches(NATS_BATCH_TRIAL, 50, 50 * 250 * US);
            assert!(!server.pace.together());
            server.singles(64, 300, 217 * US);
            assert!(!server.pace.together(), "not again at once");
            server.now += pause;
            pause *= 2;
        }
        server.singles(64, 300, 217 * US);
        server.batches(NATS_BATCH_TRIAL, 50, 50 * 250 * US);
        server.singles(64, 300, 217 * US);
        assert!(!server.pace.together());
        server.singles(120, 300, 217 * US);
        assert!(server.pace.together(), "twice as many wait");
        server.batches(10 * NATS_BATCH_TRIAL, 50, 50 * 50 * US);
        assert!(server.pace.together());
    }

    #[test]
    fn acks_behind_a_batch_are_not_taken_for_slow_ones() {
        let mut server = Server::new();
        server.singles(64, 300, 217 * US);
        server.pace.batch_sent(100);
        server.singles(64, 200, 20 * US);
        assert!(server.pace.together(), "nothing is learned meanwhile");
        server.pace.batch_refused();
        server.singles(64, 600, 20 * US);
        assert!(!server.pace.together());
    }

    #[test]
    fn forgets_when_the_bus_is_silent() {
        let mut server = Server::new();
        server.singles(64, 300, 217 * US);
        server.pace.forget();
        assert!(!server.pace.together());
        server.pace.given_up(64);
        server.singles(64, 300, 217 * US);
        assert!(server.pace.together());
    }
}
