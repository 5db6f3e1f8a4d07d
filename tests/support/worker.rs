//! `agentbus worker` processes.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use super::folder::{Folder, Log};
use super::process::{Process, Spec};

/// Time limit for the end of a worker: more than its own drain window.
const STOP: Duration = Duration::from_secs(60);

/// `agentbus worker`. Dropped, it is killed.
pub struct Worker {
    // Before the log and the folder: fields are dropped in this order.
    process: Process,
    log: Log,
    folder: Folder,
}

impl Worker {
    /// Starts a worker with this environment and these arguments, and does not wait for it.
    pub fn start(env: &[(&str, &str)], args: &[&str]) -> Self {
        let folder = Folder::new("worker");
        let log = Log::new("agentbus worker", folder.join("stderr"));
        let env = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let args = std::iter::once(&"worker").chain(args).map(|arg| (*arg).to_owned()).collect();
        let process = Process::spawn(Spec {
            program: Path::new(env!("CARGO_BIN_EXE_agentbus")),
            args,
            env,
            file_limit: None,
            folder: &folder,
            user: None,
            stdout: log.append(),
            stderr: log.append(),
        });
        Self { process, log, folder }
    }

    /// The file in which [`exec::COMMAND`](super::exec::COMMAND) records its attempts.
    pub fn ran_at(&self) -> PathBuf {
        self.folder.join("ran")
    }

    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Kills the worker and the commands that it runs with SIGKILL; fails the test if the worker had
    /// ended by itself.
    pub fn kill9(self) {
        self.assert_runs();
        self.process.kill9();
    }

    /// Kills the worker process only: the commands that it runs continue without it.
    pub async fn kill9_alone(self) {
        self.assert_runs();
        self.process.signal("KILL", &[self.process.pid()]);
        self.process.exit(STOP).await.expect("a killed process ends");
    }

    /// Sends SIGTERM and waits until the worker has ended; fails the test if it had ended by itself.
    pub async fn terminate(&self) -> ExitStatus {
        self.assert_runs();
        self.process.terminate(STOP).await.expect("a worker ends when asked")
    }

    /// Waits until the worker has ended by itself.
    pub async fn exit(&self) -> ExitStatus {
        self.process.exit(STOP).await.expect("it ends by itself")
    }

    /// Fails the test if the worker has ended by itself.
    pub fn assert_runs(&self) {
        let exited = self.process.exited();
        assert!(exited.is_none(), "a worker has ended: {exited:?}\n{}", self.log.tail());
    }
}
