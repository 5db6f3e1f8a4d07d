//! The items that the suite measures, by name.

use std::str::FromStr;
use std::time::Duration;

use super::error::SuiteError;
use super::row::Row;
use super::testbed::Testbed;
use super::{batches, big, crowd, durable, fanout, open_loop, parts, single, streams, work};

/// A group of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// The bare parts alone.
    Parts,
    /// One message a request.
    Single,
    /// Batches.
    Batches,
    /// Latency at fixed rates.
    OpenLoop,
    /// Many subscribers of one filter.
    Fanout,
    /// Many subscribers with different filters.
    Crowd,
    /// Streams without events.
    Idle,
    /// A replay of the whole log.
    Replay,
    /// Many subscribers that resume.
    Resume,
    /// NATS that syncs every write.
    Always,
    /// The memory bus.
    Memory,
    /// Background processing.
    Processing,
    /// Work queues.
    Jobs,
    /// A large store.
    Big,
}

impl Item {
    /// Items that are measured by default.
    pub const DEFAULT: &[Self] = &[
        Self::Parts,
        Self::Single,
        Self::Batches,
        Self::OpenLoop,
        Self::Fanout,
        Self::Crowd,
        Self::Idle,
        Self::Replay,
        Self::Resume,
        Self::Always,
        Self::Memory,
        Self::Processing,
        Self::Jobs,
    ];
    /// Items that take long, measured with `--big`.
    pub const LONG: &[Self] = &[Self::Big];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parts => "parts",
            Self::Single => "single",
            Self::Batches => "batches",
            Self::OpenLoop => "open-loop",
            Self::Fanout => "fanout",
            Self::Crowd => "crowd",
            Self::Idle => "idle",
            Self::Replay => "replay",
            Self::Resume => "resume",
            Self::Always => "always",
            Self::Memory => "memory",
            Self::Processing => "processing",
            Self::Jobs => "jobs",
            Self::Big => "big",
        }
    }

    /// A short description.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Parts => "the bare parts alone: publishes, inserts, commits",
            Self::Single => "one message a request at 64 connections, without and with ids",
            Self::Batches => "batches of 500, until the store has them",
            Self::OpenLoop => "latency at 1,000 and 10,000 messages a second; 100,000 in batches",
            Self::Fanout => "1,000 subscribers of one filter",
            Self::Crowd => "5,000 subscribers, each of its own task, at 10,000 messages a second",
            Self::Idle => "memory of 10,000 idle streams",
            Self::Replay => "a replay of a million messages to one subscriber",
            Self::Resume => "2,000 subscribers that resume at once",
            Self::Always => "NATS with sync_interval: always",
            Self::Memory => "the memory bus on SQLite",
            Self::Processing => "processing with a handler that does nothing",
            Self::Jobs => "work queues, in batches",
            Self::Big => "latency and memory with 10 million stored messages and with 10 thousand",
        }
    }

    /// The time limit: about three times the usual duration on two cores.
    #[must_use]
    pub const fn time_limit(self) -> Duration {
        match self {
            Self::Big => Duration::from_secs(45 * 60),
            _ => Duration::from_secs(6 * 60),
        }
    }

    /// Measures the item.
    ///
    /// # Errors
    /// It could not be measured.
    pub(super) async fn measure(self, testbed: &Testbed) -> Result<Vec<Row>, SuiteError> {
        match self {
            Self::Parts => parts::measure(testbed).await,
            Self::Single => single::measure(testbed).await,
            Self::Batches => batches::measure(testbed).await,
            Self::OpenLoop => open_loop::measure(testbed).await,
            Self::Fanout => fanout::measure(testbed).await,
            Self::Crowd => crowd::measure(testbed).await,
            Self::Idle => streams::idle(testbed).await,
            Self::Replay => streams::replay(testbed).await,
            Self::Resume => streams::resume(testbed).await,
            Self::Always => durable::always(testbed).await,
            Self::Memory => durable::memory(testbed).await,
            Self::Processing => work::processing(testbed).await,
            Self::Jobs => work::jobs(testbed).await,
            Self::Big => big::measure(testbed).await,
        }
    }
}

impl FromStr for Item {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let mut all = Self::DEFAULT.iter().chain(Self::LONG);
        all.find(|item| item.name() == name).copied().ok_or_else(|| {
            let names: Vec<_> =
                Self::DEFAULT.iter().chain(Self::LONG).map(|item| item.name()).collect();
            format!("unknown item {name}; items: {}", names.join(", "))
        })
    }
}
