//! A handler that runs a shell command for each message.
//!
//! Invariant: if an attempt ends before the command exits (at shutdown or after its time limit), the command
//! and its process group are killed. The API shows how an attempt ended. It shows the command's standard
//! error only if the operator allows that, since it may contain secrets.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStderr, ChildStdin, Command};

use super::handler::{Delivery, Handler, Outcome};
use crate::config::SECRETS;
use crate::limits::{EXEC_STDERR_GRACE, MAX_ATTEMPT_ERROR};
use crate::message::{Record, SubjectPattern, splice_seq};
use crate::open_files;

/// The exit code with which a command asks for another attempt (`EX_TEMPFAIL` of `sysexits.h`).
const EXIT_RETRY: i32 = 75;

/// Runs `sh -c COMMAND` with the message as one line of JSON on standard input.
pub struct ExecHandler {
    command: String,
    subjects: SubjectPattern,
    limit: Option<Duration>,
    show_stderr: bool,
}

impl ExecHandler {
    /// A handler for these subjects. An attempt that takes longer than `limit` fails.
    #[must_use]
    pub fn new(command: String, subjects: SubjectPattern, limit: Option<Duration>) -> Self {
        Self { command, subjects, limit, show_stderr: false }
    }

    /// Whether the error of a failed attempt includes the end of the command's standard error. Everyone
    /// who may read dead letters then sees it. The log has it in any case.
    #[must_use]
    pub fn showing_stderr(mut self, show: bool) -> Self {
        self.show_stderr = show;
        self
    }

    async fn run(&self, delivery: &Delivery<'_>) -> std::io::Result<Outcome> {
        let mut child = self.command(delivery).spawn()?;
        let group = Group(child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)));
        let line = line_of(delivery.message);
        let mut tail = Tail::default();
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let status = {
            let talk = async { tokio::join!(feed(stdin, &line), tail.read(stderr)) };
            tokio::pin!(talk);
            let limit = async {
                match self.limit {
                    Some(limit) => tokio::time::sleep(limit).await,
                    None => std::future::pending().await,
                }
            };
            tokio::pin!(limit);
            let mut is_talking = true;
            let status = loop {
                tokio::select! {
                    status = child.wait() => break Some(status?),
                    _ = &mut talk, if is_talking => is_talking = false,
                    () = &mut limit => break None,
                }
            };
            // The command has exited. Its last output may still be in the pipe, which a child of the command
            // may keep open.
            if is_talking && status.is_some() {
                let _ = tokio::time::timeout(EXEC_STDERR_GRACE, &mut talk).await;
            }
            status
        };
        let Some(status) = status else {
            let error = format!("took longer than {:?}", self.limit.unwrap_or_default());
            log(delivery, &error, &tail.text());
            return Ok(Outcome::Retry { after: None, error });
        };
        group.has_ended();
        Ok(self.outcome(delivery, status, &tail.text()))
    }

    /// The outcome of an attempt whose command has exited.
    fn outcome(&self, delivery: &Delivery<'_>, status: ExitStatus, stderr: &str) -> Outcome {
        let (how, again) = match status.code() {
            Some(0) => return Outcome::Done,
            Some(EXIT_RETRY) => ("exit code 75: asked for another attempt".to_owned(), true),
            Some(code) => (format!("exit code {code}"), false),
            // The command was killed by a signal, so it made no decision: try again.
            None => (format!("ended by {status}"), true),
        };
        log(delivery, &how, stderr);
        let show = self.show_stderr && !stderr.is_empty();
        let error = if show { format!("{how}: {stderr}") } else { how };
        if again { Outcome::Retry { after: None, error } } else { Outcome::Reject { error } }
    }

    fn command(&self, delivery: &Delivery<'_>) -> Command {
        let Delivery { message, attempt, trace } = delivery;
        let mut command = Command::new("sh");
        SECRETS.iter().for_each(|name| {
            command.env_remove(name);
        });
        command
            .args(["-c", &with_usual_limit(&self.command, open_files::before_raise())])
            .env("AGENTBUS_SEQ", message.seq.to_string())
            .env("AGENTBUS_ID", message.id.to_string())
            .env("AGENTBUS_KIND", message.kind.as_str())
            .env("AGENTBUS_TYPE", message.type_.as_str())
            .env("AGENTBUS_SENDER", message.sender_id.as_str())
            .env("AGENTBUS_SUBJECT", message.subject.as_str().replace('\0', "\u{fffd}"))
            .env("AGENTBUS_ATTEMPT", attempt.to_string())
            .stdin(Stdio::piped())
            // The server's standard output is not for commands. What a command prints there goes to the log.
            .stdout(Stdio::from(std::io::stderr()))
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        // Those of this process are not about the message.
        command.env_remove("TRACEPARENT").env_remove("TRACESTATE");
        for (name, value) in trace.iter().flat_map(|trace| trace.headers()) {
            command.env(name.to_uppercase(), value);
        }
        command
    }
}

#[async_trait]
impl Handler for ExecHandler {
    fn name(&self) -> &str {
        // This name may be shown with attempts, and the command may contain a secret.
        "the command"
    }

    fn subjects(&self) -> &SubjectPattern {
        &self.subjects
    }

