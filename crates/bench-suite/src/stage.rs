//! The servers that are measured on, and what was made there.
//!
//! Invariant: whatever is made has a name of this run (`agent-bench-…`), is remembered before it is
//! made, and is removed by [`Stage::clean_up`].

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::bare_server::{BareServer, Ground};
use super::error::SuiteError;
use crate::bare::nats::BareStream;
use crate::bare::postgres::BareDatabase;
use agentbus_bench::address::Address;
use agentbus_bench::plan::Plan;
use agentbus_bench::server::Server;
use agentbus_bench::subscribers::Listening;
use agentbus_bench::{Report, Snapshot, lag, run};

/// How long a log is filled before it is looked how full it is.
const FILL_STEP: Duration = Duration::from_secs(2);

/// What a suite is given.
#[derive(Clone, Debug)]
pub struct Options {
    /// A NATS server with JetStream and no stream of agentbus on it.
    pub nats_url: Option<String>,
    /// Another with `sync_interval: always`.
    pub nats_url_always: Option<String>,
    /// A PostgreSQL server where databases may be made.
    pub database_url: Option<String>,
    /// A folder for files, on the disk to be measured.
    pub folder: PathBuf,
    /// The program to measure.
    pub program: PathBuf,
    /// Whether each measurement is shortened, for a first look.
    pub quick: bool,
    /// Ends the run early.
    pub stop: CancellationToken,
}

/// A run's servers.
pub(super) struct Stage {
    options: Options,
    tag: String,
    next: AtomicUsize,
    made: Mutex<Made>,
    left_behind: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Made {
    streams: Vec<(String, String)>,
    databases: Vec<Arc<BareDatabase>>,
}

/// Batches of 500 over 8 connections, as fast as they are taken.
pub(super) fn batch_plan(lasts: Duration) -> Plan {
    Plan { duration: lasts, batch: 500, connections: 8, ..Plan::default() }
}

impl Stage {
    pub(super) fn new(options: Options) -> Self {
        let tag = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        Self {
            options,
            tag,
            next: AtomicUsize::new(0),
            made: Mutex::default(),
            left_behind: Mutex::default(),
        }
    }

    /// A name that nobody else uses.
    pub(super) fn name(&self, what: &str) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("agent-bench-{}-{number}-{what}", self.tag)
    }

    /// How long one measurement lasts.
    pub(super) fn lasts(&self) -> Duration {
        Duration::from_secs(if self.options.quick { 3 } else { 10 })
    }

    /// A number of messages, a tenth of it when in a hurry.
    pub(super) fn count(&self, usual: usize) -> usize {
        if self.options.quick { usual / 10 } else { usual }
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

    /// How NATS is reached.
    pub(super) fn nats(&self) -> Result<String, SuiteError> {
        let url = self.options.nats_url.as_deref().ok_or(SuiteError::Lacks("NATS_URL"))?;
        Ok(url.to_owned())
    }

    /// How the NATS that syncs every write is reached.
    pub(super) fn nats_always(&self) -> Result<String, SuiteError> {
        let url = self.options.nats_url_always.as_deref();
        Ok(url.ok_or(SuiteError::Lacks("NATS_URL_ALWAYS"))?.to_owned())
    }

    /// A bare stream of its own.
    pub(super) async fn stream(&self, nats: &str) -> Result<BareStream, SuiteError> {
        let name = self.name("bare");
        self.made().streams.push((nats.to_owned(), name.clone()));
        BareStream::make(nats, &name).await
    }

    /// A handler that only publishes, with a projector beside it or alone.
    pub(super) async fn bare_server(
        &self,
        nats: &str,
        projects: bool,
    ) -> Result<BareServer, SuiteError> {
        let database = if projects { Some(self.database().await?) } else { None };
        let stream = self.name("bare");
        self.made().streams.push((nats.to_owned(), stream.clone()));
        BareServer::start(Ground { nats: nats.to_owned(), stream, database }).await
    }

    /// A database of its own.
    pub(super) async fn database(&self) -> Result<Arc<BareDatabase>, SuiteError> {
        let url = self.options.database_url.as_deref().ok_or(SuiteError::Lacks("DATABASE_URL"))?;
        let name = self.name("db").replace('-', "_");
        let database = Arc::new(BareDatabase::named(url, &name)?);
        self.made().databases.push(Arc::clone(&database));
        database.create().await?;
        Ok(database)
    }

    /// agentbus on NATS and a database of its own.
    pub(super) async fn on_nats(
        &self,
        nats: &str,
        more: &[(&str, &str)],
    ) -> Result<(Server, Arc<BareDatabase>), SuiteError> {
        // Subjects are the server's, not a stream's: messages of the suite would reach the other's clients.
        if let Some(stream) = BareStream::taken(nats).await? {
            return Err(SuiteError::Failed(format!(
                "the NATS server has {stream}, a stream of an agentbus: name one without"
            )));
        }
        let database = self.database().await?;
        let names = ["messages", "jobs", "leases"].map(|what| self.name(what));
        self.made().streams.extend(names.iter().map(|name| (nats.to_owned(), name.clone())));
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

    /// agentbus on the memory bus and a SQLite file of its own.
    pub(super) async fn on_sqlite(&self) -> Result<Server, SuiteError> {
        self.serve(&[("MESSAGE_BUS", "memory")]).await
    }

    /// agentbus on the memory bus and a database that is there.
    pub(super) async fn on_postgres(&self, database: &BareDatabase) -> Result<Server, SuiteError> {
        self.serve(&[("MESSAGE_BUS", "memory"), ("DATABASE_URL", database.url())]).await
    }

    async fn serve(&self, env: &[(&str, &str)]) -> Result<Server, SuiteError> {
        let folder = self.options.folder.join(self.name("server"));
        Ok(Server::start(&self.options.program, folder, env).await?)
    }

    /// Puts load on a server, until it ends or the suite does.
    pub(super) async fn load(&self, address: &Address, plan: &Plan) -> Result<Report, SuiteError> {
        self.load_watched(address, plan, |_| {}).await
    }

    /// The same, for who wants to look meanwhile.
    pub(super) async fn load_watched(
        &self,
        address: &Address,
        plan: &Plan,
        look: impl FnMut(&Snapshot),
    ) -> Result<Report, SuiteError> {
        Ok(run(address, plan, &self.options.stop, look).await?)
    }

    /// Posts batches until the log holds so many messages, and the store too; gives how many it holds.
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
            let through = lag::ask(address).await?.committed_through;
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

    /// Streams of a server that are opened for themselves, with no load of ours.
    pub(super) fn listening(&self, address: &Address) -> Listening {
        Listening::untimed(address)
    }

    /// Removes what was made, and remembers what cannot be removed.
    pub(super) async fn clean_up(&self) {
        let mut left = Vec::new();
        let Made { streams, databases } = std::mem::take(&mut *self.made());
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

    /// What could not be removed, in words.
    pub(super) fn left_behind(&self) -> Vec<String> {
        self.left_behind.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn made(&self) -> std::sync::MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
