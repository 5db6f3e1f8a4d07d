//! `agentbus consumers`: lists, pauses, resumes and resets consumers.

use std::process::ExitCode;
use std::str::FromStr;

use agentbus_client::{Consumer, Document};
use clap::{Args, Subcommand};

use super::address::ShowArgs;
use super::failure::Failure;
use super::output::Format;
use super::table::Table;

/// Examples that `--help` shows.
pub const EXAMPLES: &str = "\
Examples:
  agentbus consumers list
  agentbus consumers pause agent-processor
  agentbus consumers resume agent-processor
  agentbus consumers reset agent-processor --from 1041    process again from this sequence on

In a pipe the output is one JSON object a line.";

const TITLES: &[&str] = &[
    "NAME",
    "STATE",
    "PENDING",
    "IN FLIGHT",
    "LAG",
    "POSITION",
    "PROCESSED",
    "FAILED",
    "DEAD LETTERS",
    "FILTER",
];

/// `agentbus consumers`.
#[derive(Args, Clone, Debug)]
pub struct ConsumersArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Show all consumers and their positions
    List(ShowArgs),
    /// Stop a consumer until it is resumed
    Pause(OneArgs),
    /// Resume a consumer at its position
    Resume(OneArgs),
    /// Process messages again from a sequence on, even those that the stream has dropped
    Reset(ResetArgs),
}

#[derive(Args, Clone, Debug)]
struct OneArgs {
    /// Name of the consumer
    name: Name,

    #[command(flatten)]
    list: ShowArgs,
}

#[derive(Args, Clone, Debug)]
struct ResetArgs {
    #[command(flatten)]
    one: OneArgs,

    /// First sequence to process again; by default the oldest that is kept
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    from: u64,
}

/// A consumer's name, safe in a URL path.
#[derive(Clone, Debug)]
struct Name(String);

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
        // `.` and `..` have a meaning of their own in paths.
        if text.is_empty() || !text.chars().all(good) || text.chars().all(|c| c == '.') {
            return Err("must be a consumer's name");
        }
        Ok(Self(text.to_owned()))
    }
}

/// Runs the subcommand.
///
/// # Errors
/// The server refuses or cannot be reached.
pub async fn run(args: ConsumersArgs) -> Result<ExitCode, Failure> {
    let (changed, format) = match args.what {
        What::List(args) => {
            print(&args.server.client()?.consumers().await?, args.format)?;
            return Ok(ExitCode::SUCCESS);
        }
        What::Pause(OneArgs { name, list }) => {
            (list.server.client()?.pause_consumer(&name.0, None).await?, list.format)
        }
        What::Resume(OneArgs { name, list }) => {
            (list.server.client()?.resume_consumer(&name.0).await?, list.format)
        }
        What::Reset(ResetArgs { one: OneArgs { name, list }, from }) => {
            (list.server.client()?.reset_consumer(&name.0, from).await?, list.format)
        }
    };
    print(&[changed], format)?;
    Ok(ExitCode::SUCCESS)
}

fn print(consumers: &[Document<Consumer>], format: Format) -> Result<(), Failure> {
    Table::new(TITLES).print(consumers, format, row)
}

fn row(consumer: Consumer) -> Vec<String> {
    let state = match consumer.reason {
        Some(reason) if !reason.is_empty() => format!("{} ({reason})", consumer.state),
        _ => consumer.state,
    };
    vec![
        consumer.name,
        state,
        consumer.pending.to_string(),
        consumer.in_flight.to_string(),
        format!("{} / {:.0} s", consumer.lag.messages, consumer.lag.seconds),
        consumer.processed_through.to_string(),
        consumer.processed.to_string(),
        consumer.failed.to_string(),
        consumer.dead_letters.to_string(),
        consumer.filter,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_safe_in_a_path() {
        for good in ["agent-processor", "webhook-019e0f5c-7a3c-7d3e-9a6b-0d1f2e3a4b5c", "a.b_c~"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a?b", "a b", "\u{e9}", "%2e"] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_row_shows_why_a_consumer_is_paused() {
        let json = r#"{"name":"p","filter":"agent.>","state":"paused","reason":"by request","pending":2,
            "lag":{"messages":3,"seconds":4.6},"processed_through":5,"processed":6}"#;
        let expected =
            ["p", "paused (by request)", "2", "0", "3 / 5 s", "5", "6", "0", "0", "agent.>"];
        assert_eq!(row(serde_json::from_str(json).expect("a consumer")), expected);
    }
}
