//! PostgreSQL servers: one that the tests of a binary share, and others that a test may kill or freeze.
//!
//! They sync to disk as in production, since tests kill them and check what was stored.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::sync::OnceCell;

use super::folder::{Folder, Log};
use super::process::{Process, Slot, Spec, User};
use super::{ports, programs, wait};

const INITDB: Duration = Duration::from_secs(60);
/// Time limit for a start, with recovery after a crash.
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(30);
/// The most connections. Every agentbus server keeps 22, and dozens of servers share one PostgreSQL while
/// many tests run.
const MAX_CONNECTIONS: u16 = 1_000;

/// One PostgreSQL server with its databases. Dropped, it is killed and its files are removed.
pub struct Postgres {
    port: u16,
    data: PathBuf,
    user: Option<User>,
    env: Vec<(String, String)>,
    // Before the log and the folder: fields are dropped in this order.
    process: Slot,
    log: Log,
    folder: Folder,
}

impl Postgres {
    /// The server that all tests of this binary share; no test may stop it. It ends with the test process.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// Starts a server for one test.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server for one test, with these variables in its environment.
    pub async fn start_with(env: &[(&str, &str)]) -> Self {
        ports::claim("PostgreSQL", async |port| Self::start_on(port, env).await).await
    }

    /// Creates an empty database, and returns its address.
    pub async fn database(&self) -> String {
        self.create_database("").await
    }

    /// Creates an empty database with its files in this empty folder, and returns its address.
    pub async fn database_in(&self, folder: &Path) -> String {
        if let Some(User { uid, gid }) = self.user {
            std::os::unix::fs::chown(folder, Some(uid), Some(gid))
                .expect("change the owner of the folder");
        }
        let space = format!("CREATE TABLESPACE apart LOCATION '{}'", folder.display());
        let mut connection = self.connect().await;
        connection.execute(AssertSqlSafe(space)).await.expect("create a tablespace");
        connection.close().await.expect("close the connection");
        self.create_database("TABLESPACE apart").await
    }

    /// Starts a streaming replica, whose files `copy` puts into the folder that it gets, as this user.
    pub async fn replica(copy: impl AsyncFn(&Path, Option<User>)) -> Self {
        ports::claim("PostgreSQL", async |port| {
            let postgres = Self::prepare(port);
            copy(&postgres.data, postgres.user).await;
            postgres.boot().await.map(|()| postgres)
        })
        .await
    }

    /// The address of the database of the same name in this server.
    pub fn same_database(&self, url: &str) -> String {
        self.url(url.rsplit_once('/').expect("a database").1)
    }

    /// The folder of its files, and the user that they belong to.
    pub fn files(&self) -> (&Path, Option<User>) {
        (&self.data, self.user)
    }

    async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url("postgres")).await.expect("connect to PostgreSQL")
    }

    async fn create_database(&self, options: &str) -> String {
        let name = format!("test_{:016x}", fastrand::u64(..));
        let mut connection = self.connect().await;
        let create = AssertSqlSafe(format!("CREATE DATABASE {name} {options}"));
        connection.execute(create).await.expect("create a database");
        connection.close().await.expect("close the connection");
        self.url(&name)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Ends the server cleanly by SIGINT, its fast shutdown: after SIGTERM it would wait until the last
    /// client has left.
    pub async fn stop_gracefully(&self) {
        let process = self.process.take();
        process.signal("INT", &[process.pid()]);
        process.exit(STOP).await.expect("PostgreSQL ends when asked");
    }

    /// Kills the server and its backends with SIGKILL.
    pub fn kill9(&self) {
        self.process.take().kill9();
    }

    /// Starts the server again on the same port and files; a running one is stopped first.
    pub async fn restart(&self) {
        if self.is_running() {
            self.stop_gracefully().await;
        }
        // A start fails for some milliseconds, while a killed backend still has the old shared
        // memory.
        let mut last = String::new();
        let started =
            wait::poll(START, async || self.boot().await.map_err(|error| last = error).ok()).await;
        assert!(started.is_some(), "PostgreSQL does not start again: {last}");
    }

    /// Freezes the server and its backends: connections stay open, and get no response.
    pub fn pause(&self) {
        self.process.with(Process::pause);
    }

    /// Continues a frozen server.
    pub fn resume(&self) {
        self.process.with(Process::resume);
    }

    /// Whether the server was started and neither stopped nor killed since.
    pub fn is_running(&self) -> bool {
        self.process.is_running()
    }

    async fn start_on(port: u16, env: &[(&str, &str)]) -> Result<Self, String> {
        let mut postgres = Self::prepare(port);
        postgres.initdb().await;
        postgres.env = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        postgres.boot().await?;
        Ok(postgres)
    }

    /// A server that is not started and has no files.
    fn prepare(port: u16) -> Self {
        let folder = Folder::new("postgres");
        let user = user_for_root();
        if let Some(User { uid, gid }) = user {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid))
                .expect("change the owner of the folder");
        }
        let log = Log::new("PostgreSQL", folder.join("log"));
        let (data, process) = (folder.join("data"), Slot::default());
        Self { port, data, user, env: Vec::new(), process, log, folder }
    }

    async fn initdb(&self) {
        let data = self.data.display().to_string();
        let options = [
            "--no-sync",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "-U",
            "postgres",
            "-D",
            &data,
        ];
        let process = self.run("initdb", options.map(str::to_owned).to_vec());
        let status = process.exit(INITDB).await;
        assert!(
            status.is_some_and(|status| status.success()),
            "initdb: {status:?}\n{}",
            self.log.tail()
        );
    }

    async fn boot(&self) -> Result<(), String> {
        let mut args = vec!["-D".to_owned(), self.data.display().to_string()];
        let settings = [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".to_owned(),
            // No Unix sockets: the path of one in a temporary folder can be too long.
            "unix_socket_directories=".to_owned(),
            format!("max_connections={MAX_CONNECTIONS}"),
            "timezone=UTC".to_owned(),
        ];
        args.extend(settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]));
        let process = self.run("postgres", args);
        let ready = process.ready(START, async || {
            PgConnection::connect(&self.url("postgres")).await.ok()?.close().await.ok()
        });
        ready.await.map_err(|error| format!("{error}\n{}", self.log.tail()))?;
        self.process.put(process);
        Ok(())
    }

    fn run(&self, program: &str, args: Vec<String>) -> Process {
        Process::spawn(Spec {
            program: &programs::postgres(program),
            args,
            env: self.env.clone(),
            file_limit: None,
            folder: &self.folder,
            user: self.user,
            stdout: self.log.append(),
            stderr: self.log.append(),
        })
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

/// The user to run as if this process is root, as which PostgreSQL refuses to run: `postgres`, or `nobody`.
fn user_for_root() -> Option<User> {
    let we = std::fs::metadata("/proc/self").expect("read /proc/self").uid();
    if we != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("read /etc/passwd");
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map(|id| id.parse().ok());
        Some(User { uid: ids.next()??, gid: ids.next()?? })
    };
    Some(
        find("postgres")
            .or_else(|| find("nobody"))
            .expect("a user postgres or nobody in /etc/passwd"),
    )
}
