//! `agentbus history`: messages from the store.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::str::FromStr;

use agentbus_client::{Bounds, Message, Pages, Query};
use clap::{Args, ValueEnum};

use super::address::ServerArgs;
use super::failure::Failure;
use super::filter::FilterArgs;
use super::printer::{OutputArgs, Printer};
use super::terminal::eprint_line;
use super::when::When;
use crate::clock::Clock;
use crate::message::Token;

/// Examples that `--help` shows.
pub const EXAMPLES: &str = "\
Examples:
  agentbus history --last 20                         the newest 20, in order
  agentbus history --task parser-7 --all             all about a task
  agentbus history --between ann,bob --since 2h      what the two sent each other
  agentbus history --contains timeout --since 2d     what mentions a word
  agentbus history --kind task --type failed --order desc --limit 5
  agentbus history --after 1041 --all | jq -r .content

In a pipe the output is one JSON object a line, byte for byte as the server holds it.";

/// The flags for a part of the log; `export` has them too.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Range")]
pub struct RangeArgs {
    /// Only after this sequence
    #[arg(long, value_name = "SEQ")]
    pub after: Option<u64>,

    /// Only before this sequence
    #[arg(long, value_name = "SEQ")]
    pub before: Option<u64>,

    /// Not before: an RFC 3339 time, or an age such as 15m, 2h, 7d
    #[arg(long, value_name = "TIME")]
    since: Option<When>,

    /// Not after: an RFC 3339 time, or an age such as 15m, 2h, 7d
    #[arg(long, value_name = "TIME")]
    until: Option<When>,

    /// Only messages between these two agents
    #[arg(long, value_name = "AGENT,AGENT")]
    between: Option<Pair>,

    /// Only messages whose content contains this text, in the same case
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
}

/// Two agents, as `a,b`.
#[derive(Clone, Debug)]
struct Pair(Token, Token);

/// The order of the messages.
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
    /// Largest number of messages
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,

    /// All, however many there are
    #[arg(long, conflicts_with = "limit")]
    all: bool,

    /// The newest N messages, oldest first
    #[arg(long, value_name = "N", conflicts_with_all = ["limit", "all", "order"],
          value_parser = clap::value_parser!(u64).range(1..=1_000))]
    last: Option<u64>,

    /// Order by sequence
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
    /// The range of times, the pair of agents and the text as query parameters.
    #[must_use]
    pub fn query(&self) -> Query {
        let now = Clock::system().now();
        let mut query = Vec::new();
        query.extend(self.since.as_ref().map(|when| ("since", when.before(now))));
        query.extend(self.until.as_ref().map(|when| ("until", when.before(now))));
        query.extend(self.between.as_ref().map(|Pair(a, b)| ("between", format!("{a},{b}"))));
        query.extend(self.contains.clone().map(|text| ("contains", text)));
        query
    }
}

/// Shows the messages.
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
        descending: args.order == Order::Desc || args.last.is_some(),
        limit: args.last.or((!args.all).then_some(args.limit)),
    };
    let pages = client.history(query, bounds);
    match args.last {
        Some(_) => show_reversed(pages, &mut printer).await?,
        None => show(pages, &mut printer).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(mut pages: Pages<Message>, printer: &mut Printer) -> Result<(), Failure> {
    let mut has_more = false;
    while let Some(page) = pages.next_page().await? {
        page.items.iter().for_each(|message| printer.message(message.json()));
        printer.flush().await?;
        has_more = page.next.is_some();
    }
    let cursor = pages.cursor().filter(|_| has_more && std::io::stdout().is_terminal());
    if let Some((name, seq)) = cursor {
        eprint_line(&format!(
            "agentbus: there are more: use --all, a larger --limit, or --{name} {seq}"
        ));
    }
    Ok(())
}

async fn show_reversed(mut pages: Pages<Message>, printer: &mut Printer) -> Result<(), Failure> {
    let mut messages = Vec::new();
    while let Some(page) = pages.next_page().await? {
        messages.extend(page.items);
    }
    messages.iter().rev().for_each(|message| printer.message(message.json()));
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
