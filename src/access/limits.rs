//! Limits of a key, and what it has used of them on this server (contract, section 11).
//!
//! Invariant: a limit that is absent does not limit, and costs nothing. All principals of a key share what is used.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, NaiveDate, Utc};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use serde::Serialize;

use crate::message::ObjectReader;

/// The most that a key may do, on each server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KeyLimits {
    /// Requests in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_s: Option<u32>,
    /// Messages and jobs in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_per_s: Option<u32>,
    /// Bytes of messages and jobs in a day (UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_day: Option<u64>,
    /// Streams that are open at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams: Option<u32>,
}

impl KeyLimits {
    /// Reads the members of `limits`.
    pub fn parse(object: &mut ObjectReader<'_>) -> Option<Self> {
        let mut whole = |name| object.whole(name, 1, u64::from(u32::MAX));
        let small = |value: Option<u64>| value.and_then(|value| u32::try_from(value).ok());
        let (requests, messages, streams) =
            (whole("requests_per_s"), whole("messages_per_s"), whole("streams"));
        Some(Self {
            requests_per_s: small(requests),
            messages_per_s: small(messages),
            bytes_per_day: object.whole("bytes_per_day", 1, 1 << 53),
            streams: small(streams),
        })
    }

    /// Whether `other` allows no more.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        fn within<T: PartialOrd>(most: Option<T>, wanted: Option<T>) -> bool {
            most.is_none_or(|most| wanted.is_some_and(|wanted| wanted <= most))
        }
        within(self.requests_per_s, other.requests_per_s)
            && within(self.messages_per_s, other.messages_per_s)
            && within(self.bytes_per_day, other.bytes_per_day)
            && within(self.streams, other.streams)
    }
}

/// A limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Its name.
    pub limit: &'static str,
    /// Seconds until more is allowed.
    pub retry_after_s: u64,
    /// Whether the amount is more than the limit ever allows at once.
    pub is_too_much: bool,
}

/// What a key has used of its limits.
#[derive(Debug)]
pub struct Meter {
    limits: KeyLimits,
    requests: Option<DefaultDirectRateLimiter>,
    messages: Option<DefaultDirectRateLimiter>,
    /// The bytes of one day.
    bytes: Mutex<(NaiveDate, u64)>,
    streams: AtomicU64,
}

/// An open stream of a key with a limit of streams. Dropping it returns it.
#[derive(Debug)]
pub struct StreamPermit(Arc<Meter>);

