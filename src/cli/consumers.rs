//! `agentbus consumers`: who processes the log, how far they are, and stopping them.

use std::process::ExitCode;
use std::str::FromStr;

use bytes::Bytes;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::address::ServerArgs;
use super::failure::Failure;
use super::output::{Format, put};
use super::table::Table;

/// Examples shown after `--help`.
pub const EXAMPLES: &str = "\
Examples:
  agentbus consumers list
  agentbus consumers pause agent-processor
  agentbus consumers resume agent-processor
  agentbus consumers reset agent-processor --from 1041    once more from this sequence on

In a pipe the output is one JSON object a line.";

const TITLES: &[&str] = &[
    "NAME",
    "STATE",
    "PENDING",
    "IN FLIGHT",
    "BEHIND",
    "THROUGH",
    "PROCESSED",
    "FAILED",
    "DEAD",
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
    /// Show where each of them stands
    List(ListArgs),
    /// Hand out no more messages until it is resumed
    Pause(OneArgs),
    /// Go on where it was paused
    Resume(OneArgs),
    /// Process again from a sequence on, also what the stream no longer holds
    Reset(ResetArgs),
}

#[derive(Args, Clone, Debug)]
struct ListArgs {
    /// How to write them
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Clone, Debug)]
struct OneArgs {
    /// The consumer
    name: Name,

    #[command(flatten)]
    list: ListArgs,
}

#[derive(Args, Clone, Debug)]
struct ResetArgs {
    #[command(flatten)]
    one: OneArgs,

    /// The first sequence to process again; without it everything that is kept
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    from: u64,
}

/// A consumer's name, which stands in a path.
#[derive(Clone, Debug)]
struct Name(String);

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
        // A path of dots would be another path.
        if text.is_empty() || !text.chars().all(good) || text.chars().all(|c| c == '.') {
            return Err("must be a consumer's name");
        }
        Ok(Self(text.to_owned()))
    }
}

/// Does what the flags ask for.
///
/// # Errors
/// The server refuses or cannot be reached.
pub async fn run(args: ConsumersArgs) -> Result<ExitCode, Failure> {
    match args.what {
        What::List(args) => list(args).await?,
        What::Pause(args) => change(args, "pause", Bytes::new()).await?,
        What::Resume(args) => change(args, "resume", Bytes::new()).await?,
        What::Reset(args) => {
            let body = serde_json::json!({ "from": args.from }).to_string();
            change(args.one, "reset", body.into()).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Deserialize)]
struct All<'a> {
    #[serde(borrow)]
    consumers: Vec<&'a RawValue>,
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let body = client.call(|| client.get("/v1/consumers", &[])).await?;
    let all: All<'_> = serde_json::from_slice(&body)
        .map_err(|error| Failure::Failed(format!("the server's list cannot be read: {error}")))?;
    show(all.consumers.iter().map(|consumer| consumer.get()), args.format)
}

async fn change(args: OneArgs, verb: &str, body: Bytes) -> Result<(), Failure> {
    let client = args.list.server.client()?;
    let path = format!("/v1/consumers/{}/{verb}", args.name.0);
    let send = || client.post(&path, &[], "application/json", body.clone());
    let answer = client.call(send).await?;
    match std::str::from_utf8(&answer) {
        Ok(consumer) if !consumer.is_empty() => show([consumer].into_iter(), args.list.format),
        _ => Ok(()),
    }
}

fn show<'a>(consumers: impl Iterator<Item = &'a str>, format: Format) -> Result<(), Failure> {
    if !format.is_text() {
        let mut consumers = consumers;
        return consumers.try_for_each(|json| put(format!("{json}\n").as_bytes()));
    }
    let rows: Vec<_> = consumers.map(row).collect();
    put(Table::new(TITLES).lines(&rows).as_bytes())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shown {
    name: String,
    filter: String,
    state: String,
    reason: Option<String>,
    pending: u64,
    in_flight: u64,
    lag: Lag,
    processed_through: u64,
    processed: u64,
    failed: u64,
    dead_letters: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Lag {
    messages: u64,
    seconds: f64,
}

fn row(json: &str) -> Vec<String> {
    let shown: Shown = serde_json::from_str(json).unwrap_or_default();
    let state = match shown.reason {
        Some(reason) if !reason.is_empty() => format!("{} ({reason})", shown.state),
        _ => shown.state,
    };
    vec![
        shown.name,
        state,
        shown.pending.to_string(),
        shown.in_flight.to_string(),
        format!("{} / {:.0} s", shown.lag.messages, shown.lag.seconds),
        shown.processed_through.to_string(),
        shown.processed.to_string(),
        shown.failed.to_string(),
        shown.dead_letters.to_string(),
        shown.filter,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_in_a_path_as_it_is() {
        for good in ["agent-processor", "webhook-019e0f5c-7a3c-7d3e-9a6b-0d1f2e3a4b5c", "a.b_c~"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a?b", "a b", "\u{e9}", "%2e"] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_row_tells_why_it_stands_still() {
        let json = r#"{"name":"p","filter":"agent.>","state":"paused","reason":"by request","pending":2,
            "lag":{"messages":3,"seconds":4.6},"processed_through":5,"processed":6}"#;
        let expected =
            ["p", "paused (by request)", "2", "0", "3 / 5 s", "5", "6", "0", "0", "agent.>"];
        assert_eq!(row(json), expected);
    }
}
