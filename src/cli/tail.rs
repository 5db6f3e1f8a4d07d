//! `agentbus tail`: follows the stream, live or from any sequence.
//!
//! Invariant: every message that passes the filter is written once, in order,
//! across every reconnect; what the log no longer holds is said, not skipped.

use std::process::ExitCode;

use clap::Args;

use super::address::ServerArgs;
use super::cursor::Start;
use super::failure::Failure;
use super::filter::FilterArgs;
use super::follow::{Event, Follow};
use super::output::{OutputArgs, Printer, tell};

/// Examples shown after `--help`.
pub const EXAMPLES: &str = "\
Examples:
  agentbus tail                                        everything, as it comes
  agentbus tail --task parser-7 --from start           a task's whole story, then live
  agentbus tail --subject 'agent.task.*.failed'        every task that fails
  agentbus tail --recipient ann --broadcast            what ann is told
  agentbus tail --from 1041 --until-caught-up | jq .   from a sequence to the live edge

Lost connections are resumed without a gap or a repeat. In a pipe the output is one JSON object a
line. Gaps and reconnects are told on standard error. Ctrl-C ends it; exit code 0.";

/// `agentbus tail`.
#[derive(Args, Clone, Debug)]
pub struct TailArgs {
    /// Where to begin: start (all that is kept), now, or a sequence
    #[arg(long, value_name = "start|now|SEQ", default_value = "now")]
    from: Start,

    /// Stop at the live edge instead of waiting for more
    #[arg(long)]
    until_caught_up: bool,

    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    server: ServerArgs,
}

/// Follows until Ctrl-C, the live edge if asked, or the reader of the output goes.
///
/// # Errors
/// The server refuses the stream or was never reached.
pub async fn run(args: TailArgs) -> Result<ExitCode, Failure> {
    let client = args.server.client()?;
    let follow = Follow::new(client, args.filter.query(), args.from);
    let printer = Printer::new(args.output, false);
    tokio::select! {
        ended = print(follow, printer, args.until_caught_up) => ended?,
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn print(
    mut follow: Follow,
    mut printer: Printer,
    until_caught_up: bool,
) -> Result<(), Failure> {
    loop {
        for event in follow.next().await? {
            match event {
                Event::Message(json) => printer.message(&json),
                Event::Gap(gap) => tell(&format!("agentbus: {gap}")),
                Event::CaughtUp if until_caught_up => return printer.flush().await,
                Event::CaughtUp => {}
            }
        }
        printer.flush().await?;
    }
}
