//! Every cap of the load generator, with its reason.
//!
//! Invariant: no wait, buffer or number of the generator is bounded by a number that is not named
//! here. The server's own caps live in the server's library.

use std::time::Duration;

/// Longest that one answer is waited for: above the 6 s in which the server tells an outage.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A server that does not accept a connection in this time is not there.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before a broken connection is made again, so that a server that is gone is not flooded.
pub const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes of one answer: a page of history is 8 MiB and its frame.
pub const ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// Bytes first set aside for an answer: a receipt with its head.
pub const FIRST_ANSWER_BYTES: usize = 2 * 1024;
/// Bytes that a subscriber reads at once; the buffer is its thread's.
pub const READ_BYTES: usize = 128 * 1024;
/// Bytes of the head of a stream's response. The client's parser bounds the events.
pub const HEAD_BYTES: usize = 64 * 1024;
/// Connections that are being made at once: below the backlog of common servers (1,024 on Linux, 128
/// elsewhere).
pub const CONNECTS_AT_ONCE: usize = 100;
/// Connections of senders, and of subscribers: what one address and its ports leave room for.
pub const MAX_CONNECTIONS: usize = 50_000;
/// Messages a second that can be asked for: above what loopback carries.
pub const MAX_RATE: f64 = 10_000_000.0;
/// Longest run, warm-up apart.
pub const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);
/// Tasks that messages can be spread over: five digits.
pub const MAX_TASKS: usize = 100_000;
/// Sizes that can be mixed.
pub const MAX_SIZES: usize = 16;
/// How often progress is shown and counted.
pub const TICK: Duration = Duration::from_millis(250);
/// How often the projector's place is asked for: often enough for a 99th percentile of 10 s, seldom
/// enough to cost the server under a hundredth.
pub const LAG_SAMPLE: Duration = Duration::from_millis(100);
/// Shortest time between two marks of what was acknowledged: bounds what a long run remembers.
pub const MARK_EVERY: Duration = Duration::from_millis(1);
/// How long after its end a run still begins requests whose time has passed: above the pauses that a
/// server recovers from, and short enough that a rate far beyond it ends in time.
pub const BACKLOG_PATIENCE: Duration = Duration::from_secs(5);
/// How long subscribers may lack events after the last answer.
pub const EVENTS_PATIENCE: Duration = Duration::from_secs(60);
/// Silence after which events that should come are given up: above the server's own time-outs of a
/// subscriber that it waits for.
pub const MISSING_SILENCE: Duration = Duration::from_secs(10);
/// Silence after which no more events are expected where it is not known how many there will be.
pub const EVENTS_SILENCE: Duration = Duration::from_secs(2);
/// How long the store may take to catch up after the last answer.
pub const COMMITTED_PATIENCE: Duration = Duration::from_secs(300);
/// Pause between looks whether it has.
pub const COMMITTED_LOOK: Duration = Duration::from_millis(5);
/// Share of the machine's processor time, taken by its host for others, from which on a report warns of it.
pub const STOLEN_SHARE: f64 = 0.02;
/// Above this share of requests begun late although a connection was free, or this delay of the
/// ninety-ninth, the generator itself was too slow for the figures to be the server's.
pub const OWN_DELAY: Duration = Duration::from_millis(5);
/// Share of the asked rate below which an open loop is told to have missed it.
pub const ACHIEVED_SHARE: f64 = 0.99;
/// Up to so many subscribers every event's latency is taken; beyond, one of
/// [`SAMPLED_EVENTS`] for each.
pub const ALL_EVENTS_SUBSCRIBERS: usize = 100;
/// See [`ALL_EVENTS_SUBSCRIBERS`].
pub const SAMPLED_EVENTS: u64 = 16;
/// Locks that subscribers count under: more than there are threads to meet at one.
pub const SHARDS: usize = 16;
/// Open files beside connections: logs, libraries, timers, the terminal.
pub const OTHER_FILES: usize = 100;
