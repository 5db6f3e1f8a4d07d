//! A cached view of the stream: its limits, how full it is of uncommitted messages, and whether it is still
//! the same stream.
//!
//! Invariant: reading the view needs no request. A task of the bus refreshes it once per
//! [`NATS_VIEW_REFRESH`]; an ack raises the last sequence at once. Ages are measured by the server's clock,
//! because the server drops messages by it and this process's clock may be wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use super::api::StreamInfo;
use super::error::{ApiError, STREAM_NOT_FOUND};
use super::failover::FailoverTimer;
use super::requester::Requester;
use crate::bus::Usage;
use crate::clock::Clock;
use crate::limits::NATS_VIEW_REFRESH;

/// The limits and the state of the stream when last seen.
#[derive(Debug, Default)]
pub(super) struct StreamView {
    last: AtomicU64,
    /// The watermark at the last call of [`Self::share_beyond`]. The refresh task looks up the time of the
    /// first entry beyond it.
    committed: AtomicU64,
    /// Whether the stream's configuration allows atomic batches, and no batch was refused since it was read.
    pub takes_batches: Arc<AtomicBool>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    max_msgs: i64,
    max_bytes: i64,
    max_age: i64,
    duplicate_window: Duration,
    messages: u64,
    bytes: u64,
    /// Sequence and time of the oldest uncommitted entry when it was last looked up.
    oldest: Option<(u64, DateTime<Utc>)>,
    /// The server's clock, and when this process read it.
    clock: Option<(DateTime<Utc>, Instant)>,
}

impl Known {
    /// The server's time now. If the server does not report its time, the time of this process.
    fn now(&self) -> DateTime<Utc> {
        let Some((time, read)) = self.clock else { return Clock::system().now() };
        chrono::Duration::from_std(read.elapsed()).map_or(time, |since| time + since)
    }

    /// The age of the oldest entry beyond `committed`; zero if none is known.
    fn age_beyond(&self, committed: u64) -> Duration {
        let oldest = self.oldest.filter(|(seq, _)| *seq > committed);
        oldest.and_then(|(_, time)| (self.now() - time).to_std().ok()).unwrap_or_default()
    }
}

impl StreamView {
    /// Updates the view from a `STREAM.INFO` response.
    ///
    /// # Errors
    /// The configuration cannot be parsed.
    pub(super) fn learn(&self, info: &StreamInfo) -> Result<(), ApiError> {
        // Stored even if it is lower: the stream may have been rolled back.
        self.last.store(info.state.last_seq, Ordering::Relaxed);
        let config = info.parsed()?;
        self.takes_batches.store(config.allow_atomic, Ordering::Relaxed);
        let mut known = self.known.lock();
        *known = Known {
            max_msgs: config.max_msgs,
            max_bytes: config.max_bytes,
            max_age: config.max_age,
            duplicate_window: config.duplicate_window(),
            messages: info.state.messages,
            bytes: info.state.bytes,
            oldest: known.oldest,
            clock: info.server_time.map(|time| (time, Instant::now())),
        };
        Ok(())
    }

    /// Records that a message with this sequence was acknowledged.
    pub(super) fn acked(&self, seq: u64) {
        self.last.fetch_max(seq, Ordering::Relaxed);
    }

    /// How long the stream recognises a repeated id.
    pub(super) fn duplicate_window(&self) -> Duration {
        self.known.lock().duplicate_window
    }

    /// How full the stream is of entries beyond `committed`: the greatest share of any of its limits, from
    /// 0.0 to 1.0.
    pub(super) fn share_beyond(&self, committed: u64) -> f64 {
        self.committed.store(committed, Ordering::Relaxed);
        let beyond = self.last.load(Ordering::Relaxed).saturating_sub(committed);
        if beyond == 0 {
            return 0.0;
        }
        let known = self.known.lock();
        let of = |part: f64, limit: i64| if limit > 0 { part / limit as f64 } else { 0.0 };
        let messages = of(beyond as f64, known.max_msgs);
        let per_message = known.bytes as f64 / known.messages.max(1) as f64;
        let bytes = of(beyond as f64 * per_message, known.max_bytes);
        let age = of(known.age_beyond(committed).as_nanos() as f64, known.max_age);
        messages.max(bytes).max(age).min(1.0)
    }

