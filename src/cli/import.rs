//! `agentbus import`: publishes NDJSON.
//!
//! Invariant: a second import of the same lines changes nothing, so an interrupted import is simply repeated.
//! A line without an id gets UUIDv5(NAMESPACE_URL, line number + U+0000 + line), so equal lines are two
//! messages, but the same file read again adds none. Memory holds at most one batch.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agentbus_client::limits::{BATCH_BYTES, BATCH_MESSAGES};
use agentbus_client::{AckLevel, Client, Envelope, Outcome};
use clap::Args;
use indicatif::ProgressBar;
use tokio::fs::File;
use tokio::io::{AsyncBufRead, BufReader};
use uuid::Uuid;

use super::address::ServerArgs;
use super::failure::Failure;
use super::input::{Line, Lines};
use super::limits::IMPORT_RETRY_FOR;
use super::output::print_result;
use super::progress::{self, notices_above};
use super::terminal::{eprint_line, plain, plain_lines};
use crate::message::{BodyError, Draft};

/// Examples that `--help` shows.
pub const EXAMPLES: &str = "\
Examples:
  agentbus import squad.ndjson
  agentbus import --dry-run squad.ndjson           check every line, send nothing
  zcat squad.ndjson.gz | agentbus import -

Each line is one message. Members that the server sets (seq, subject, key_id, created_at) are dropped.
A line without an id gets one made from its number and its text, so an import can be repeated, whole or
after an interruption, without duplicates as long as the file is the same. A key needs
`can import` for such lines, and for ids that an Idempotency-Key made. Refused lines are reported with
their number on standard error, and the import goes on; the exit code is 1 if there were any.";

/// How many bytes are read at a time.
const READ_BYTES: usize = 256 * 1024;

/// `agentbus import`.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// File to read; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Check every line without a server, and send nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// The counts of outcomes so far.
#[derive(Debug, Default)]
struct Tally {
    accepted: u64,
    duplicates: u64,
    rejected: u64,
}

/// Lines to send in one request.
#[derive(Debug, Default)]
struct Batch {
    numbers: Vec<u64>,
    messages: Vec<Vec<u8>>,
    bytes: usize,
}

struct Import {
    /// `None` for a dry run.
    client: Option<Client>,
    bar: ProgressBar,
    batch: Batch,
    tally: Tally,
}

/// Imports a file.
///
/// # Errors
/// The file cannot be read, or the server refuses or cannot be reached.
pub async fn run(args: ImportArgs) -> Result<ExitCode, Failure> {
    let name = args.file.display().to_string();
    let failed = |error| Failure::io(&name, &error);
    let (bar, input) = open(&args.file).await.map_err(failed)?;
    let client = match args.dry_run {
        true => None,
        false => Some(notices_above(&bar, args.server.client_retrying_for(IMPORT_RETRY_FOR)?)),
    };
    let mut import = Import { client, bar, batch: Batch::default(), tally: Tally::default() };
    let mut lines = Lines::new(input);
    let ended = loop {
        match lines.next().await.map_err(failed) {
            Ok(Some(line)) => {
                if let Err(failure) = import.line(line).await {
                    break Err(failure);
                }
            }
            Ok(None) => break import.send().await,
            Err(failure) => break Err(failure),
        }
    };
    import.bar.finish_and_clear();
    let printed = import.print_summary(ended.is_ok());
    ended.and(printed)?;
    Ok(ExitCode::from(u8::from(import.tally.rejected > 0)))
}

async fn open(file: &Path) -> std::io::Result<(ProgressBar, Box<dyn AsyncBufRead + Unpin>)> {
    if file == Path::new("-") {
        let input = BufReader::with_capacity(READ_BYTES, tokio::io::stdin());
        return Ok((progress::bytes(None), Box::new(input)));
    }
    let opened = File::open(file).await?;
    let metadata = opened.metadata().await?;
    let total = metadata.is_file().then_some(metadata.len());
    Ok((progress::bytes(total), Box::new(BufReader::with_capacity(READ_BYTES, opened))))
}

impl Import {
    async fn line(&mut self, line: Line) -> Result<(), Failure> {
        self.bar.inc(line.taken);
        let Some(text) = line.text else {
            self.reject(line.number, "is longer than any message can be");
            return Ok(());
        };
        if text.trim_ascii().is_empty() {
            return Ok(());
        }
        let checked = transform(line.number, &text).and_then(|json| match self.client {
            Some(_) => Ok(json),
            None => check(&json).map(|()| json),
        });
        let json = match checked {
            Ok(json) => json,
            Err(why) => {
                self.reject(line.number, &why);
                return Ok(());
            }
        };
        if self.client.is_none() {
            self.tally.accepted += 1;
            return Ok(());
        }
        self.batch.push(line.number, json);
        if self.batch.is_full() { self.send().await } else { Ok(()) }
    }

