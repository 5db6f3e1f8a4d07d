//! The command line, one file for each subcommand.
//!
//! Invariant: client commands use only `agentbus_client`, nothing of the server (`keys` can also work on the store, as
//! `doctor`, `rebuild` and `erasures` do). Output is text on a terminal
//! and NDJSON in a pipe. The exit code is 0 for success, 1 for failure and 2 for wrong usage.

mod address;
mod audit;
mod backup;
mod bench;
mod completions;
mod consumers;
mod credential;
mod dead_letters;
mod demo;
mod doctor;
mod erase;
mod erasures;
mod export;
mod failure;
mod filter;
mod history;
mod import;
mod input;
mod keys;
mod limits;
mod man;
mod message_args;
mod output;
mod own_store;
mod printer;
mod progress;
mod queues;
mod rebuild;
mod restore;
mod schemas;
mod send;
mod serve;
mod serve_args;
mod table;
mod tail;
mod terminal;
mod webhooks;
mod when;
mod worker;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use self::failure::Failure;
use self::serve_args::{DoctorArgs, RebuildArgs, ServeArgs, WorkerArgs};

const EXAMPLES: &str = "\
Examples:
  agentbus                                  serve on 127.0.0.1:8080, with files in ./data
  agentbus serve --demo                     the same, with a simulated squad of agents
  agentbus send --sender ann 'Good day'     one broadcast message
  agentbus tail --from start                all messages so far, then live
  agentbus history --task parser-7 --all    all messages of a task

Client commands find the server by --url or AGENTBUS_URL, and send the key in AGENTBUS_KEY or --key-file.
See also `agentbus help COMMAND`.
Exit codes: 0 done, 1 failed, 2 wrong usage.";

/// A message backend for squads of software agents: one durable order, live streams, replay
///
/// Without a command, it runs the server.
#[derive(Parser, Debug)]
#[command(name = "agentbus", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    serve: ServeArgs,
}

/// Subcommands.
#[derive(Subcommand, Debug)]
enum Command {
    /// Run the server
    Serve(ServeArgs),
    /// Process messages without serving HTTP; needs servers on NATS
    #[command(after_help = worker::EXAMPLES)]
    Worker(WorkerArgs),
    /// Publish one message
    #[command(after_help = send::EXAMPLES)]
    Send(Box<send::SendArgs>),
    /// Follow messages live, or from any sequence
    #[command(after_help = tail::EXAMPLES)]
    Tail(tail::TailArgs),
    /// Show messages from the history
    #[command(after_help = history::EXAMPLES)]
    History(history::HistoryArgs),
    /// Publish messages from NDJSON
    #[command(after_help = import::EXAMPLES)]
    Import(import::ImportArgs),
    /// Write messages as NDJSON
    #[command(after_help = export::EXAMPLES)]
    Export(export::ExportArgs),
    /// Erase what a message said, everywhere and for good
    #[command(after_help = erase::EXAMPLES)]
    Erase(erase::EraseArgs),
    /// List what was erased, and erase it again in a restored store
    #[command(after_help = erasures::EXAMPLES)]
    Erasures(Box<erasures::ErasuresArgs>),
    /// Show, pause, resume and reset consumers
    #[command(after_help = consumers::EXAMPLES)]
    Consumers(consumers::ConsumersArgs),
    /// Show, redrive and discard dead letters
    #[command(after_help = dead_letters::EXAMPLES)]
    DeadLetters(dead_letters::DeadLettersArgs),
    /// Deliver messages to HTTP receivers
    #[command(after_help = webhooks::EXAMPLES)]
    Webhooks(webhooks::WebhooksArgs),
    /// Show and configure work queues, push and lease jobs
    #[command(after_help = queues::EXAMPLES)]
    Queues(queues::QueuesArgs),
    /// Say what the messages of a type must be
    #[command(after_help = schemas::EXAMPLES)]
    Schemas(schemas::SchemasArgs),
    /// Make, show, rotate and revoke keys
    #[command(after_help = keys::EXAMPLES)]
    Keys(Box<keys::KeysArgs>),
    /// Show who did what: the audit log
    #[command(after_help = audit::EXAMPLES)]
    Audit(audit::AuditArgs),
    /// Check bus, store, permissions and clock, and report how to fix problems
    Doctor(DoctorArgs),
    /// Recreate the NATS stream from the database, with the same sequences
    #[command(after_help = rebuild::EXAMPLES)]
    Rebuild(RebuildArgs),
    /// Copy the store to a folder, while servers run
    #[command(after_help = backup::EXAMPLES)]
    Backup(backup::BackupArgs),
    /// Make an empty store from a backup
    #[command(after_help = restore::EXAMPLES)]
    Restore(restore::RestoreArgs),
    /// Run a simulated squad of agents against a server
    #[command(after_help = demo::EXAMPLES)]
    Demo(demo::DemoArgs),
    /// Measure a server under load
    #[command(after_help = bench::EXAMPLES)]
    Bench(Box<bench::BenchArgs>),
    /// Print the completion script for a shell
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write those of all commands
    #[command(after_help = man::EXAMPLES)]
    Man(man::ManArgs),
}

