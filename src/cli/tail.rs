//! `agentbus tail`: follows the log, live or from any sequence.
//!
//! Invariant: every message that passes the filter is printed once, in order, across every reconnect; a gap
//! is reported.

use std::process::ExitCode;

use agentbus_client::{Event, Start, Subscription};
use clap::Args;

use super::address::ServerArgs;
use super::failure::Failure;
use super::filter::FilterArgs;
use super::printer::{OutputArgs, Printer};
use super::terminal::{eprint_line, plain};

/// Examples that `--help` shows.
pub const EXAMPLES: &str = "\
Examples:
  agentbus tail                                        all messages, live
  agentbus tail --task parser-7 --from start           all about a task, then live
  agentbus tail --subject 'agent.task.*.failed'        every task that fails
  agentbus tail --recipient ann --broadcast            messages for ann, and broadcasts
  agentbus tail --from 1041 --until-caught-up | jq .   from a sequence to the live edge

A lost connection is resumed without a gap or a duplicate. In a pipe the output is one JSON object a
line. Gaps and reconnects are reported on standard error. Ctrl-C ends the command with exit code 0.";

/// `agentbus tail`.
#[derive(Args, Clone, Debug)]
pub struct TailArgs {
    /// Where to begin: start (the first message that is kept), now, or a sequence
    #[arg(long, value_name = "start|now|SEQ", default_value = "now")]
    from: Start,

    /// Stop when all messages so far are printed, instead of waiting for more
    #[arg(long)]
    until_caught_up: bool,

    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    server: ServerArgs,
}

/// Follows the log until Ctrl-C, until it has caught up (`--until-caught-up`), or until the output is closed.
///
/// # Errors
/// The server refuses the subscription or was never reached.
pub async fn run(args: TailArgs) -> Result<ExitCode, Failure> {
    let client = args.server.client()?;
    let subscription = client.stream(args.filter.query(), args.from);
    let printer = Printer::new(args.output, false);
    tokio::select! {
        ended = print(subscription, printer, args.until_caught_up) => ended?,
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn print(
    mut subscription: Subscription,
    mut printer: Printer,
    until_caught_up: bool,
) -> Result<(), Failure> {
    loop {
        for event in subscription.next_many().await? {
            match event {
                Event::Message(message) => printer.message(message.json()),
                Event::Gap(gap) => eprint_line(&plain(&format!("agentbus: {gap}"))),
                Event::CaughtUp if until_caught_up => return printer.flush().await,
                Event::CaughtUp => {}
            }
        }
        printer.flush().await?;
    }
}
