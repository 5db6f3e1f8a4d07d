//! The real binary, `agentbus serve`, on a port and in a folder of its own.
//!
//! The environment holds what the test sets, and nothing of the developer's. The port is chosen here, not by
//! the system, so that a restarted server keeps the address that its clients know ([`ports`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Mutex;
use std::time::Duration;

use super::folder::{Folder, Log};
use super::http::Http;
use super::process::{Process, Slot, Spec};
use super::{ports, wait};

/// The program of this version.
pub const BINARY: &str = env!("CARGO_BIN_EXE_agentbus");
const LISTEN: Duration = Duration::from_secs(30);
const READY: Duration = Duration::from_secs(60);
/// Time limit for the end of a server: more than its own drain window.
const STOP: Duration = Duration::from_secs(60);
const REFUSE: Duration = Duration::from_secs(30);

/// A running server. Dropped, it is killed and its files are removed.
pub struct Agentbus {
    builder: Builder,
    url: String,
    /// Variables that are set for the next start.
    changed: Mutex<BTreeMap<String, String>>,
    /// The program of the next start, if it is another one.
    program: Mutex<Option<PathBuf>>,
    file_limit: Mutex<Option<u64>>,
    // Before the log and the folder: fields are dropped in this order.
    process: Slot,
    log: Log,
    folder: Folder,
}

/// The settings that a server is started with. By default: the memory bus on SQLite.
#[derive(Clone, Default)]
pub struct Builder {
    env: BTreeMap<String, String>,
    args: Vec<String>,
    program: Option<PathBuf>,
    /// The authority of the server's certificate, as PEM, if the server speaks TLS.
    ca_pem: Option<String>,
}

impl Builder {
    /// The memory bus on a SQLite file.
    pub fn memory_sqlite(self) -> Self {
        self.env("MESSAGE_BUS", "memory")
    }

    /// Chooses the memory bus on PostgreSQL.
    pub fn memory_postgres(self, url: &str) -> Self {
        self.env("MESSAGE_BUS", "memory").env("DATABASE_URL", url)
    }

    /// The NATS bus on PostgreSQL.
    pub fn nats(self, nats_url: &str, pg_url: &str) -> Self {
        self.env("MESSAGE_BUS", "nats").env("NATS_URL", nats_url).env("DATABASE_URL", pg_url)
    }

    /// Sets a variable of the environment; a later value wins.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Makes clients trust this authority, as PEM: the server speaks TLS.
    pub fn trusting(mut self, ca_pem: &str) -> Self {
        self.ca_pem = Some(ca_pem.to_owned());
        self
    }

    /// Adds an argument after `serve`.
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Runs this program, of another version.
    pub fn program(mut self, program: &Path) -> Self {
        self.program = Some(program.to_owned());
        self
    }

    /// Starts the server and waits until it can publish.
    pub async fn start(self) -> Agentbus {
        let agentbus = self.start_listening().await;
        agentbus.wait_ready().await;
        agentbus
    }

    /// Starts the server and waits only until it listens: it may be unable to publish yet.
    pub async fn start_listening(self) -> Agentbus {
        ports::claim("agentbus", async |port| {
            let agentbus = Agentbus::new(self.clone(), port);
            agentbus.boot().await.map(|()| agentbus)
        })
        .await
    }

    /// Starts the server on this port of 127.0.0.1, which clients know before it runs, and waits until it can
    /// publish.
    pub async fn start_at(self, port: u16) -> Agentbus {
        let agentbus = Agentbus::new(self, port);
        agentbus.boot().await.unwrap_or_else(|error| panic!("agentbus does not start: {error}"));
        agentbus.wait_ready().await;
        agentbus
    }

    /// Starts a server that must refuse to run, waits until it has exited with failure, and returns its
    /// standard error.
    pub async fn expect_refusal(self) -> String {
        let agentbus = Agentbus::new(self, ports::free());
        let process = agentbus.spawn();
        let Some(status) = process.exit(REFUSE).await else {
            panic!("it runs, and should have refused to:\n{}", agentbus.log.tail());
        };
        let error = agentbus.log.text();
        assert!(status.code().is_some_and(|code| code != 0), "refused with {status}:\n{error}");
        error
    }
}

impl Agentbus {
    /// Settings to start one server with.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Its address, `http://127.0.0.1:PORT`, with TLS `https://`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client of the server.
    pub fn http(&self) -> Http {
        match &self.builder.ca_pem {
            Some(ca_pem) => Http::trusting(&self.url, ca_pem),
            None => Http::new(&self.url),
        }
    }

    /// The settings of this server, to start another one with.
    pub fn like(&self) -> Builder {
        self.builder.clone()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.builder.env.get("DATA_DIR").map_or_else(|| self.folder.join("data"), PathBuf::from)
    }

    pub fn pid(&self) -> u32 {
        self.process.with(Process::pid)
    }

