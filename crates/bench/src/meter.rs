//! What senders count.
//!
//! Invariant: a message is counted by its answer, once: accepted, refused for now (503), rejected for
//! good, or failed (no answer: nobody knows). What should have begun during the warm-up is counted
//! apart and its latency is left out.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use memchr::memmem;
use serde::Serialize;

use super::client::Answer;
use super::figures::Figures;
use super::limits::MARK_EVERY;

/// What became of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// In the log.
    pub accepted: u64,
    /// Not now: 503.
    pub refused: u64,
    /// Not ever: any other answer.
    pub rejected: u64,
    /// No answer.
    pub failed: u64,
}

impl Tally {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.accepted + self.refused + self.rejected + self.failed
    }

    fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.rejected += other.rejected;
        self.failed += other.failed;
    }
}

/// When a request should have begun, and did.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// When it should have.
    pub intended: Instant,
    /// When it did.
    pub begun: Instant,
    /// Whether a connection was free before its time.
    pub waited: bool,
}

/// All that was counted.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Messages that should have been sent in the time that is measured.
    pub measured: Tally,
    /// Messages of the warm-up.
    pub warmup: Tally,
    /// From the intended time to the answer.
    pub publish: Figures,
    /// From the intended time to the first byte, where a connection was free: our own delay.
    pub own_delay: Figures,
    /// Requests that began late because no connection was free.
    pub late: u64,
    /// Requests in all.
    pub requests: u64,
    /// The highest sequence acknowledged.
    pub last_seq: u64,
    /// When the last answer came.
    pub last_answer: Option<Instant>,
    /// Sequences and when they were acknowledged, rising in both.
    pub marks: Vec<(Instant, u64)>,
    /// The first refusal or failure, in words.
    pub first_trouble: Option<String>,
}

/// Where senders count; readers look.
pub struct Meter {
    /// From when on is measured.
    from: Instant,
    counted: Mutex<Counted>,
}

impl Meter {
    /// Measures what should begin at `from` or later.
    #[must_use]
    pub fn new(from: Instant) -> Self {
        Self { from, counted: Mutex::default() }
    }

    /// A look.
    pub fn look<T>(&self, of: impl FnOnce(&Counted) -> T) -> T {
        of(&self.counted())
    }

    /// What an answer says about the messages of its request.
    pub fn answered(&self, begin: Begin, messages: u64, answer: &Answer<'_>) {
        let now = Instant::now();
        let (tally, seq) = read(answer, messages);
        let mut counted = self.counted();
        self.count(&mut counted, begin, now, tally);
        counted.last_seq = counted.last_seq.max(seq);
        let last = counted.last_seq;
        let due = counted.marks.last().is_none_or(|(at, _)| now >= *at + MARK_EVERY);
        if due && seq > 0 {
            counted.marks.push((now, last));
        }
        if tally.accepted < messages && counted.first_trouble.is_none() {
            let start = &answer.body[..answer.body.len().min(300)];
            let words = format!("{}: {}", answer.status, String::from_utf8_lossy(start));
            counted.first_trouble = Some(words);
        }
    }

    /// No answer came.
    pub fn failed(&self, begin: Begin, messages: u64, why: &std::io::Error) {
        let mut counted = self.counted();
        let tally = Tally { failed: messages, ..Tally::default() };
        self.count(&mut counted, begin, Instant::now(), tally);
        counted.first_trouble.get_or_insert_with(|| why.to_string());
    }

