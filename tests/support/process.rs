//! A child process that cannot outlive the test process, not even when that is killed with SIGKILL.
//!
//! A destructor does not run for a static or in a killed process, and `prctl` needs unsafe code. So beside
//! each server there is a watchdog: a small shell that reads from a pipe whose other end only this process
//! has. When that end is closed, the watchdog kills the server with its children and removes its folder. The
//! server begins as a shell that waits for a line, which is sent once the watchdog runs; then the shell
//! becomes the server by `exec`. So there is no moment without a watchdog, and the process id, signals and
//! exit status are the server's.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use super::folder::Folder;
use super::wait;

const FREEZE: Duration = Duration::from_secs(10);

const GATE: &str = r#"
read -r _ || exit 1
if [ -n "$FILE_BLOCKS" ]; then
    trap '' XFSZ
    ulimit -f "$FILE_BLOCKS"
fi
exec "$@" </dev/null"#;

/// `$1` is the server's process id, `$2` its folder or nothing. A line on standard input means that the
/// server was reaped. The removal is tried several times, since children of the server may still write to the
/// folder.
const WATCHDOG: &str = r#"
trap '' HUP INT TERM
read -r _ && exit 0
kill -STOP "$1"
kill -KILL $(cat /proc/"$1"/task/*/children) "$1"
for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -n "$2" ] && [ -e "$2" ] || exit 0
    rm -rf -- "$2"
    sleep 0.1
done
"#;

/// The user and group that a process runs as.
#[derive(Clone, Copy)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// What to run, and how. The environment is `PATH`, `HOME`, `TMPDIR` and `env`.
pub struct Spec<'a> {
    pub program: &'a Path,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    /// The working directory, which is removed with the process.
    pub folder: &'a Folder,
    /// The size of the largest file that the process may write, in KiB: larger writes fail, as on a full
    /// disk.
    pub file_limit: Option<u64>,
    /// The user to run as, if not the current one.
    pub user: Option<User>,
    pub stdout: File,
    pub stderr: File,
}

/// A running child. Dropped, it is killed with its children.
pub struct Process {
    pid: u32,
    guarded: Mutex<Guarded>,
}

/// The process of a server that tests stop and start again.
#[derive(Default)]
pub struct Slot(Mutex<Option<Process>>);

impl Slot {
    /// Puts in the process that was started.
    pub fn put(&self, process: Process) {
        *self.0.lock().expect("process") = Some(process);
    }

    /// Takes the process out, to end it; fails the test if the server does not run.
    pub fn take(&self) -> Process {
        self.0.lock().expect("process").take().expect("the server runs")
    }

    /// Calls `act` with the process; fails the test if the server does not run.
    pub fn with<T>(&self, act: impl FnOnce(&Process) -> T) -> T {
        act(self.0.lock().expect("process").as_ref().expect("the server runs"))
    }

    /// Whether the server was started and neither stopped nor killed since.
    pub fn is_running(&self) -> bool {
        self.0.lock().expect("process").is_some()
    }
}

struct Guarded {
    server: Child,
    watchdog: Child,
}

impl Process {
    /// Starts the process. A program that cannot be executed appears as exit status 126 or 127.
    pub fn spawn(spec: Spec<'_>) -> Self {
        let mut command = shell(GATE);
        command.arg(spec.program).args(spec.args).current_dir(spec.folder.path());
        command.env_clear().envs(inherited()).envs(spec.env);
        if let Some(kib) = spec.file_limit {
            // The shell's `ulimit -f` counts blocks of 512 bytes.
            command.env("FILE_BLOCKS", (2 * kib).to_string());
        }
        command.stdin(Stdio::piped()).stdout(spec.stdout).stderr(spec.stderr);
        if let Some(User { uid, gid }) = spec.user {
            command.uid(uid).gid(gid);
        }
        let mut child = command.spawn().expect("start a server's shell");
        let pid = child.id();

        let mut watchdog = shell(WATCHDOG);
        watchdog.arg(pid.to_string());
        watchdog.arg(if Folder::kept() { PathBuf::new() } else { spec.folder.path().to_owned() });
        watchdog.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let watchdog = watchdog.spawn().expect("start a watchdog");

        let mut gate = child.stdin.take().expect("the server's standard input");
        gate.write_all(b"\n").expect("let the server run");
        Self { pid, guarded: Mutex::new(Guarded { server: child, watchdog }) }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The exit status, if the process has exited.
    pub fn exited(&self) -> Option<ExitStatus> {
        let mut guarded = self.guarded.lock().expect("child");
        let status = guarded.server.try_wait().expect("wait for a child");
        if status.is_some() {
            guarded.dismiss_watchdog();
        }
        status
    }

    /// Waits until the process has exited by itself; `None` if that takes longer than `limit`.
    pub async fn exit(&self, limit: Duration) -> Option<ExitStatus> {
        wait::poll(limit, async || self.exited()).await
    }

    /// Waits until `probe` returns a value. The error is the reason why it did not: the process exited,
    /// or `limit` has passed.
    pub async fn ready<T>(
        &self,
        limit: Duration,
        mut probe: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T, String> {
        let look = async || match self.exited() {
            Some(status) => Some(Err(format!("it exited: {status}"))),
            None => probe().await.map(Ok),
        };
        wait::poll(limit, look)
            .await
            .unwrap_or_else(|| Err(format!("it is not ready after {limit:?}")))
    }

    /// Sends SIGTERM and waits until the process has ended; `None` if that takes longer than `limit`.
    pub async fn terminate(&self, limit: Duration) -> Option<ExitStatus> {
        self.signal("TERM", &[self.pid]);
        self.exit(limit).await
    }

    /// Freezes the process and its children (SIGSTOP). The process comes first, so that it cannot start
    /// more children.
    pub fn pause(&self) {
        self.freeze(&[self.pid]);
        self.freeze(&self.children());
    }

    /// Continues the process and its children (SIGCONT).
    pub fn resume(&self) {
        self.signal("CONT", &self.children());
        self.signal("CONT", &[self.pid]);
    }

    /// Kills the process and its children with SIGKILL, and reaps it.
    pub fn kill9(&self) {
        if self.exited().is_some() {
            return;
        }
        self.freeze(&[self.pid]);
        self.signal("KILL", &self.children());
        let mut guarded = self.guarded.lock().expect("child");
        guarded.server.kill().expect("kill a child");
        guarded.server.wait().expect("wait for a child");
        guarded.dismiss_watchdog();
    }

    /// Waits until the last thread has stopped: threads stop one by one, some after the signal was sent.
    fn freeze(&self, pids: &[u32]) {
        self.signal("STOP", pids);
        for &pid in pids {
            wait::eventually_blocking(FREEZE, "every thread has stopped", || !runs(pid));
        }
    }

    fn children(&self) -> Vec<u32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid));
        let lists = tasks.into_iter().flatten().flatten();
        let lists =
            lists.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        lists.flat_map(|list| list.split_whitespace().map(parse_pid).collect::<Vec<_>>()).collect()
    }

    /// Sends a signal. A child that has ended is no error. A process that was reaped is never signalled,
    /// since its id may be reused.
    pub fn signal(&self, name: &str, pids: &[u32]) {
        if pids.is_empty() || self.exited().is_some() {
            return;
        }
        let mut command = shell(r#"kill -s "$@" 2>/dev/null"#);
        command.arg(name).args(pids.iter().map(u32::to_string));
        command.status().expect("send a signal");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

impl Guarded {
    /// Ends the watchdog: once the server is reaped, its process id may become another's.
    fn dismiss_watchdog(&mut self) {
        if let Some(mut pipe) = self.watchdog.stdin.take() {
            // An error means that the watchdog was killed from outside, so it needs no line.
            let _ = pipe.write_all(b"\n");
            let _ = self.watchdog.wait();
        }
    }
}

/// A shell in its own process group, so that Ctrl-C reaches only the tests; the watchdogs then end the
/// servers.
fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "sh"]).process_group(0);
    command
}

fn inherited() -> impl Iterator<Item = (&'static str, std::ffi::OsString)> {
    // A build with coverage writes its counts to the file that the last variable names.
    let names = ["PATH", "HOME", "TMPDIR", "LLVM_PROFILE_FILE"];
    names.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)))
}

/// Whether any thread of a process is neither stopped nor dead. In `stat` the state follows the name, which
/// ends with `)`.
fn runs(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    tasks.into_iter().flatten().flatten().any(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        state.is_some_and(|state| !"TtZX".contains(state))
    })
}

fn parse_pid(text: &str) -> u32 {
    text.parse().expect("a process id")
}
