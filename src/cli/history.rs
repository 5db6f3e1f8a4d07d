//! `agentbus history`: what was said, from the store.
//!
//! Invariant: pages are joined by the server's cursor, so no message is shown
//! twice or left out, however many come meanwhile.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::str::FromStr;

use chrono::Utc;
use clap::{Args, ValueEnum};

use super::address::ServerArgs;
use super::client::Client;
use super::failure::Failure;
use super::filter::FilterArgs;
use super::output::{OutputArgs, Printer, tell};
use super::pages::{Bounds, Pages};
use super::when::When;
use crate::message::Token;

/// Examples shown after `--help`.
pub const EXAMPLES: &str = "\
Examples:
  agentbus history --last 20                         the newest 20, oldest of them first
  agentbus history --task parser-7 --all             a task's whole story
  agentbus history --between ann,bob --since 2h      what the two said to each other
  agentbus history --kind task --type failed --order desc --limit 5
  agentbus history --after 1041 --all | jq -r .content

In a pipe the output is one JSON object a line, the bytes as the server holds them.";

/// Which part of the log, shared with `export`.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Range")]
pub struct RangeArgs {
    /// Only after this sequence
    #[arg(long, value_name = "SEQ")]
    pub after: Option<u64>,

    /// Only before this sequence
    #[arg(long, value_name = "SEQ")]
    pub before: Option<u64>,

    /// Not older: RFC 3339, or a span such as 15m, 2h, 7d
    #[arg(long, value_name = "TIME")]
    since: Option<When>,

    /// Not newer: RFC 3339, or a span such as 15m, 2h, 7d
    #[arg(long, value_name = "TIME")]
    until: Option<When>,

    /// Only what these two sent to each other
    #[arg(long, value_name = "AGENT,AGENT")]
    between: Option<Pair>,
}

/// Two agents, as `a,b`.
#[derive(Clone, Debug)]
struct Pair(Token, Token);

/// Which end comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Order {
    /// oldest first
    #[default]
    Asc,
    /// newest first
    Desc,
}

/// `agentbus history`.
#[derive(Args, Clone, Debug)]
pub struct HistoryArgs {
    /// At most this many messages
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,

    /// Everything, however many pages it takes
    #[arg(long, conflicts_with = "limit")]
    all: bool,

    /// The newest N, the oldest of them first
    #[arg(long, value_name = "N", conflicts_with_all = ["limit", "all", "order"],
          value_parser = clap::value_parser!(u64).range(1..=1_000))]
    last: Option<u64>,

    /// Which end comes first
    #[arg(long, value_enum, default_value_t)]
    order: Order,

    #[command(flatten)]
    range: RangeArgs,

    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    server: ServerArgs,
}

impl FromStr for Pair {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (a, b) = text.split_once(',').ok_or("must be two agents, such as ann,bob")?;
        Ok(Self(a.trim().parse()?, b.trim().parse()?))
    }
}

impl RangeArgs {
    /// The query parameters, but for the sequences.
    #[must_use]
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let now = Utc::now();
        let mut query = Vec::new();
        query.extend(self.since.as_ref().map(|when| ("since", when.before(now))));
        query.extend(self.until.as_ref().map(|when| ("until", when.before(now))));
        query.extend(self.between.as_ref().map(|Pair(a, b)| ("between", format!("{a},{b}"))));
        query
    }
}

/// Shows what the flags ask for.
///
/// # Errors
/// The server refuses or cannot be reached.
pub async fn run(args: HistoryArgs) -> Result<ExitCode, Failure> {
    let client = args.server.client()?;
    let mut query = args.filter.query();
    query.extend(args.range.query());
    let mut printer = Printer::new(args.output, true);
    let bounds = Bounds {
        after: args.range.after,
        before: args.range.before,
        descending: args.order == Order::Desc,
        limit: (!args.all).then_some(args.limit),
    };
    match args.last {
        Some(last) => show_last(client, query, bounds, last, &mut printer).await?,
        None => show(Pages::new(client, query, bounds), &mut printer).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(mut pages: Pages, printer: &mut Printer) -> Result<(), Failure> {
    let mut more = None;
    while let Some(page) = pages.next().await? {
        page.messages.iter().for_each(|json| printer.message(json));
        printer.flush().await?;
        more = page.next;
    }
    if more.is_some() && std::io::stdout().is_terminal() {
        tell(&format!("agentbus: there is more: see --all, --limit, {}", pages.next_flag()));
    }
    Ok(())
}

async fn show_last(
    client: Client,
    query: Vec<(&'static str, String)>,
    bounds: Bounds,
    last: u64,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let bounds = Bounds { descending: true, limit: Some(last), ..bounds };
    let mut pages = Pages::new(client, query, bounds);
    let mut newest_first = Vec::new();
    while let Some(page) = pages.next().await? {
        newest_first.extend(page.messages);
    }
    newest_first.iter().rev().for_each(|json| printer.message(json));
    printer.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_takes_two_agents() {
        let pair = |text: &str| text.parse::<Pair>().map(|Pair(a, b)| format!("{a} {b}"));
        assert_eq!(pair("ann,bob"), Ok("ann bob".to_owned()));
        assert_eq!(pair("ann, bob"), Ok("ann bob".to_owned()));
        assert!(pair("ann").is_err() && pair("ann,bob,cy").is_err() && pair(",bob").is_err());
    }
}
