//! The counters of the senders.
//!
//! Invariant: each message is counted once, by the response to its request: accepted, refused (503, may be retried),
//! rejected, or failed (no response, so the outcome is unknown). Requests with an intended time in the warm-up are
//! counted separately, and their latency is not recorded.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use memchr::memmem;
use serde::Serialize;

use super::client::{Response, describe};
use super::limits::MARK_INTERVAL;
use super::samples::Samples;

/// Messages by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// In the log (200 or 201).
    pub accepted: u64,
    /// Refused with 503.
    pub refused: u64,
    /// Refused with another status.
    pub rejected: u64,
    /// No response.
    pub failed: u64,
}

impl Tally {
    /// The sum of all outcomes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.accepted + self.refused + self.rejected + self.failed
    }

    /// Adds the counts of another tally.
    pub fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.rejected += other.rejected;
        self.failed += other.failed;
    }
}

/// The intended and the actual start of a request.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The intended start.
    pub intended: Instant,
    /// The actual start.
    pub started: Instant,
    /// Whether a connection was free at the intended time.
    pub on_time: bool,
}

/// All counters of the senders.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Messages with an intended time in the measured time.
    pub measured: Tally,
    /// Messages of the warm-up.
    pub warmup: Tally,
    /// Latency from the intended time to the response.
    pub publish: Samples,
    /// Delay of the generator: from the intended to the actual start, for requests with a free connection.
    pub own_delay: Samples,
    /// Requests that started late because no connection was free.
    pub late: u64,
    /// All requests.
    pub requests: u64,
    /// The highest sequence acknowledged.
    pub last_seq: u64,
    /// Time of the last response.
    pub last_response: Option<Instant>,
    /// Acknowledgement times and sequences, both ascending.
    pub marks: Vec<(Instant, u64)>,
    /// Text of the first refusal or failure.
    pub first_error: Option<String>,
}

/// The counters, shared by all senders.
pub struct Meter {
    /// Start of the measured time.
    from: Instant,
    counts: Mutex<Counts>,
}

impl Meter {
    /// Requests with an intended time of `from` or later are measured.
    #[must_use]
    pub fn new(from: Instant) -> Self {
        Self { from, counts: Mutex::default() }
    }

    /// Reads the counters.
    pub fn read<T>(&self, get: impl FnOnce(&Counts) -> T) -> T {
        get(&self.counts())
    }

    /// Counts the messages of a request by its response.
    pub fn record_response(&self, timing: Timing, messages: u64, response: &Response<'_>) {
        let now = Instant::now();
        let (tally, seq) = parse(response, messages);
        let mut counts = self.counts();
        self.count(&mut counts, timing, now, tally);
        counts.last_seq = counts.last_seq.max(seq);
        let last = counts.last_seq;
        let due = counts.marks.last().is_none_or(|(at, _)| now >= *at + MARK_INTERVAL);
        if due && seq > 0 {
            counts.marks.push((now, last));
        }
        if tally.accepted < messages && counts.first_error.is_none() {
            counts.first_error = Some(describe(response.status, response.body));
        }
    }

    /// Counts the messages of a request without a response.
    pub fn record_failure(&self, timing: Timing, messages: u64, why: &std::io::Error) {
        let mut counts = self.counts();
        let tally = Tally { failed: messages, ..Tally::default() };
        self.count(&mut counts, timing, Instant::now(), tally);
        counts.first_error.get_or_insert_with(|| why.to_string());
    }

