//! A server process, so that its memory and processor time can be measured.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::address::Address;
use super::client::get;
use super::error::BenchError;
use super::process;

/// Longest time until a server is ready: it creates a schema and streams.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Interval of readiness checks.
const READY_POLL: Duration = Duration::from_millis(50);
/// Longest time of a shutdown: the drain of [`DRAIN_S`], and 5 s for writer and projector.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// The server's `DRAIN_S`: no client needs a long drain here.
const DRAIN_S: &str = "1";

/// A running server. On drop it is killed and its files are removed.
pub struct Server {
    address: Address,
    process: Child,
    pid: u32,
    folder: PathBuf,
    env: Vec<(String, String)>,
}

impl Server {
    /// Starts the current program's `serve` on the memory bus and SQLite, its files in a temporary folder.
    ///
    /// # Errors
    /// The server does not start.
    pub async fn start_temporary() -> Result<Self, BenchError> {
        let program = std::env::current_exe()
            .map_err(|cause| BenchError::System { what: "the path of this program", cause })?;
        let folder = unique_folder(&std::env::temp_dir());
        Self::start(&program, folder, &[("MESSAGE_BUS", "memory")]).await
    }

    /// Starts a server with this environment only, on a free port of loopback, and waits until it is ready. With TLS it
    /// waits only until the server listens: the load generator does not speak TLS.
    ///
    /// # Errors
    /// The server does not start; the error has the last line of its log.
    pub async fn start(
        program: &Path,
        folder: PathBuf,
        env: &[(&str, &str)],
    ) -> Result<Self, BenchError> {
        let system = |what| move |cause| BenchError::System { what, cause };
        std::fs::create_dir_all(&folder).map_err(system("the server's folder"))?;
        let log = std::fs::File::create(folder.join("log")).map_err(system("the server's log"))?;
        let mut command = Command::new(program);
        command.arg("serve").env_clear().envs(env.iter().copied()).current_dir(&folder);
        command.env("HTTP_ADDR", "127.0.0.1:0").env("DATA_DIR", &folder).env("DRAIN_S", DRAIN_S);
        command.env("MAX_CONNECTIONS", "60000");
        if let Some(filter) = std::env::var_os("RUST_LOG") {
            command.env("RUST_LOG", filter);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        // Ctrl-C must reach this process only, which then stops the server.
        command.process_group(0);
        let mut process = command.spawn().map_err(system("agentbus serve"))?;
        let port = tokio::time::timeout(START_TIMEOUT, read_port(&mut process));
        let port = port.await.ok().flatten();
        let pid = process.id().unwrap_or_default();
        let address = Address::local(port.unwrap_or_default());
        let env =
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let server = Self { address, process, pid, folder, env };
        if port.is_none() {
            return Err(server.start_error("it does not listen"));
        }
        if server.env.iter().any(|(name, _)| name == "HTTP_TLS_CERT") {
            return Ok(server);
        }
        let started = Instant::now();
        loop {
            match get(&server.address, "/readyz").await {
                Ok((200, _)) => return Ok(server),
                _ if started.elapsed() > START_TIMEOUT => {
                    return Err(server.start_error("it is not ready"));
                }
                _ => tokio::time::sleep(READY_POLL).await,
            }
        }
    }

    fn start_error(&self, what: &str) -> BenchError {
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let last = log.lines().last().unwrap_or_default();
        BenchError::Started(format!("{what}: {last}"))
    }

    /// The address on which it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The environment it was started with.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        self.env.clone()
    }

    /// Processor time so far, in seconds.
    #[must_use]
    pub fn cpu(&self) -> f64 {
        process::cpu(self.pid).unwrap_or_default().as_secs_f64()
    }

    /// Resident memory in bytes.
    #[must_use]
    pub fn resident(&self) -> f64 {
        process::resident(self.pid).unwrap_or_default() as f64
    }

    /// Stops it with SIGTERM and waits until it has ended.
    pub async fn stop(mut self) {
        let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(STOP_TIMEOUT, self.process.wait()).await.is_err() {
            let _ = self.process.kill().await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.start_kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A folder name in `parent` that no other run uses.
#[must_use]
pub fn unique_folder(parent: &Path) -> PathBuf {
    parent.join(format!("agent-bench-{}", uuid::Uuid::new_v4().simple()))
}

/// The port in the first line of standard output.
async fn read_port(process: &mut Child) -> Option<u16> {
    let mut lines = BufReader::new(process.stdout.take()?).lines();
    let line = lines.next_line().await.ok()??;
    line.rsplit_once(':')?.1.parse().ok()
}
