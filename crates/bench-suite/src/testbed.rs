//! The servers of a run, and what it creates on them.
//!
//! Invariant: each stream and database has a name of this run (`agent-bench-…`), is recorded before it is created, and is
//! removed by [`Testbed::clean_up`].

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::error::SuiteError;
use crate::bare::host::BareHost;
use crate::bare::nats::BareStream;
use crate::bare::postgres::BareDatabase;
use crate::bare::server::{self, BareServerConfig};
use agentbus_bench::address::Address;
use agentbus_bench::plan::Plan;
use agentbus_bench::server::Server;
use agentbus_bench::{Report, Snapshot, lag, run};

/// Duration of one load of [`Testbed::fill`].
const FILL_STEP: Duration = Duration::from_secs(2);

/// Longest wait for a replay, for processing or for jobs.
pub(super) const WAIT_TIMEOUT: Duration = Duration::from_secs(180);
/// Interval of the checks of [`wait_for`].
const WAIT_POLL: Duration = Duration::from_millis(2);

/// Polls until `is_done`.
///
/// # Errors
/// That takes longer than [`WAIT_TIMEOUT`].
pub(super) async fn wait_for(is_done: impl Fn() -> bool, what: &str) -> Result<(), SuiteError> {
    let started = Instant::now();
    while !is_done() {
        if started.elapsed() > WAIT_TIMEOUT {
            return Err(SuiteError::Failed(format!("{what} took longer than {WAIT_TIMEOUT:?}")));
        }
        tokio::time::sleep(WAIT_POLL).await;
    }
    Ok(())
}

/// The options of the suite.
#[derive(Clone, Debug)]
pub struct Options {
    /// A NATS server with JetStream and no stream of agentbus on it.
    pub nats_url: Option<String>,
    /// Another NATS server, with `sync_interval: always`.
    pub nats_url_always: Option<String>,
    /// A PostgreSQL server where the user may create databases.
    pub database_url: Option<String>,
    /// A folder for files, on the disk to measure.
    pub folder: PathBuf,
    /// The agentbus program to measure.
    pub program: PathBuf,
    /// Whether measurements are shortened, for rough figures.
    pub quick: bool,
    /// Ends the run early.
    pub stop: CancellationToken,
}

/// The servers of a run.
pub(super) struct Testbed {
    options: Options,
    tag: String,
    next: AtomicUsize,
    created: Mutex<Created>,
    left_behind: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Created {
    streams: Vec<(String, String)>,
    databases: Vec<Arc<BareDatabase>>,
}

/// Batches of 500 over 8 connections, in a closed loop.
pub(super) fn batch_plan(duration: Duration) -> Plan {
    Plan { duration, batch: 500, connections: 8, ..Plan::default() }
}

impl Testbed {
    pub(super) fn new(options: Options) -> Self {
        let tag = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        Self {
            options,
            tag,
            next: AtomicUsize::new(0),
            created: Mutex::default(),
            left_behind: Mutex::default(),
        }
    }

    /// A unique name.
    pub(super) fn name(&self, what: &str) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("agent-bench-{}-{number}-{what}", self.tag)
    }

    /// Duration of one measurement.
    pub(super) fn duration(&self) -> Duration {
        Duration::from_secs(if self.options.quick { 3 } else { 10 })
    }

    /// A number of messages, with `quick` a tenth of it.
    pub(super) fn count(&self, full: usize) -> usize {
        if self.options.quick { full / 10 } else { full }
    }

    /// A folder for files.
    pub(super) fn folder(&self) -> &Path {
        &self.options.folder
    }

    pub(super) async fn stopped(&self) {
        self.options.stop.cancelled().await;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.options.stop.is_cancelled()
    }

    /// Address of NATS.
    pub(super) fn nats(&self) -> Result<String, SuiteError> {
        let url = self.options.nats_url.as_deref().ok_or(SuiteError::NotGiven("NATS_URL"))?;
        Ok(url.to_owned())
    }

    /// Address of the NATS server that syncs every write.
    pub(super) fn nats_always(&self) -> Result<String, SuiteError> {
        let url = self.options.nats_url_always.as_deref();
        Ok(url.ok_or(SuiteError::NotGiven("NATS_URL_ALWAYS"))?.to_owned())
    }

    /// Creates a stream.
    pub(super) async fn stream(&self, nats: &str) -> Result<BareStream, SuiteError> {
        let name = self.name("bare");
        self.created().streams.push((nats.to_owned(), name.clone()));
        BareStream::create(nats, &name).await
    }

    /// Starts a server whose handler only publishes, with or without a projector.
    pub(super) async fn bare_server(
        &self,
        nats: &str,
        with_projector: bool,
    ) -> Result<BareHost, SuiteError> {
        let database = if with_projector { Some(self.database().await?) } else { None };
        let stream = self.name("bare");
        self.created().streams.push((nats.to_owned(), stream.clone()));
        server::start(BareServerConfig { nats_url: nats.to_owned(), stream, database }).await
    }