    fn count(&self, counted: &mut Counted, begin: Begin, now: Instant, tally: Tally) {
        counted.requests += 1;
        counted.late += u64::from(!begin.waited);
        counted.last_answer = Some(now);
        if begin.intended < self.from {
            counted.warmup.add(tally);
            return;
        }
        counted.measured.add(tally);
        if begin.waited {
            counted.own_delay.time(begin.begun.saturating_duration_since(begin.intended));
        }
        if tally.failed == 0 {
            counted.publish.time(now.saturating_duration_since(begin.intended));
        }
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads an answer no further than to count: what became of the messages, and the highest sequence.
fn read(answer: &Answer<'_>, messages: u64) -> (Tally, u64) {
    let all = |place: fn(&mut Tally) -> &mut u64| {
        let mut tally = Tally::default();
        *place(&mut tally) = messages;
        tally
    };
    match answer.status {
        200 | 201 if answer.body.starts_with(b"{\"seq\":") => {
            (all(|tally| &mut tally.accepted), number(&answer.body[7..]))
        }
        200 => batch(answer.body),
        503 => (all(|tally| &mut tally.refused), 0),
        _ => (all(|tally| &mut tally.rejected), 0),
    }
}

/// `{"accepted":N,"rejected":M,"results":[…]}`: sequences rise, so the last is the highest.
fn batch(body: &[u8]) -> (Tally, u64) {
    let after = |mark: &[u8]| {
        let at = memmem::find(&body[..body.len().min(64)], mark);
        at.map_or(0, |at| number(&body[at + mark.len()..]))
    };
    let (accepted, not) = (after(b"\"accepted\":"), after(b"\"rejected\":"));
    let refused = if not == 0 {
        0
    } else {
        memmem::find_iter(body, b"{\"status\":503").count().try_into().unwrap_or(not)
    };
    let seq = memmem::rfind(body, b"\"seq\":").map_or(0, |at| number(&body[at + 6..]));
    (Tally { accepted, refused, rejected: not.saturating_sub(refused), failed: 0 }, seq)
}

/// The digits at the start.
pub fn number(text: &[u8]) -> u64 {
    text.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |number: u64, digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn answer(status: u16, body: &str) -> Answer<'_> {
        Answer { status, body: body.as_bytes(), keeps: true }
    }

    #[test]
    fn answers_are_counted_by_message() {
        let accepted = |accepted| Tally { accepted, ..Tally::default() };
        assert_eq!(read(&answer(201, r#"{"seq":12,"id":"x"}"#), 1), (accepted(1), 12));
        assert_eq!(read(&answer(200, r#"{"seq":12,"id":"x"}"#), 1), (accepted(1), 12));
        let refused = Tally { refused: 5, ..Tally::default() };
        assert_eq!(read(&answer(503, "{}"), 5), (refused, 0));
        let rejected = Tally { rejected: 5, ..Tally::default() };
        assert_eq!(read(&answer(422, "{}"), 5), (rejected, 0));
        let mixed = r#"{"accepted":2,"rejected":2,"results":[{"status":201,"seq":7},{"status":503,"error":{}},{"status":201,"seq":9},{"status":422,"error":{}}]}"#;
        let tally = Tally { accepted: 2, refused: 1, rejected: 1, failed: 0 };
        assert_eq!(read(&answer(200, mixed), 4), (tally, 9));
    }

    #[test]
    fn latency_is_counted_from_the_intended_time_and_not_in_the_warm_up() {
        let now = Instant::now();
        let meter = Meter::new(now);
        let ago = |millis| now.checked_sub(Duration::from_millis(millis)).expect("a time");
        let early = Begin { intended: ago(50), begun: now, waited: true };
        meter.answered(early, 1, &answer(201, r#"{"seq":1}"#));
        let late = Begin { intended: now, begun: now + Duration::from_secs(1), waited: false };
        meter.answered(late, 1, &answer(201, r#"{"seq":2}"#));
        meter.failed(late, 1, &std::io::ErrorKind::UnexpectedEof.into());
        meter.look(|counted| {
            assert_eq!((counted.warmup.accepted, counted.measured.accepted), (1, 1));
            assert_eq!((counted.measured.failed, counted.late, counted.requests), (1, 2, 3));
            assert_eq!(counted.publish.millis().map(|spread| spread.count), Some(1));
            assert_eq!(counted.own_delay.millis(), None);
            assert_eq!(counted.last_seq, 2);
            assert!(counted.first_trouble.is_some());
        });
    }
}