    fn count(&self, counts: &mut Counts, timing: Timing, now: Instant, tally: Tally) {
        counts.requests += 1;
        counts.late += u64::from(!timing.on_time);
        counts.last_response = Some(now);
        if timing.intended < self.from {
            counts.warmup.add(tally);
            return;
        }
        counts.measured.add(tally);
        if timing.on_time {
            counts.own_delay.record_time(timing.started.saturating_duration_since(timing.intended));
        }
        if tally.failed == 0 {
            counts.publish.record_time(now.saturating_duration_since(timing.intended));
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The messages of a response by outcome, and its highest sequence.
fn parse(response: &Response<'_>, messages: u64) -> (Tally, u64) {
    match response.status {
        200 | 201 if response.body.starts_with(b"{\"seq\":") => {
            (Tally { accepted: messages, ..Tally::default() }, number(&response.body[7..]))
        }
        200 => parse_batch(response.body),
        503 => (Tally { refused: messages, ..Tally::default() }, 0),
        _ => (Tally { rejected: messages, ..Tally::default() }, 0),
    }
}

/// Parses `{"accepted":N,"rejected":M,"results":[…]}`. Sequences ascend, so the last is the highest.
fn parse_batch(body: &[u8]) -> (Tally, u64) {
    let number_after = |mark: &[u8]| {
        let at = memmem::find(&body[..body.len().min(64)], mark);
        at.map_or(0, |at| number(&body[at + mark.len()..]))
    };
    let (accepted, not_accepted) = (number_after(b"\"accepted\":"), number_after(b"\"rejected\":"));
    let refused = if not_accepted == 0 {
        0
    } else {
        memmem::find_iter(body, b"{\"status\":503").count().try_into().unwrap_or(not_accepted)
    };
    let seq = memmem::rfind(body, b"\"seq\":").map_or(0, |at| number(&body[at + 6..]));
    (Tally { accepted, refused, rejected: not_accepted.saturating_sub(refused), failed: 0 }, seq)
}

/// The number that the text starts with; 0 if there is none.
pub fn number(text: &[u8]) -> u64 {
    text.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |number: u64, digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn response(status: u16, body: &str) -> Response<'_> {
        Response { status, body: body.as_bytes(), keep_alive: true }
    }

    #[test]
    fn responses_are_counted_by_message() {
        let accepted = |accepted| Tally { accepted, ..Tally::default() };
        assert_eq!(parse(&response(201, r#"{"seq":12,"id":"x"}"#), 1), (accepted(1), 12));
        assert_eq!(parse(&response(200, r#"{"seq":12,"id":"x"}"#), 1), (accepted(1), 12));
        let refused = Tally { refused: 5, ..Tally::default() };
        assert_eq!(parse(&response(503, "{}"), 5), (refused, 0));
        let rejected = Tally { rejected: 5, ..Tally::default() };
        assert_eq!(parse(&response(422, "{}"), 5), (rejected, 0));
        let mixed = r#"{"accepted":2,"rejected":2,"results":[{"status":201,"seq":7},{"status":503,"error":{}},{"status":201,"seq":9},{"status":422,"error":{}}]}"#;
        let tally = Tally { accepted: 2, refused: 1, rejected: 1, failed: 0 };
        assert_eq!(parse(&response(200, mixed), 4), (tally, 9));
    }

    #[test]
    fn latency_is_counted_from_the_intended_time_and_not_in_the_warm_up() {
        let now = Instant::now();
        let meter = Meter::new(now);
        let ago = |millis| now.checked_sub(Duration::from_millis(millis)).expect("a time");
        let early = Timing { intended: ago(50), started: now, on_time: true };
        meter.record_response(early, 1, &response(201, r#"{"seq":1}"#));
        let late = Timing { intended: now, started: now + Duration::from_secs(1), on_time: false };
        meter.record_response(late, 1, &response(201, r#"{"seq":2}"#));
        meter.record_failure(late, 1, &std::io::ErrorKind::UnexpectedEof.into());
        meter.read(|counts| {
            assert_eq!((counts.warmup.accepted, counts.measured.accepted), (1, 1));
            assert_eq!((counts.measured.failed, counts.late, counts.requests), (1, 2, 3));
            assert_eq!(counts.publish.millis().map(|summary| summary.count), Some(1));
            assert_eq!(counts.own_delay.millis(), None);
            assert_eq!(counts.last_seq, 2);
            assert!(counts.first_error.is_some());
        });
    }
}
