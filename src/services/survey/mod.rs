//! Reads for the metrics what a scrape must not: the state of consumers, queues, inboxes, of the parts of this server
//! and of its files.
//!
//! Invariant: a scrape renders what was read last and does no I/O on bus or store. One task reads, a page of names a
//! round, and then pauses for [`SURVEY_SHARE`] times as long as that took, within bounds. While bus or store do not
//! answer, the last values stay, and metrics say how old they are. Whether the parts work is asked apart from that, and
//! so are the files: no slow read or disk delays it.

mod inboxes;
mod sweep;
mod tables;

use std::sync::Arc;

use futures_util::future::join3;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::health::Health;
use crate::clock::Clock;
use crate::limits::{SURVEY_LONGEST_PAUSE, SURVEY_PAGE, SURVEY_PAUSE, SURVEY_SHARE, SURVEY_WAIT};
use crate::processor::Processor;
use crate::queues::Queues;
use crate::store::{Store, StoreFiles};
use crate::telemetry::process;
use crate::telemetry::text::{Family, Kind};
use inboxes::InboxSweep;
use sweep::Sweep;

/// Reads what costs requests, and renders what it has read.
pub struct Survey {
    pub(super) processor: Arc<Processor>,
    pub(super) queues: Arc<dyn Queues>,
    pub(super) store: Arc<dyn Store>,
    pub(super) health: Arc<Health>,
    pub(super) clock: Clock,
    read: Mutex<Read>,
}

/// What was read last.
#[derive(Default)]
struct Read {
    consumers: Seen<tables::Consumers>,
    queues: Seen<tables::Queues>,
    inboxes: Seen<tables::Inboxes>,
    files: Option<StoreFiles>,
    open_files: Option<u64>,
}

/// Rows, and when they were complete: at the start of the server there are none.
struct Seen<T> {
    rows: T,
    at: Instant,
}

impl<T> Seen<T> {
    fn now(rows: T) -> Self {
        Self { rows, at: Instant::now() }
    }
}

impl<T: Default> Default for Seen<T> {
    fn default() -> Self {
        Self::now(T::default())
    }
}

const AGE: Family = Family(
    "agentbus_survey_age_seconds",
    Kind::Gauge,
    "Time since consumers, queues or inboxes were last read whole, or since the start",
);

impl Survey {
    pub(super) fn new(
        processor: Arc<Processor>,
        queues: Arc<dyn Queues>,
        store: Arc<dyn Store>,
        health: Arc<Health>,
        clock: Clock,
    ) -> Self {
        Self { processor, queues, store, health, clock, read: Mutex::default() }
    }

    /// Reads, round after round, until cancelled.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) {
        let parts = async {
            loop {
                self.health.observe().await;
                sleep(SURVEY_PAUSE).await;
            }
        };
        let files = async {
            loop {
                self.read_files().await;
                sleep(SURVEY_PAUSE).await;
            }
        };
        let rounds = async {
            let mut queues = tables::queue_sweep();
            let mut inboxes = InboxSweep::default();
            loop {
                let begun = Instant::now();
                limited("consumers", self.read_consumers()).await;
                limited("queues", self.read_queues(&mut queues)).await;
                limited("inboxes", self.read_inboxes(&mut inboxes)).await;
                let pause = begun.elapsed() * SURVEY_SHARE;
                sleep(pause.clamp(SURVEY_PAUSE, SURVEY_LONGEST_PAUSE)).await;
            }
        };
        cancel.run_until_cancelled(join3(parts, files, rounds)).await;
    }

    async fn read_files(&self) {
        let store = Arc::clone(&self.store);
        let read = tokio::task::spawn_blocking(move || (store.files(), process::open_files()));
        if let Ok((files, open_files)) = read.await {
            let mut read = self.read.lock();
            (read.files, read.open_files) = (files, open_files);
        }
    }

    async fn read_consumers(&self) -> Result<(), String> {
        let all = self.processor.consumers().await.map_err(|error| error.to_string())?;
        self.read.lock().consumers = Seen::now(all.into_iter().map(tables::consumer).collect());
        Ok(())
    }

    async fn read_queues(&self, sweep: &mut Sweep<5>) -> Result<(), String> {
        let page = self.queues.list(sweep.after.as_deref(), SURVEY_PAGE).await;
        let page = page.map_err(|error| error.to_string())?;
        let is_last = page.len() < SURVEY_PAGE;
        if let Some(rows) = sweep.add(page.into_iter().map(tables::queue).collect(), is_last) {
            self.read.lock().queues = Seen::now(rows);
        }
        Ok(())
    }

    async fn read_inboxes(&self, inboxes: &mut InboxSweep) -> Result<(), String> {
        let done = inboxes.read_on(&*self.store, self.clock.now()).await;
        if let Some(rows) = done.map_err(|error| error.to_string())? {
            self.read.lock().inboxes = Seen::now(rows);
        }
        Ok(())
    }

    /// Appends what was read, in Prometheus's text format.
    pub(super) fn write(&self, text: &mut String) {
        let read = self.read.lock();
        tables::write_consumers(text, &read.consumers.rows);
        tables::write_queues(text, &read.queues.rows);
        tables::write_inboxes(text, &read.inboxes.rows);
        tables::write_files(text, read.files);
        let ages = [
            ("of=\"consumers\"", read.consumers.at),
            ("of=\"queues\"", read.queues.at),
            ("of=\"inboxes\"", read.inboxes.at),
        ];
        AGE.write(text, ages.map(|(of, at)| (of, at.elapsed().as_secs_f64())));
        process::write(text, read.open_files);
    }
}

/// Reads within [`SURVEY_WAIT`], and counts a fault if that fails.
async fn limited(of: &'static str, reading: impl Future<Output = Result<(), String>>) {
    let fault = match tokio::time::timeout(SURVEY_WAIT, reading).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error,
        Err(_) => format!("no answer within {} s", SURVEY_WAIT.as_secs()),
    };
    tracing::debug!(of, error = fault, "the metrics keep their last values");
    metrics::counter!("agentbus_survey_faults_total", "of" => of).increment(1);
}
