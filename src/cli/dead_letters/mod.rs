//! `agentbus dead-letters`: what could not be processed, and what becomes of it.
//!
//! Invariant: what destroys is done only when it was asked for with `--yes`.

mod pages;
mod view;

use std::process::ExitCode;

use bytes::Bytes;
use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use uuid::Uuid;

use self::pages::Pages;
use super::address::ServerArgs;
use super::client::Client;
use super::failure::Failure;
use super::output::{Format, put, say, tell};
use super::table::Table;

/// Examples shown after `--help`.
pub const EXAMPLES: &str = "\
Examples:
  agentbus dead-letters list --source agent-processor
  agentbus dead-letters show 019e0f5c-7a3c-7d3e-9a6b-0d1f2e3a4b5c
  agentbus dead-letters redrive --source agent-processor    all of them, to that consumer alone
  agentbus dead-letters discard --source agent-processor --yes
  agentbus dead-letters list --all | jq -r '[.source, .reason] | @tsv'

In a pipe the output is one JSON object a line.";

/// `agentbus dead-letters`.
#[derive(Args, Clone, Debug)]
pub struct DeadLettersArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Show what could not be processed, oldest first
    List(ListArgs),
    /// Show one with its attempts and its message or job
    Show(ShowArgs),
    /// Send back to where it failed, to be processed again from the first attempt
    Redrive(PickArgs),
    /// Forget for good; a message stays in the history, a job does not
    Discard(DiscardArgs),
}

/// What it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// a message, from a consumer
    Message,
    /// a job, from a work queue
    Job,
}

#[derive(Args, Clone, Debug, Default)]
struct WhichArgs {
    /// Only of this consumer or queue
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Only these
    #[arg(long, value_enum)]
    kind: Option<Kind>,
}

#[derive(Args, Clone, Debug)]
struct ListArgs {
    #[command(flatten)]
    which: WhichArgs,

    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,

    /// Everything, however many pages it takes
    #[arg(long, conflicts_with = "limit")]
    all: bool,

    /// How to write them
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Clone, Debug)]
struct ShowArgs {
    /// Its id
    id: Uuid,

    /// How to write it
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Clone, Debug)]
struct PickArgs {
    /// Those with these ids
    #[arg(value_name = "ID", required_unless_present_any = ["source", "kind", "all"],
          conflicts_with_all = ["source", "kind", "all"])]
    ids: Vec<Uuid>,

    #[command(flatten)]
    which: WhichArgs,

    /// All there are
    #[arg(long, conflicts_with_all = ["source", "kind"])]
    all: bool,

    /// How to write the outcome
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Clone, Debug)]
struct DiscardArgs {
    #[command(flatten)]
    pick: PickArgs,

    /// Do it: without this nothing is discarded
    #[arg(long)]
    yes: bool,
}

impl WhichArgs {
    fn query(&self) -> Vec<(&'static str, String)> {
        let kind = self.kind.map(|kind| match kind {
            Kind::Message => "message",
            Kind::Job => "job",
        });
        let mut query = Vec::new();
        query.extend(self.source.as_ref().map(|source| ("source", source.clone())));
        query.extend(kind.map(|kind| ("kind", kind.to_owned())));
        query
    }
}

/// Does what the flags ask for.
///
/// # Errors
/// The server refuses or cannot be reached.
pub async fn run(args: DeadLettersArgs) -> Result<ExitCode, Failure> {
    match args.what {
        What::List(args) => list(args).await?,
        What::Show(args) => show(args).await?,
        What::Redrive(args) => redrive(args).await?,
        What::Discard(args) => discard(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    let limit = (!args.all).then_some(args.limit);
    let mut pages = Pages::new(args.server.client()?, args.which.query(), limit);
    let mut table = args.format.is_text().then(|| Table::new(view::TITLES));
    let mut more = false;
    while let Some(letters) = pages.next().await? {
        match &mut table {
            Some(table) => {
                let rows: Vec<_> = letters.iter().map(|json| view::row(json)).collect();
                put(table.lines(&rows).as_bytes())?;
            }
            None => letters.iter().try_for_each(|json| put(&[&json[..], b"\n"].concat()))?,
        }
        more = pages.more();
    }
    if more && args.format.is_text() {
        tell("agentbus: there are more: see --all, --limit");
    }
    Ok(())
}

async fn show(args: ShowArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let body = client.call(|| client.get(&path(args.id), &[])).await?;
    if args.format.is_text() {
        put(view::whole(&body).as_bytes())
    } else {
        put(&[&body[..], b"\n"].concat())
    }
}

#[derive(Default, Deserialize)]
struct Redriven {
    redriven: u64,
    #[serde(default)]
    skipped: u64,
}

async fn redrive(args: PickArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let mut done = Redriven::default();
    if args.ids.is_empty() {
        done = post(&client, "/v1/dead-letters/redrive", &args.which.query()).await?;
    }
    for id in &args.ids {
        let one = post(&client, &format!("{}/redrive", path(*id)), &[]).await?;
        done.redriven += one.redriven;
    }
    if !args.format.is_text() {
        let Redriven { redriven, skipped } = done;
        return say(&serde_json::json!({"redriven": redriven, "skipped": skipped}).to_string());
    }
    match done.skipped {
        0 => say(&format!("{} redriven", done.redriven)),
        more => say(&format!("{} redriven, {more} left: their source is no more", done.redriven)),
    }
}

async fn post(
    client: &Client,
    path: &str,
    query: &[(&'static str, String)],
) -> Result<Redriven, Failure> {
    let body = client.call(|| client.post(path, query, "application/json", Bytes::new())).await?;
    serde_json::from_slice(&body)
        .map_err(|error| Failure::Failed(format!("the server's answer cannot be read: {error}")))
}

async fn discard(args: DiscardArgs) -> Result<(), Failure> {
    let DiscardArgs { pick, yes } = args;
    if !yes {
        return Err(Failure::Usage("nothing is discarded without --yes".to_owned()));
    }
    let client = pick.server.client()?;
    let mut discarded = 0_u64;
    for id in &pick.ids {
        client.call(|| client.delete(&path(*id), &[])).await?;
        discarded += 1;
    }
    if pick.ids.is_empty() {
        let mut pages = Pages::new(client.clone(), pick.which.query(), None);
        while let Some(letters) = pages.next().await? {
            for json in &letters {
                let id = view::id(json)?;
                client.call(|| client.delete(&path(id), &[])).await?;
                discarded += 1;
            }
        }
    }
    if pick.format.is_text() {
        say(&format!("{discarded} discarded"))
    } else {
        say(&serde_json::json!({"discarded": discarded}).to_string())
    }
}

fn path(id: Uuid) -> String {
    format!("/v1/dead-letters/{id}")
}