/// Parses and runs the command line; returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::Failed(format!("cannot start a runtime: {error}")).report(),
    };
    let code = runtime.block_on(run(cli));
    // Does not wait for a blocked write to a pipe without a reader.
    runtime.shutdown_background();
    code
}

/// Runs the command.
async fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        None => serve::run(cli.serve).await.map_err(Failure::from),
        Some(Command::Serve(args)) => serve::run(args).await.map_err(Failure::from),
        Some(Command::Worker(args)) => worker::run(args).await.map_err(Failure::from),
        Some(Command::Doctor(args)) => doctor::run(args).await.map_err(Failure::from),
        Some(Command::Rebuild(args)) => rebuild::run(args).await.map_err(Failure::from),
        Some(Command::Backup(args)) => backup::run(args).await,
        Some(Command::Restore(args)) => restore::run(args).await,
        Some(Command::Send(args)) => send::run(*args).await,
        Some(Command::Tail(args)) => tail::run(args).await,
        Some(Command::History(args)) => history::run(args).await,
        Some(Command::Import(args)) => import::run(args).await,
        Some(Command::Export(args)) => export::run(args).await,
        Some(Command::Erase(args)) => erase::run(args).await,
        Some(Command::Erasures(args)) => erasures::run(*args).await,
        Some(Command::Consumers(args)) => consumers::run(args).await,
        Some(Command::Queues(args)) => queues::run(args).await,
        Some(Command::DeadLetters(args)) => dead_letters::run(args).await,
        Some(Command::Webhooks(args)) => webhooks::run(args).await,
        Some(Command::Schemas(args)) => schemas::run(args).await,
        Some(Command::Keys(args)) => keys::run(*args).await,
        Some(Command::Audit(args)) => audit::run(args).await,
        Some(Command::Demo(args)) => demo::run(args).await,
        Some(Command::Bench(args)) => bench::run(*args).await,
        Some(Command::Completions(args)) => completions::run(&args, Cli::command()),
        Some(Command::Man(args)) => man::run(&args, Cli::command()),
    };
    done.unwrap_or_else(|failure| failure.report())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_serve_work_without_the_command() {
        let cli = Cli::try_parse_from(["agentbus", "--demo", "--set", "drain-s=5"]).expect("valid");
        assert!(cli.command.is_none() && cli.serve.demo);
        assert_eq!(cli.serve.overrides.set, [("DRAIN_S".to_owned(), "5".to_owned())]);
        assert!(Cli::try_parse_from(["agentbus", "--demo", "tail"]).is_err());
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        for wrong in [
            &["agentbus", "send", "--json", "{}", "--sender", "ann"][..],
            &["agentbus", "send", "--id", "x"],
            &["agentbus", "send", "--metadata", "[]"],
            &["agentbus", "tail", "--broadcast"],
            &["agentbus", "tail", "--kind", "letter"],
            &["agentbus", "tail", "--from", "-1"],
            &["agentbus", "history", "--all", "--limit", "5"],
            &["agentbus", "history", "--last", "5", "--order", "desc"],
            &["agentbus", "webhooks"],
            &["agentbus", "webhooks", "add", "https://a.example", "--filter", "a..b"],
            &["agentbus", "webhooks", "pause", "x"],
            &["agentbus", "demo", "--rate", "0"],
            &["agentbus", "dead-letters", "redrive"],
            &["agentbus", "dead-letters", "redrive", "--all", "--source", "a"],
            &["agentbus", "dead-letters", "show", "x"],
            &["agentbus", "consumers", "pause", "a/b"],
            &["agentbus", "schemas", "put", "message/order"],
            &["agentbus", "schemas", "show", "order"],
            &["agentbus", "schemas", "put", "message/order", "x.json", "--mode", "strict"],
            &["agentbus", "erase", "019e0f5c-7a3c-7d3e-9a6b-0d1f2e3a4b5c"],
            &["agentbus", "erase", "x", "--reason", "a"],
            &["agentbus", "keys", "create"],
            &["agentbus", "keys", "create", "--name", "a", "--agent", "a", "--watcher"],
            &["agentbus", "keys", "create", "--name", "a", "--read", "a..b"],
            &["agentbus", "keys", "create", "--name", "a", "--can", "fly"],
            &["agentbus", "keys", "create", "--name", "a", "--as", "a b"],
            &["agentbus", "keys", "create", "--name", "a", "--kind", "robot"],
            &["agentbus", "keys", "rotate", "0123456789ab", "--overlap", "2d"],
            &["agentbus", "keys", "show", "../x"],
            &["agentbus", "keys", "list", "--on-store", "--url", "http://127.0.0.1:1"],
        ] {
            assert!(Cli::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
    }
}