    async fn handle(&self, delivery: Delivery<'_>) -> Outcome {
        self.run(&delivery).await.unwrap_or_else(|error| Outcome::Retry {
            after: None,
            error: format!("the command could not be run: {error}"),
        })
    }
}

/// A process group, which is killed when this is dropped before the command has exited.
struct Group(Option<Pid>);

impl Group {
    fn has_ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Fails if the group has just ended, which is fine.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The message in the form of the history API, and a line feed.
fn line_of(message: &Record) -> Vec<u8> {
    let mut line = Vec::with_capacity(message.body.len() + 32);
    splice_seq(message.seq, &message.body, &mut line);
    line.push(b'\n');
    line
}

/// The command, with the limit of open files that this process was started with.
fn with_usual_limit(command: &str, limit: Option<u64>) -> String {
    match limit {
        None => command.to_owned(),
        Some(limit) => format!("ulimit -S -n {limit} 2>/dev/null\n{command}"),
    }
}

/// Writes the message to the command, which need not read it.
async fn feed(stdin: Option<ChildStdin>, line: &[u8]) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(line).await;
    }
}

/// Keeps the end of a command's standard error.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    async fn read(&mut self, stderr: Option<ChildStderr>) {
        let Some(mut stderr) = stderr else { return };
        let mut piece = [0; 4_096];
        while let Ok(read @ 1..) = stderr.read(&mut piece).await {
            self.0.extend_from_slice(&piece[..read]);
            let surplus = self.0.len().saturating_sub(MAX_ATTEMPT_ERROR);
            self.0.drain(..surplus);
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).trim().to_owned()
    }
}

/// Logs a failed attempt with the command's standard error. Only the operator reads the log.
fn log(delivery: &Delivery<'_>, how: &str, stderr: &str) {
    let Delivery { message, attempt, .. } = delivery;
    // Logged as a field, which is quoted, since it may contain anything.
    tracing::warn!(seq = message.seq, attempt, stderr, "the command failed: {how}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Subject, decode_body};

    fn message() -> Record {
        let body = br#"{"id":"00000000-0000-0000-0000-000000000001","kind":"task","type":"t","sender_id":"ann"}"#;
        let subject = Subject::from_log("agent.task.x.t".to_owned());
        decode_body(7, subject, body.to_vec().into(), chrono::DateTime::UNIX_EPOCH)
    }

    async fn run(command: &str, limit: Option<Duration>) -> Outcome {
        run_showing(command, limit, true).await
    }

    async fn run_showing(command: &str, limit: Option<Duration>, show: bool) -> Outcome {
        let subjects = "agent.>".parse().expect("a pattern");
        let exec = ExecHandler::new(command.to_owned(), subjects, limit).showing_stderr(show);
        exec.handle(Delivery { message: &message(), attempt: 2, trace: None }).await
    }

    #[tokio::test]
    async fn exit_codes_decide() {
        assert_eq!(run("exit 0", None).await, Outcome::Done);
        let retry = |error: &str| Outcome::Retry { after: None, error: error.to_owned() };
        let later = run("echo later >&2; exit 75", None).await;
        assert_eq!(later, retry("exit code 75: asked for another attempt: later"));
        assert_eq!(run("exit 3", None).await, Outcome::Reject { error: "exit code 3".to_owned() });
        assert!(matches!(run("kill -9 $$", None).await, Outcome::Retry { .. }));
        assert!(matches!(run("no-such-command", None).await, Outcome::Reject { .. }));
    }

    #[tokio::test]
    async fn what_it_says_stays_in_the_log_unless_it_is_asked_for() {
        let outcome = run_showing("echo hunter2 >&2; exit 3", None, false).await;
        assert_eq!(outcome, Outcome::Reject { error: "exit code 3".to_owned() });
        let outcome = run_showing("echo hunter2 >&2; exit 3", None, true).await;
        assert_eq!(outcome, Outcome::Reject { error: "exit code 3: hunter2".to_owned() });
    }

    #[tokio::test]
    async fn it_has_the_limit_of_open_files_that_is_usual() {
        let command = with_usual_limit("test \"$(ulimit -S -n)\" = 77 && exit 3", Some(77));
        assert_eq!(run(&command, None).await, Outcome::Reject { error: "exit code 3".to_owned() });
    }

    #[tokio::test]
    async fn the_message_is_a_line_on_standard_input() {
        let command = r#"read -r line; echo "$AGENTBUS_SEQ $AGENTBUS_SUBJECT $AGENTBUS_ATTEMPT $line" >&2; exit 1"#;
        let Outcome::Reject { error } = run(command, None).await else { panic!("rejected") };
        let error = error.strip_prefix("exit code 1: ").expect("how it ended");
        assert!(error.starts_with("7 agent.task.x.t 2 {\"seq\":7,\"id\":"), "{error}");
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_with_its_children() {
        let begun = std::time::Instant::now();
        let outcome = run("sleep 600 & wait", Some(Duration::from_millis(100))).await;
        assert!(matches!(outcome, Outcome::Retry { .. }));
        // A child that outlives the command does not delay the end of the attempt.
        assert_eq!(run("sleep 2 & exit 0", None).await, Outcome::Done);
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}
