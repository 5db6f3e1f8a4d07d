//! agentbus itself, as a process of its own: its memory and its processor time are its alone.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::address::Address;
use super::client::get;
use super::error::BenchError;
use super::process;

/// How long a server may take until it can publish: it makes a schema and a stream.
const START: Duration = Duration::from_secs(60);
/// Pause between looks whether it can.
const LOOK: Duration = Duration::from_millis(50);
/// How long it may take to stop: its drain of [`DRAIN_S`], and 5 s for writer and projector.
const STOP: Duration = Duration::from_secs(15);
/// Its `DRAIN_S`: nothing here is worth waiting for.
const DRAIN_S: &str = "1";

/// A running server. Dropped, it is killed and its files are removed.
pub struct Server {
    address: Address,
    process: Child,
    pid: u32,
    folder: PathBuf,
    env: Vec<(String, String)>,
}

impl Server {
    /// Starts it with this environment and nothing else, on a free port of loopback, and waits until it
    /// can publish.
    ///
    /// # Errors
    /// It does not start, in its own words.
    pub async fn start(
        program: &Path,
        folder: PathBuf,
        env: &[(&str, &str)],
    ) -> Result<Self, BenchError> {
        let system = |what| move |cause| BenchError::System { what, cause };
        std::fs::create_dir_all(&folder).map_err(system("a folder for the server"))?;
        let log = std::fs::File::create(folder.join("log")).map_err(system("a log"))?;
        let mut command = Command::new(program);
        command.arg("serve").env_clear().envs(env.iter().copied()).current_dir(&folder);
        command.env("HTTP_ADDR", "127.0.0.1:0").env("DATA_DIR", &folder).env("DRAIN_S", DRAIN_S);
        command.env("MAX_CONNECTIONS", "60000");
        if let Some(filter) = std::env::var_os("RUST_LOG") {
            command.env("RUST_LOG", filter);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        // Ctrl-C ends the measurement, which ends its servers.
        command.process_group(0);
        let mut process = command.spawn().map_err(system("agentbus serve"))?;
        let told = tokio::time::timeout(START, listening(&mut process));
        let port = told.await.ok().flatten();
        let pid = process.id().unwrap_or_default();
        let address = Address::local(port.unwrap_or_default());
        let env =
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let server = Self { address, process, pid, folder, env };
        if port.is_none() {
            return Err(server.failed("it does not listen"));
        }
        let begun = Instant::now();
        loop {
            match get(&server.address, "/readyz").await {
                Ok((200, _)) => return Ok(server),
                _ if begun.elapsed() > START => return Err(server.failed("it is not ready")),
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }

    fn failed(&self, what: &str) -> BenchError {
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let last = log.lines().last().unwrap_or_default();
        BenchError::Started(format!("{what}: {last}"))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What it was started with, for another process beside it.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        self.env.clone()
    }

    /// Processor time it has taken, in seconds.
    #[must_use]
    pub fn cpu(&self) -> f64 {
        process::cpu(self.pid).unwrap_or_default().as_secs_f64()
    }

    /// Memory it holds, in bytes.
    #[must_use]
    pub fn resident(&self) -> f64 {
        process::resident(self.pid).unwrap_or_default() as f64
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(mut self) {
        let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(STOP, self.process.wait()).await.is_err() {
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

/// The port of the one line that it says on standard output.
async fn listening(process: &mut Child) -> Option<u16> {
    let mut lines = BufReader::new(process.stdout.take()?).lines();
    let line = lines.next_line().await.ok()??;
    line.rsplit_once(':')?.1.parse().ok()
}
