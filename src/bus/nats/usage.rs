//! How full the stream is of what the store does not have yet.
//!
//! Invariant: asking costs no I/O. A task owned by the bus refreshes what is known,
//! once per [`NATS_FILL_REFRESH`]; acks raise the last sequence at once. Ages are told by the
//! clock of the server, which is the one that drops messages by it: ours may be set to any time.

use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::api::StreamInfo;
use super::error::{ApiError, STREAM_NOT_FOUND};
use super::failover::FailoverTimer;
use super::requester::Requester;
use super::{stream, write_back};
use crate::limits::NATS_FILL_REFRESH;

/// What is known of the stream's state and limits.
#[derive(Debug, Default)]
pub(super) struct StreamUsage {
    last: AtomicU64,
    /// What was asked about last: whose successor's time the refresher looks up.
    committed: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    max_msgs: i64,
    max_bytes: i64,
    max_age: i64,
    messages: u64,
    bytes: u64,
    /// Sequence and time of the oldest entry that was not committed when it was looked up.
    oldest: Option<(u64, DateTime<Utc>)>,
    /// The server's clock, and when it was read.
    clock: Option<(DateTime<Utc>, Instant)>,
}

impl Known {
    /// The server's time now; ours, from a server that does not tell its own.
    fn now(&self) -> DateTime<Utc> {
        let Some((told, read)) = self.clock else { return Utc::now() };
        chrono::Duration::from_std(read.elapsed()).map_or(told, |since| told + since)
    }
}

impl StreamUsage {
    /// Takes what the stream tells of itself.
    pub(super) fn learn(&self, info: &StreamInfo) {
        // A rolled-back stream may lower it, so acks alone would not do.
        self.last.store(info.state.last_seq, Ordering::Relaxed);
        let Ok(config) = info.parsed() else { return };
        let mut known = self.known();
        known.max_msgs = config.max_msgs;
        known.max_bytes = config.max_bytes;
        known.max_age = config.max_age;
        known.messages = info.state.messages;
        known.bytes = info.state.bytes;
        known.clock = info.server_time.map(|told| (told, Instant::now()));
    }

    /// A sequence was acknowledged.
    pub(super) fn acked(&self, seq: u64) {
        self.last.fetch_max(seq, Ordering::Relaxed);
    }

    /// The greatest share of any limit that lies beyond `committed`.
    pub(super) fn share(&self, committed: u64) -> f64 {
        self.committed.store(committed, Ordering::Relaxed);
        let beyond = self.last.load(Ordering::Relaxed).saturating_sub(committed);
        if beyond == 0 {
            return 0.0;
        }
        let known = self.known();
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

    /// Retention it fresh for as long as the task is not aborted, and counts in `suspicions` whenever the
    /// stream is not the one it was. A bus that cannot be asked leaves it as it was: nothing can be
    /// published to that either.
    pub(super) async fn refresh(
        &self,
        requester: &Requester,
        stream: &str,
        suspicions: &watch::Sender<u64>,
    ) {
        let (mut sound, failover) = (Sound::default(), FailoverTimer::default());
        let mut tick = tokio::time::interval(NATS_FILL_REFRESH);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let before = self.last.load(Ordering::Relaxed);
            let info = requester.stream_info(stream).await;
            if sound.is_lost(&info, before) {
                suspicions.send_modify(|count| *count += 1);
            }
            match info {
                Ok(info) => {
                    failover.answered();
                    self.learn(&info);
                    self.look_up_oldest(requester, stream).await;
                }
                Err(ApiError::Unavailable(_)) => failover.unanswered(&requester.connection),
                Err(_) => failover.answered(),
            }
        }
    }

    /// The age of the oldest uncommitted entry needs its time: one fetch a second while there is one.
    async fn look_up_oldest(&self, requester: &Requester, stream: &str) {
        let committed = self.committed.load(Ordering::Relaxed);
        let current = self.known().oldest;
        let needed = committed < self.last.load(Ordering::Relaxed)
            && current.is_none_or(|(seq, _)| seq <= committed);
        if needed && let Ok(Some(entry)) = requester.entry_from(stream, committed + 1).await {
            self.known().oldest = Some((entry.seq, entry.logged_at));
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }
}

/// What tells a stream that was lost, made anew or rolled back from one that went on.
#[derive(Default)]
struct Sound {
    epoch: Option<Uuid>,
    gone: bool,
    shut: bool,
}

impl Sound {
    /// Whether the stream has just stopped being the one it was; `before` is what it had at least.
    fn is_lost(&mut self, info: &Result<StreamInfo, ApiError>, before: u64) -> bool {
        let info = match info {
            Ok(info) => info,
            Err(error) => {
                let gone = error.is(STREAM_NOT_FOUND);
                return gone && !std::mem::replace(&mut self.gone, gone);
            }
        };
        let Ok(config) = info.parsed() else { return false };
        let epoch = stream::epoch(&config);
        let changed = self.epoch.is_some() && epoch != self.epoch;
        let shut = write_back::is_shut(&config);
        let newly_shut = shut && !self.shut;
        *self = Self { epoch, gone: false, shut };
        changed || newly_shut || info.state.last_seq < before
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

    fn fill(config: serde_json::Value, state: StreamState) -> StreamUsage {
        let fill = StreamUsage::default();
        fill.learn(&StreamInfo { config, state, server_time: Some(server_time()), cluster: None });
        fill
    }

    #[test]
    fn is_the_greatest_share_of_any_limit() {
        let state = StreamState { messages: 100, bytes: 1_000, first_seq: 1, last_seq: 100 };
        let config = json!({"max_msgs": 200, "max_bytes": 4_000, "max_age": 100_000_000_000_i64});
        let fill = fill(config, state);
        assert!((fill.share(0) - 0.5).abs() < 1e-9);
        assert!((fill.share(100)).abs() < 1e-9);
        fill.known().oldest = Some((91, server_time() - chrono::Duration::seconds(90)));
        assert!((fill.share(90) - 0.9).abs() < 1e-3, "age, by the server's clock");
        assert!(
            (fill.share(95) - 0.025).abs() < 1e-9,
            "an age of what is committed counts no more"
        );
        fill.acked(400);
        assert!((fill.share(0) - 1.0).abs() < 1e-9, "never above 1");
    }
}