impl Meter {
    /// A meter of which nothing is used.
    #[must_use]
    pub fn new(limits: KeyLimits) -> Self {
        let limiter = |per_s: Option<u32>| {
            let quota = per_s.and_then(NonZeroU32::new).map(Quota::per_second);
            quota.map(RateLimiter::direct)
        };
        Self {
            requests: limiter(limits.requests_per_s),
            messages: limiter(limits.messages_per_s),
            bytes: Mutex::default(),
            streams: AtomicU64::new(0),
            limits,
        }
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> KeyLimits {
        self.limits
    }

    /// Counts a request.
    ///
    /// # Errors
    /// There were as many as allowed in this second.
    pub fn request(&self) -> Result<(), Reached> {
        take(self.requests.as_ref(), 1, "requests_per_s")
    }

    /// Counts messages or jobs, and their bytes.
    ///
    /// # Errors
    /// There were as many as allowed in this second or on this day.
    pub fn publish(&self, count: usize, bytes: usize, now: DateTime<Utc>) -> Result<(), Reached> {
        take(self.messages.as_ref(), count, "messages_per_s")?;
        let Some(most) = self.limits.bytes_per_day else { return Ok(()) };
        let (today, bytes) = (now.date_naive(), bytes as u64);
        let mut used = self.bytes.lock();
        if used.0 != today {
            *used = (today, 0);
        }
        if used.1 + bytes > most {
            let midnight = (today + chrono::Days::new(1)).and_time(chrono::NaiveTime::MIN);
            let left = (midnight.and_utc() - now).num_seconds().max(1);
            let retry_after_s = u64::try_from(left).unwrap_or(1);
            return Err(Reached {
                limit: "bytes_per_day",
                retry_after_s,
                is_too_much: bytes > most,
            });
        }
        used.1 += bytes;
        Ok(())
    }

    /// Counts a stream; `None` if the key has no limit of streams.
    ///
    /// # Errors
    /// As many are open as allowed.
    pub fn stream(self: &Arc<Self>) -> Result<Option<StreamPermit>, Reached> {
        let Some(most) = self.limits.streams else { return Ok(None) };
        let open = self.streams.fetch_add(1, Ordering::Relaxed);
        let permit = StreamPermit(Arc::clone(self));
        if open >= u64::from(most) {
            return Err(Reached { limit: "streams", retry_after_s: 1, is_too_much: false });
        }
        Ok(Some(permit))
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

fn take(
    limiter: Option<&DefaultDirectRateLimiter>,
    count: usize,
    limit: &'static str,
) -> Result<(), Reached> {
    let Some(limiter) = limiter else { return Ok(()) };
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let Some(count) = NonZeroU32::new(count) else { return Ok(()) };
    match limiter.check_n(count) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(until)) => {
            let wait = until.wait_time_from(DefaultClock::default().now());
            Err(Reached { limit, retry_after_s: wait.as_secs() + 1, is_too_much: false })
        }
        Err(_) => Err(Reached { limit, retry_after_s: 1, is_too_much: true }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(json: &str) -> KeyLimits {
        let mut object = ObjectReader::parse(json.as_bytes()).expect("an object");
        let read = KeyLimits::parse(&mut object);
        object.finish("limits", read).expect("valid")
    }

    fn meter(json: &str) -> Arc<Meter> {
        Arc::new(Meter::new(limits(json)))
    }

    fn at(text: &str) -> DateTime<Utc> {
        crate::message::parse_rfc3339(text).expect("a time")
    }

    #[test]
    fn a_limit_is_reached_and_ends() {
        let meter = meter(r#"{"messages_per_s":5,"bytes_per_day":100,"requests_per_s":1}"#);
        let now = at("2026-11-30T23:00:00Z");
        assert_eq!(meter.publish(5, 60, now), Ok(()));
        let over = meter.publish(1, 1, now).expect_err("five were published");
        assert_eq!((over.limit, over.is_too_much), ("messages_per_s", false));
        assert!(meter.publish(6, 1, now).expect_err("never").is_too_much);
        assert!(meter.request().is_ok() && meter.request().is_err());
        let meter = self::meter(r#"{"bytes_per_day":100}"#);
        assert_eq!(meter.publish(9, 60, now), Ok(()));
        let over = meter.publish(1, 60, now).expect_err("over the day's bytes");
        assert_eq!((over.limit, over.retry_after_s), ("bytes_per_day", 3_600));
        assert_eq!(meter.publish(1, 40, now), Ok(()));
        assert_eq!(meter.publish(1, 100, at("2026-12-01T00:00:00Z")), Ok(()));
    }

    #[test]
    fn a_stream_that_ends_makes_room_for_another() {
        let meter = meter(r#"{"streams":2}"#);
        let (one, two) = (meter.stream().expect("room"), meter.stream().expect("room"));
        assert_eq!(meter.stream().err().map(|over| over.limit), Some("streams"));
        drop(one);
        let three = meter.stream().expect("room");
        assert!(meter.stream().is_err());
        drop((two, three));
        assert!(self::meter("{}").stream().expect("no limit").is_none());
    }

    #[test]
    fn limits_lie_within_wider_ones() {
        let wide = limits(r#"{"messages_per_s":5,"streams":2}"#);
        assert!(wide.covers(&limits(r#"{"messages_per_s":5,"streams":1,"bytes_per_day":1}"#)));
        for wider in [r#"{"messages_per_s":6,"streams":2}"#, r#"{"messages_per_s":5}"#, "{}"] {
            assert!(!wide.covers(&limits(wider)), "{wider}");
        }
        assert!(KeyLimits::default().covers(&wide));
        for wrong in [r#"{"streams":0}"#, r#"{"streams":-1}"#, r#"{"requests_per_s":5000000000}"#] {
            let mut object = ObjectReader::parse(wrong.as_bytes()).expect("an object");
            let read = KeyLimits::parse(&mut object);
            assert!(object.finish("limits", read).is_err(), "{wrong}");
        }
    }
}