    /// What the stream holds, and how old its oldest entry beyond `committed` is; without requests in flight.
    pub(super) fn usage(&self, committed: u64) -> Usage {
        let known = self.known.lock();
        let Known { messages, bytes, .. } = *known;
        Usage { messages, bytes, uncommitted_age: known.age_beyond(committed), requests: 0 }
    }

    /// Refreshes the view until the task is aborted. Counts in `suspicions` each time that the stream may
    /// have been lost or replaced. While NATS does not answer, the view stays as it is: then nothing can be
    /// published either.
    pub(super) async fn refresh(
        &self,
        requester: &Requester,
        stream: &str,
        suspicions: &watch::Sender<u64>,
    ) {
        let (mut seen, failover) = (Seen::default(), FailoverTimer::default());
        let mut tick = tokio::time::interval(NATS_VIEW_REFRESH);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let before = self.last.load(Ordering::Relaxed);
            let info = requester.stream_info(stream).await;
            if seen.is_lost(&info, before) {
                suspicions.send_modify(|count| *count += 1);
            }
            match info {
                Ok(info) => {
                    failover.answered();
                    if self.learn(&info).is_ok() {
                        self.look_up_oldest(requester, stream).await;
                    }
                }
                Err(ApiError::Unavailable(_)) => failover.unanswered(&requester.connection),
                Err(_) => failover.answered(),
            }
        }
    }

    /// Looks up the time of the oldest uncommitted entry: one request a second while there is one.
    async fn look_up_oldest(&self, requester: &Requester, stream: &str) {
        let committed = self.committed.load(Ordering::Relaxed);
        let current = self.known.lock().oldest;
        let needed = committed < self.last.load(Ordering::Relaxed)
            && current.is_none_or(|(seq, _)| seq <= committed);
        if needed && let Ok(Some(entry)) = requester.entry_from(stream, committed + 1).await {
            self.known.lock().oldest = Some((entry.seq, entry.logged_at));
        }
    }
}

/// What the last refresh saw, to recognise a stream that was lost, created again or rolled back.
#[derive(Default)]
struct Seen {
    epoch: Option<Uuid>,
    is_gone: bool,
    is_closed: bool,
}

impl Seen {
    /// Whether the stream was lost, replaced, closed or rolled back since the last refresh. `before` is the
    /// lowest last sequence that it can have otherwise.
    fn is_lost(&mut self, info: &Result<StreamInfo, ApiError>, before: u64) -> bool {
        let info = match info {
            Ok(info) => info,
            Err(error) => {
                let is_gone = error.is(STREAM_NOT_FOUND);
                return is_gone && !std::mem::replace(&mut self.is_gone, is_gone);
            }
        };
        let Ok(config) = info.parsed() else { return false };
        let epoch = config.epoch();
        let is_other = self.epoch.is_some() && epoch != self.epoch;
        let is_closed = config.is_closed();
        let is_newly_closed = is_closed && !self.is_closed;
        *self = Self { epoch, is_gone: false, is_closed };
        is_other || is_newly_closed || info.state.last_seq < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::nats::api::StreamState;
    use serde_json::json;

    /// A server's clock that is far from the clock of this process.
    fn server_time() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + chrono::Duration::days(365)
    }

    fn view(config: serde_json::Value, state: StreamState) -> StreamView {
        let view = StreamView::default();
        view.learn(&StreamInfo { config, state, server_time: Some(server_time()), cluster: None })
            .expect("parses");
        view
    }

    #[test]
    fn is_the_greatest_share_of_any_limit() {
        let state = StreamState { messages: 100, bytes: 1_000, first_seq: 1, last_seq: 100 };
        let config = json!({"max_msgs": 200, "max_bytes": 4_000, "max_age": 100_000_000_000_i64});
        let view = view(config, state);
        assert!((view.share_beyond(0) - 0.5).abs() < 1e-9);
        assert!((view.share_beyond(100)).abs() < 1e-9);
        view.known.lock().oldest = Some((91, server_time() - chrono::Duration::seconds(90)));
        assert!((view.share_beyond(90) - 0.9).abs() < 1e-3, "age, by the server's clock");
        assert!(
            (view.share_beyond(95) - 0.025).abs() < 1e-9,
            "the age of a committed entry does not count"
        );
        view.acked(400);
        assert!((view.share_beyond(0) - 1.0).abs() < 1e-9, "never above 1");
    }
}
