//! `agentbus dead-letters`: lists, shows, redrives and discards dead letters.
//!
//! Invariant: nothing is discarded without `--yes`.

mod view;

use std::process::ExitCode;

use agentbus_client::{Query, Redriven};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use uuid::Uuid;

use super::address::ShowArgs;
use super::failure::Failure;
use super::output::{print_bytes, print_result};
use super::table::{Table, print_document};
use super::terminal::eprint_line;

/// Examples that `--help` shows.
pub const EXAMPLES: &str = "\
Examples:
  agentbus dead-letters list --source agent-processor
  agentbus dead-letters show 019e0f5c-7a3c-7d3e-9a6b-0d1f2e3a4b5c
  agentbus dead-letters redrive --source agent-processor    all of that consumer's
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
    /// List dead letters, oldest first
    List(ListArgs),
    /// Show one dead letter with its attempts and its message or job
    Show(OneArgs),
    /// Send dead letters back to their source, to be processed as if new
    Redrive(PickArgs),
    /// Delete dead letters for good; a message stays in the history, a job does not
    Discard(DiscardArgs),
}

/// What a dead letter contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// a message that a consumer gave up
    Message,
    /// a job that a work queue gave up
    Job,
}

#[derive(Args, Clone, Debug, Default)]
struct WhichArgs {
    /// Only of this consumer or queue
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Only of this kind
    #[arg(long, value_enum)]
    kind: Option<Kind>,
}

#[derive(Args, Clone, Debug)]
struct ListArgs {
    #[command(flatten)]
    which: WhichArgs,

    /// Largest number of dead letters
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,

    /// All, however many there are
    #[arg(long, conflicts_with = "limit")]
    all: bool,

    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Args, Clone, Debug)]
struct OneArgs {
    /// Id of the dead letter
    id: Uuid,

    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Args, Clone, Debug)]
struct PickArgs {
    /// Ids of dead letters
    #[arg(value_name = "ID", required_unless_present_any = ["source", "kind", "all"],
          conflicts_with_all = ["source", "kind", "all"])]
    ids: Vec<Uuid>,

    #[command(flatten)]
    which: WhichArgs,

    /// All dead letters
    #[arg(long, conflicts_with_all = ["source", "kind"])]
    all: bool,

    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Args, Clone, Debug)]
struct DiscardArgs {
    #[command(flatten)]
    pick: PickArgs,

    /// Confirm; without this flag nothing is discarded
    #[arg(long)]
    yes: bool,
}

impl WhichArgs {
    fn query(&self) -> Query {
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

/// Runs the subcommand.
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
    let mut pages = args.show.server.client()?.dead_letters(args.which.query(), limit);
    let mut table = Table::new(view::TITLES);
    let mut has_more = false;
    while let Some(page) = pages.next_page().await? {
        table.print(&page.items, args.show.format, view::row)?;
        has_more = page.next.is_some();
    }
    if has_more && args.show.format.is_text() {
        eprint_line("agentbus: there are more: use --all or a larger --limit");
    }
    Ok(())
}

async fn show(args: OneArgs) -> Result<(), Failure> {
    let letter = args.show.server.client()?.dead_letter(args.id).await?;
    if args.show.format.is_text() {
        print_bytes(view::details(&letter.parse()?).as_bytes())
    } else {
        print_document(&letter)
    }
}

async fn redrive(args: PickArgs) -> Result<(), Failure> {
    let client = args.show.server.client()?;
    let mut total = Redriven::default();
    if args.ids.is_empty() {
        total = client.redrive_all(args.which.query()).await?;
    }
    for id in &args.ids {
        total.redriven += client.redrive(*id).await?.redriven;
    }
    let Redriven { redriven, skipped } = total;
    let text = match skipped {
        0 => format!("{redriven} redriven"),
        _ => {
            format!("{redriven} redriven, {skipped} skipped: their source does not exist any more")
        }
    };
    print_result(
        args.show.format.is_text(),
        &text,
        &json!({"redriven": redriven, "skipped": skipped}),
    )
}

async fn discard(args: DiscardArgs) -> Result<(), Failure> {
    let DiscardArgs { pick, yes } = args;
    if !yes {
        return Err(Failure::Usage("nothing is discarded without --yes".to_owned()));
    }
    let client = pick.show.server.client()?;
    let mut discarded = 0_u64;
    for id in &pick.ids {
        client.discard(*id).await?;
        discarded += 1;
    }
    if pick.ids.is_empty() {
        let mut pages = client.dead_letters(pick.which.query(), None);
        while let Some(page) = pages.next_page().await? {
            for letter in &page.items {
                client.discard(view::id(&letter.parse()?)?).await?;
                discarded += 1;
            }
        }
    }
    let text = format!("{discarded} discarded");
    print_result(pick.show.format.is_text(), &text, &json!({ "discarded": discarded }))
}
