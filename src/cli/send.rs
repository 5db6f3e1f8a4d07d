//! `agentbus send`: publishes one message.
//!
//! Invariant: the id or the idempotency key is fixed before the first attempt, so a retry after a lost
//! response makes no second message.

use std::io::IsTerminal;
use std::process::ExitCode;

use agentbus_client::{AckLevel, Document, Envelope, SendOptions, Sent};
use clap::{Args, ValueEnum};
use serde::Deserialize;
use uuid::Uuid;

use super::address::ServerArgs;
use super::failure::Failure;
use super::input::standard_input;
use super::message_args::MessageArgs;
use super::output::print_line;
use super::table::print_document;
use super::terminal::plain;

/// Examples that `--help` shows.
pub const EXAMPLES: &str = "\
Examples:
  agentbus send --sender ann 'The parser is done.'                    to all
  agentbus send --sender ann --to bob --type question 'Which port?'
  agentbus send --sender ann --kind status --type online
  agentbus send --sender ann --kind task --task parser-7 --type completed --ack committed
  git diff | agentbus send --sender ann --to bob --type review_request -
  agentbus send --json '{\"kind\":\"status\",\"type\":\"busy\",\"sender_id\":\"ann\"}'

On a terminal it prints sequence and id, in a pipe the server's JSON response. Exit codes: 0 sent (also a
duplicate), 1 refused or not reached, 2 wrong flags.";

/// `agentbus send`.
#[derive(Args, Clone, Debug)]
pub struct SendArgs {
    /// Content; `-` reads standard input and drops one newline at its end
    #[arg(value_name = "CONTENT")]
    content: Option<String>,

    /// The whole message as JSON, instead of flags; `-` reads standard input
    #[arg(long, value_name = "ENVELOPE", conflicts_with_all = [
        "content", "kind", "type_", "sender", "role", "to", "task", "conversation",
        "in_reply_to", "expires_at", "metadata", "id"])]
    json: Option<String>,

    #[command(flatten)]
    message: MessageArgs,

    /// Key that identifies the message: with the same key and sender again, it is a duplicate
    #[arg(long, value_name = "KEY", conflicts_with = "id", value_parser = key)]
    idempotency_key: Option<String>,

    /// Wait until the bus has the message (stored), or until the store has it too (committed)
    #[arg(long, value_enum, default_value_t)]
    ack: Ack,

    #[command(flatten)]
    server: ServerArgs,
}

/// What the response waits for.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Ack {
    #[default]
    Stored,
    Committed,
}

/// Sends the message.
///
/// # Errors
/// The flags are wrong, or the server refuses or cannot be reached.
pub async fn run(args: SendArgs) -> Result<ExitCode, Failure> {
    let client = args.server.client()?;
    let fresh = args.idempotency_key.is_none().then(Uuid::now_v7);
    let body = match &args.json {
        Some(text) => {
            let text = if text == "-" { standard_input().await? } else { text.clone() };
            let envelope = Envelope::parse(text.as_bytes())
                .map_err(|why| Failure::Usage(format!("the message {why}")))?;
            let id = fresh.filter(|_| !envelope.has_id());
            envelope.encode(id)
        }
        None => from_flags(&args, fresh).await?,
    };
    let ack = match args.ack {
        Ack::Stored => AckLevel::Stored,
        Ack::Committed => AckLevel::Committed,
    };
    let options = SendOptions { ack, idempotency_key: args.idempotency_key };
    let id = id_of(&body);
    let published = client.send_json(body, &options).await.map_err(|error| {
        let is_transient = error.is_transient();
        match (Failure::from(error), id) {
            (Failure::Failed(text), Some(id)) if is_transient => {
                Failure::Failed(format!("{text}\n  to send the same message again, use --id {id}"))
            }
            (failure, _) => failure,
        }
    })?;
    print(&published)?;
    Ok(ExitCode::SUCCESS)
}

async fn from_flags(args: &SendArgs, fresh: Option<Uuid>) -> Result<Vec<u8>, Failure> {
    let content = match args.content.as_deref() {
        Some("-") => {
            let mut text = standard_input().await?;
            if text.ends_with('\n') {
                text.pop();
            }
            text
        }
        other => other.unwrap_or_default().to_owned(),
    };
    let sender = std::env::var("AGENTBUS_SENDER").ok();
    args.message.envelope(&content, sender, fresh).map_err(Failure::Usage)
}

/// Parses an idempotency key, which must be safe in an HTTP header.
fn key(text: &str) -> Result<String, &'static str> {
    let visible = |c: char| c.is_ascii_graphic() || c == ' ';
    if text.is_empty() || text.len() > 255 || !text.chars().all(visible) || text.trim() != text {
        return Err("must be 1 to 255 visible ASCII characters");
    }
    Ok(text.to_owned())
}

/// The id in the body of a message.
fn id_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Identified {
        id: String,
    }
    serde_json::from_slice::<Identified>(body).ok().map(|message| plain(&message.id))
}

fn print(response: &Document<Sent>) -> Result<(), Failure> {
    match response.parse() {
        Ok(Sent { seq, id, duplicate, durability, .. }) if std::io::stdout().is_terminal() => {
            let again = if duplicate { " (duplicate: it had been sent before)" } else { "" };
            print_line(&format!("{seq}  {}  {}{again}", plain(&id), plain(&durability)))
        }
        _ => print_document(response),
    }
}
