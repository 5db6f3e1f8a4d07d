//! What can be measured, by name.

use std::str::FromStr;
use std::time::Duration;

use super::error::SuiteError;
use super::row::Row;
use super::stage::Stage;
use super::{batches, big, crowd, durable, fanout, open_loop, parts, single, streams, work};

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// The bare parts alone.
    Parts,
    /// One message a request.
    Single,
    /// Batches.
    Batches,
    /// Latency at a rate.
    OpenLoop,
    /// One message to many.
    Fanout,
    /// Each message to few of many.
    Crowd,
    /// Streams without events.
    Idle,
    /// The whole log again.
    Replay,
    /// Many that come back.
    Resume,
    /// Every write synced by NATS.
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
    /// All that are measured unless others are named.
    pub const USUAL: &[Self] = &[
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
    /// Those that take long, measured when asked for.
    pub const LONG: &[Self] = &[Self::Big];

    /// Its name on the command line.
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

    /// What it is about.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Parts => "the bare parts alone: publishes, inserts, commits",
            Self::Single => "one message a request at 64 connections, without and with ids",
            Self::Batches => "batches of 500, until the store has them",
            Self::OpenLoop => "latency at 1,000 and 10,000 messages a second; 100,000 in batches",
            Self::Fanout => "1,000 subscribers of one filter",
            Self::Crowd => "5,000 subscribers of a task each at 10,000 messages a second",
            Self::Idle => "memory of 10,000 idle streams",
            Self::Replay => "a million messages to one subscriber",
            Self::Resume => "2,000 subscribers coming back at once",
            Self::Always => "NATS with sync_interval: always",
            Self::Memory => "the memory bus on SQLite",
            Self::Processing => "a handler that does nothing",
            Self::Jobs => "work queues, in batches",
            Self::Big => "10 million stored messages against 10 thousand",
        }
    }

    /// After this time it is given up: some three times what it takes on two cores.
    #[must_use]
    pub const fn at_most(self) -> Duration {
        match self {
            Self::Big => Duration::from_secs(45 * 60),
            _ => Duration::from_secs(6 * 60),
        }
    }

    /// Measures it.
    ///
    /// # Errors
    /// Why there are no figures.
    pub(super) async fn measure(self, stage: &Stage) -> Result<Vec<Row>, SuiteError> {
        match self {
            Self::Parts => parts::measure(stage).await,
            Self::Single => single::measure(stage).await,
            Self::Batches => batches::measure(stage).await,
            Self::OpenLoop => open_loop::measure(stage).await,
            Self::Fanout => fanout::measure(stage).await,
            Self::Crowd => crowd::measure(stage).await,
            Self::Idle => streams::idle(stage).await,
            Self::Replay => streams::replay(stage).await,
            Self::Resume => streams::resume(stage).await,
            Self::Always => durable::always(stage).await,
            Self::Memory => durable::memory(stage).await,
            Self::Processing => work::processing(stage).await,
            Self::Jobs => work::jobs(stage).await,
            Self::Big => big::measure(stage).await,
        }
    }
}

impl FromStr for Item {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let mut all = Self::USUAL.iter().chain(Self::LONG);
        all.find(|item| item.name() == name).copied().ok_or_else(|| {
            let names: Vec<_> =
                Self::USUAL.iter().chain(Self::LONG).map(|item| item.name()).collect();
            format!("there is no {name}; there are {}", names.join(", "))
        })
    }
}
