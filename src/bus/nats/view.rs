//! The stream as it was last seen: its limits, how full it is of uncommitted messages, whether it is still the same.
//!
//! Invariant: asking costs no I/O. A task of the bus refreshes the view once per [`NATS_VIEW_REFRESH`]; acks raise the
//! last sequence at once. Ages are measured by the server's clock, by which it drops messages: ours may be wrong.

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
use crate::clock::Clock;
use crate::limits::NATS_VIEW_REFRESH;

/// What is known of the stream's limits and state.
#[derive(Debug, Default)]
pub(super) struct StreamView {
    last: AtomicU64,
    /// The watermark that was last asked with: the refresher looks up the time of the first entry beyond it.
    committed: AtomicU64,
    /// Whether the stream's configuration allows atomic batches and none was refused since it was read.
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
    /// Sequence and time of the oldest entry that was not committed when it was looked up.
    oldest: Option<(u64, DateTime<Utc>)>,
    /// The server's clock, and when it was read.
    clock: Option<(DateTime<Utc>, Instant)>,
}

impl Known {
    /// The server's time now; ours, if the server does not report its own.
    fn now(&self) -> DateTime<Utc> {
        let Some((time, read)) = self.clock else { return Clock::system().now() };
        chrono::Duration::from_std(read.elapsed()).map_or(time, |since| time + since)
    }
}

impl StreamView {
    /// Takes what the server reports of the stream.
    ///
    /// # Errors
    /// The configuration is not readable.
    pub(super) fn learn(&self, info: &StreamInfo) -> Result<(), ApiError> {
        // A rolled-back stream may lower it.
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

    /// A sequence was acknowledged.
    pub(super) fn acked(&self, seq: u64) {
        self.last.fetch_max(seq, Ordering::Relaxed);
    }

    /// How long the stream recognises a repeated id.
    pub(super) fn duplicate_window(&self) -> Duration {
        self.known.lock().duplicate_window
    }

    /// The greatest share of any limit that lies beyond `committed`.
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
        let age = known.oldest.filter(|(seq, _)| *seq > committed).map_or(0.0, |(_, time)| {
            let nanos = (known.now() - time).num_nanoseconds().unwrap_or(i64::MAX).max(0);
            of(nanos as f64, known.max_age)
        });
        messages.max(bytes).max(age).min(1.0)
    }

    /// Keeps the view fresh until the task is aborted, and counts in `suspicions` each time that the stream is not the
    /// one it was. While NATS does not answer the view stays as it is: nothing can be published then either.
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

/// What distinguishes a stream that was lost, recreated or rolled back from one that continues.
#[derive(Default)]
struct Seen {
    epoch: Option<Uuid>,
    is_gone: bool,
    is_closed: bool,
}

impl Seen {
    /// Whether the stream has just stopped being the one it was; `before` is the lowest last sequence that it can have.
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

    /// The server's clock: far from ours.
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