    /// What the server has logged since its first start.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Waits until the server can publish.
    pub async fn wait_ready(&self) {
        let http = self.http();
        wait::eventually(READY, "/readyz answers 200", async || {
            let answer = http.request(reqwest::Method::GET, "/readyz", &[], "").await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// Limits the size of each file that the server may write, in KiB, from its next start on: larger
    /// writes fail, as on a full disk.
    pub fn limit_files(&self, kib: Option<u64>) {
        *self.file_limit.lock().expect("file limit") = kib;
    }

    /// Sets a variable of the environment from the next start on.
    pub fn set_env(&self, name: &str, value: &str) {
        self.changed.lock().expect("changes").insert(name.to_owned(), value.to_owned());
    }

    /// Sets the program, of this or another version, from the next start on.
    pub fn set_program(&self, program: &Path) {
        *self.program.lock().expect("program") = Some(program.to_owned());
    }

    /// Kills the server with SIGKILL.
    pub fn kill9(&self) {
        self.process.take().kill9();
    }

    /// Sends SIGTERM, waits until the server has ended, and returns its exit status.
    pub async fn terminate(&self) -> ExitStatus {
        let process = self.process.take();
        process.terminate(STOP).await.expect("agentbus ends when asked")
    }

    /// Sends SIGTERM and does not wait; [`Agentbus::wait_exit`] does.
    pub fn ask_to_end(&self) {
        self.process.with(|process| process.signal("TERM", &[process.pid()]));
    }

    /// Waits until the server has ended, and returns its exit status; fails the test if that takes longer
    /// than `limit`.
    pub async fn wait_exit(&self, limit: Duration) -> ExitStatus {
        let process = self.process.take();
        process
            .exit(limit)
            .await
            .unwrap_or_else(|| panic!("agentbus has not ended within {limit:?}"))
    }

    /// Starts the server again, with the same address, files and environment, and waits until it can
    /// publish. A running one is sent SIGTERM first.
    pub async fn restart(&self) {
        self.restart_listening().await;
        self.wait_ready().await;
    }

    /// Like [`Agentbus::restart`], but waits only until the server listens.
    pub async fn restart_listening(&self) {
        if self.is_running() {
            self.terminate().await;
        }
        self.boot().await.unwrap_or_else(|error| panic!("agentbus does not start again: {error}"));
    }

    /// Freezes the server: connections stay open, and get no response.
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

    fn new(builder: Builder, port: u16) -> Self {
        let folder = Folder::new("server");
        let log = Log::new(&format!("agentbus at port {port}"), folder.join("stderr"));
        let scheme = if builder.ca_pem.is_some() { "https" } else { "http" };
        Self {
            builder,
            url: format!("{scheme}://127.0.0.1:{port}"),
            changed: Mutex::default(),
            program: Mutex::default(),
            file_limit: Mutex::default(),
            process: Slot::default(),
            log,
            folder,
        }
    }

    async fn boot(&self) -> Result<(), String> {
        let process = self.spawn();
        let line = format!("agentbus listening on {}", self.url);
        let announced = async || self.stdout().lines().any(|printed| printed == line).then_some(());
        let listens = process.ready(LISTEN, announced).await;
        listens
            .map_err(|error| format!("{error}; stdout: {}\n{}", self.stdout(), self.log.tail()))?;
        self.process.put(process);
        Ok(())
    }

    fn spawn(&self) -> Process {
        let args = std::iter::once("serve".to_owned()).chain(self.builder.args.iter().cloned());
        let program = self.program.lock().expect("program").clone();
        let program = program.or_else(|| self.builder.program.clone());
        Process::spawn(Spec {
            program: program.as_deref().unwrap_or(Path::new(BINARY)),
            args: args.collect(),
            env: self.env().into_iter().collect(),
            file_limit: *self.file_limit.lock().expect("file limit"),
            folder: &self.folder,
            user: None,
            stdout: std::fs::File::create(self.folder.join("stdout")).expect("create a file"),
            stderr: self.log.append(),
        })
    }

    /// Its environment, except `PATH` and the like.
    pub fn env(&self) -> BTreeMap<String, String> {
        let data_dir = self.data_dir().display().to_string();
        let (_, address) = self.url.split_once("://").expect("a scheme");
        let address = address.to_owned();
        let mut env =
            BTreeMap::from([("HTTP_ADDR".to_owned(), address), ("DATA_DIR".to_owned(), data_dir)]);
        let inherited = ["RUST_LOG", "RUST_BACKTRACE"];
        env.extend(
            inherited
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))),
        );
        env.extend(self.builder.env.clone());
        env.extend(self.changed.lock().expect("changes").clone());
        env
    }

    fn stdout(&self) -> String {
        std::fs::read_to_string(self.folder.join("stdout")).unwrap_or_default()
    }
}