    /// Creates a database.
    pub(super) async fn database(&self) -> Result<Arc<BareDatabase>, SuiteError> {
        let url =
            self.options.database_url.as_deref().ok_or(SuiteError::NotGiven("DATABASE_URL"))?;
        let name = self.name("db").replace('-', "_");
        let database = Arc::new(BareDatabase::named(url, &name)?);
        self.created().databases.push(Arc::clone(&database));
        database.create().await?;
        Ok(database)
    }

    /// Starts agentbus on NATS and a new database.
    pub(super) async fn on_nats(
        &self,
        nats: &str,
        more: &[(&str, &str)],
    ) -> Result<(Server, Arc<BareDatabase>), SuiteError> {
        // Subjects belong to the NATS server: clients of the other agentbus would receive the suite's messages.
        if let Some(stream) = BareStream::find_agentbus(nats).await? {
            return Err(SuiteError::Failed(format!(
                "the NATS server has {stream}, a stream of an agentbus: use a server without one"
            )));
        }
        let database = self.database().await?;
        let names = ["messages", "jobs", "leases"].map(|what| self.name(what));
        self.created().streams.extend(names.iter().map(|name| (nats.to_owned(), name.clone())));
        let mut env = vec![
            ("MESSAGE_BUS", "nats"),
            ("NATS_URL", nats),
            ("DATABASE_URL", database.url()),
            ("NATS_STREAM_NAME", &names[0]),
            ("NATS_JOBS_STREAM_NAME", &names[1]),
            ("NATS_LEASES_STREAM_NAME", &names[2]),
        ];
        env.extend_from_slice(more);
        let server = self.serve(&env).await?;
        Ok((server, database))
    }

    /// Starts agentbus on the memory bus and a new SQLite file, with these further settings.
    pub(super) async fn on_sqlite(&self, more: &[(&str, &str)]) -> Result<Server, SuiteError> {
        self.serve(&[&[("MESSAGE_BUS", "memory")], more].concat()).await
    }

    /// Starts agentbus on the memory bus and this database.
    pub(super) async fn on_postgres(&self, database: &BareDatabase) -> Result<Server, SuiteError> {
        self.serve(&[("MESSAGE_BUS", "memory"), ("DATABASE_URL", database.url())]).await
    }

    async fn serve(&self, env: &[(&str, &str)]) -> Result<Server, SuiteError> {
        let folder = self.options.folder.join(self.name("server"));
        Ok(Server::start(&self.options.program, folder, env).await?)
    }

    /// Puts load on a server until the plan or the suite ends.
    pub(super) async fn load(&self, address: &Address, plan: &Plan) -> Result<Report, SuiteError> {
        self.load_with_progress(address, plan, |_| {}).await
    }

    /// The same, with progress snapshots.
    pub(super) async fn load_with_progress(
        &self,
        address: &Address,
        plan: &Plan,
        progress: impl FnMut(&Snapshot),
    ) -> Result<Report, SuiteError> {
        Ok(run(address, plan, &self.options.stop, progress).await?)
    }

    /// Posts batches until the store has this many messages; returns the last sequence in the store.
    pub(super) async fn fill(
        &self,
        address: &Address,
        messages: usize,
        tasks: usize,
    ) -> Result<u64, SuiteError> {
        let plan = Plan {
            duration: FILL_STEP,
            warmup: Duration::ZERO,
            tasks,
            watch_lag: false,
            ..batch_plan(FILL_STEP)
        };
        loop {
            let through = lag::position(address).await?.committed_through;
            if through >= messages as u64 {
                return Ok(through);
            }
            let report = self.load(address, &plan).await?;
            if report.messages.accepted == 0 {
                let why = report.first_trouble.unwrap_or_default();
                return Err(SuiteError::Failed(format!("nothing was accepted: {why}")));
            }
        }
    }

    /// Removes all streams and databases, and records those that cannot be removed.
    pub(super) async fn clean_up(&self) {
        let mut left = Vec::new();
        let Created { streams, databases } = std::mem::take(&mut *self.created());
        for (nats, name) in streams {
            if let Err(error) = BareStream::delete(&nats, &name).await {
                left.push(format!("stream {name} is left behind: {error}"));
            }
        }
        for database in databases {
            if let Err(error) = database.remove().await {
                left.push(format!("database {} is left behind: {error}", database.name()));
            }
        }
        self.left_behind.lock().unwrap_or_else(PoisonError::into_inner).extend(left);
    }

    /// A text for each stream or database that could not be removed.
    pub(super) fn left_behind(&self) -> Vec<String> {
        self.left_behind.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn created(&self) -> std::sync::MutexGuard<'_, Created> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