    async fn send(&mut self) -> Result<(), Failure> {
        let batch = std::mem::take(&mut self.batch);
        let Some(client) = &self.client else {
            return Ok(());
        };
        if batch.messages.is_empty() {
            return Ok(());
        }
        let outcomes = client.send_many_json(&batch.messages, AckLevel::Stored).await?;
        for (number, outcome) in batch.numbers.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Accepted(published) => {
                    self.tally.accepted += 1;
                    self.tally.duplicates += u64::from(published.duplicate);
                }
                Outcome::Rejected(problem) => self.reject(number, &problem.to_string()),
            }
        }
        self.bar.set_message(format!("{} messages", self.tally.accepted));
        Ok(())
    }

    fn reject(&mut self, number: u64, why: &str) {
        self.tally.rejected += 1;
        self.bar.suspend(|| eprint_line(&plain_lines(&format!("line {number}: {why}"))));
    }

    fn print_summary(&self, complete: bool) -> Result<(), Failure> {
        let Tally { accepted, duplicates, rejected } = self.tally;
        let dry_run = self.client.is_none();
        let json = serde_json::json!({"accepted": accepted, "duplicates": duplicates,
            "rejected": rejected, "dry_run": dry_run, "complete": complete});
        let done = if dry_run { "valid" } else { "imported" };
        let again = match duplicates {
            0 => String::new(),
            some => format!(" ({some} duplicates)"),
        };
        let end = if complete { "" } else { "; interrupted: run the import again to continue" };
        let text = format!("{accepted} messages {done}{again}, {rejected} rejected{end}");
        print_result(std::io::stdout().is_terminal(), &text, &json)
    }
}

impl Batch {
    /// Whether it is as large as one request: it is not to grow for ever. The client cuts it where it must.
    fn is_full(&self) -> bool {
        self.messages.len() >= BATCH_MESSAGES || self.bytes >= BATCH_BYTES
    }

    fn push(&mut self, number: u64, json: Vec<u8>) {
        self.bytes += json.len() + 1;
        self.numbers.push(number);
        self.messages.push(json);
    }
}

/// The message in a line, as it is published.
fn transform(number: u64, line: &[u8]) -> Result<Vec<u8>, String> {
    let envelope = Envelope::parse(line)?.without_server_members();
    let id = (!envelope.has_id()).then(|| stable_id(number, line));
    Ok(envelope.encode(id))
}

/// The id for a line that has none: the same each time the file is read.
fn stable_id(number: u64, line: &[u8]) -> Uuid {
    let mut name = format!("{number}\0").into_bytes();
    name.extend_from_slice(line);
    Uuid::new_v5(&Uuid::NAMESPACE_URL, &name)
}

fn check(json: &[u8]) -> Result<(), String> {
    match Draft::parse(json) {
        Ok(_) => Ok(()),
        Err(BodyError::Syntax { detail, column, .. }) => {
            Err(format!("is not JSON: {detail} at column {column}"))
        }
        Err(BodyError::Invalid(errors)) => {
            let faults = errors
                .iter()
                .map(|fault| format!("\n  {}: {}", plain(&fault.pointer), fault.detail));
            Err(format!("is not a message{}", faults.collect::<String>()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transformed(number: u64, line: &str) -> String {
        String::from_utf8(transform(number, line.as_bytes()).expect("an object")).expect("text")
    }

    #[test]
    fn what_was_exported_can_be_imported() {
        let line = r#"{"seq":7,"id":"0192f0c4-7a1b-7c3d-8e4f-5a6b7c8d9e0f","kind":"status","type":"online","subject":"agent.status.a.online","sender_id":"a","content":"","metadata":{"n": 1.50},"created_at":"2026-01-01T00:00:00.000000Z"}"#;
        assert_eq!(
            transformed(1, line),
            r#"{"id":"0192f0c4-7a1b-7c3d-8e4f-5a6b7c8d9e0f","kind":"status","type":"online","sender_id":"a","content":"","metadata":{"n": 1.50}}"#
        );
        assert_eq!(check(transformed(1, line).as_bytes()), Ok(()));
    }

    #[test]
    fn an_id_is_stable_and_differs_between_equal_lines() {
        let line = r#"{"kind":"status","type":"online","sender_id":"a"}"#;
        assert_eq!(transformed(3, line), transformed(3, line));
        assert_ne!(transformed(3, line), transformed(4, line));
        assert_eq!(stable_id(1, b"{}"), Uuid::new_v5(&Uuid::NAMESPACE_URL, b"1\0{}"));
        assert_eq!(check(transformed(3, line).as_bytes()), Ok(()));
    }

    #[test]
    fn a_batch_is_full_at_both_limits() {
        let filled = |bytes: usize| {
            let mut batch = Batch::default();
            while !batch.is_full() {
                batch.push(1, vec![b'x'; bytes]);
            }
            batch.messages.len()
        };
        assert_eq!((filled(1024), filled(1024 * 1024)), (BATCH_MESSAGES, 8));
    }

    #[test]
    fn a_dry_run_names_every_fault() {
        let why = check(br#"{"kind":"letter","sender_id":"a"}"#).expect_err("no message");
        assert!(why.contains("/kind") && why.contains("/type"), "{why}");
    }
}
