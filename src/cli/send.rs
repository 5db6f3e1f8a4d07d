//! `agentbus send`: one message.
//!
//! Invariant: the id (or the idempotency key) is fixed before the first
//! attempt, so a retry after a lost answer stays one message.

use std::io::IsTerminal;
use std::process::ExitCode;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use uuid::Uuid;

use super::address::ServerArgs;
use super::client::Client;
use super::envelope::Envelope;
use super::failure::Failure;
use super::limits::INPUT_BYTES;
use super::message_args::MessageArgs;
use super::output::plain;

/// Examples shown after `--help`.
pub const EXAMPLES: &str = "\
Examples:
  agentbus send --sender ann 'The parser is done.'                    to all
  agentbus send --sender ann --to bob --type question 'Which port?'
  agentbus send --sender ann --kind status --type online
  agentbus send --sender ann --kind task --task parser-7 --type completed --ack committed
  git diff | agentbus send --sender ann --to bob --type review_request -
  agentbus send --json '{\"kind\":\"status\",\"type\":\"busy\",\"sender_id\":\"ann\"}'

On a terminal it prints sequence and id, in a pipe the server's JSON answer. Exit codes: 0 sent (a
duplicate too), 1 refused or not reached, 2 wrong flags.";

/// `agentbus send`.
#[derive(Args, Clone, Debug)]
pub struct SendArgs {
    /// What to say; `-` reads standard input, without one newline at its end
    #[arg(value_name = "CONTENT")]
    content: Option<String>,

    /// A whole envelope instead of flags; `-` reads standard input
    #[arg(long, value_name = "ENVELOPE", conflicts_with_all = [
        "content", "kind", "type_", "sender", "role", "to", "task", "conversation",
        "in_reply_to", "expires_at", "metadata", "id"])]
    json: Option<String>,

    #[command(flatten)]
    message: MessageArgs,

    /// Makes sending this key again by the same sender a repeat instead of a second message
    #[arg(long, value_name = "KEY", conflicts_with = "id", value_parser = key)]
    idempotency_key: Option<String>,

    /// Wait until the bus has it (stored), or the store too (committed)
    #[arg(long, value_enum, default_value_t)]
    ack: Ack,

    #[command(flatten)]
    server: ServerArgs,
}

/// What the sender waits for.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Ack {
    #[default]
    Stored,
    Committed,
}

#[derive(Deserialize)]
struct Answer {
    seq: u64,
    id: String,
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    durability: String,
}

/// Sends the message.
///
/// # Errors
/// The flags make no message, or the server refuses or cannot be reached.
pub async fn run(args: SendArgs) -> Result<ExitCode, Failure> {
    let client = args.server.client()?;
    let fresh = args.idempotency_key.is_none().then(Uuid::now_v7);
    let body = match &args.json {
        Some(text) => {
            let text = if text == "-" { standard_input().await? } else { text.clone() };
            let envelope = Envelope::parse(text.as_bytes())
                .map_err(|why| Failure::Usage(format!("the envelope {why}")))?;
            let id = fresh.filter(|_| !envelope.has_id());
            envelope.encode(id)
        }
        None => from_flags(&args, fresh).await?,
    };
    let answer = post(&client, &args, body.into()).await?;
    print(&answer)?;
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

/// An idempotency key that a header can carry unchanged.
fn key(text: &str) -> Result<String, &'static str> {
    let visible = |c: char| c.is_ascii_graphic() || c == ' ';
    if text.is_empty() || text.len() > 255 || !text.chars().all(visible) || text.trim() != text {
        return Err("must be 1 to 255 visible ASCII characters");
    }
    Ok(text.to_owned())
}

/// Everything on standard input, as text.
///
/// # Errors
/// It cannot be read, is no UTF-8, or longer than any message.
pub(super) async fn standard_input() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let mut input = tokio::io::stdin().take(INPUT_BYTES + 1);
    let read = input.read_to_end(&mut bytes).await;
    read.map_err(|error| Failure::io("standard input", &error))?;
    if bytes.len() as u64 > INPUT_BYTES {
        return Err(Failure::Failed("standard input is longer than any message can be".to_owned()));
    }
    String::from_utf8(bytes).map_err(|_| Failure::Failed("standard input is not UTF-8".to_owned()))
}

async fn post(client: &Client, args: &SendArgs, body: Bytes) -> Result<Bytes, Failure> {
    let ack = match args.ack {
        Ack::Stored => "stored",
        Ack::Committed => "committed",
    };
    let query = [("ack", ack.to_owned())];
    let build = || {
        let request = client.post("/v1/messages", &query, "application/json", body.clone());
        match &args.idempotency_key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        }
    };
    client.call(build).await.map_err(|refusal| match id_of(&body) {
        Some(id) if refusal.is_passing() => Failure::Failed(format!(
            "{}\n  to try the same message again: --id {id}",
            refusal.words()
        )),
        _ => refusal.into(),
    })
}

fn id_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Identified {
        id: String,
    }
    serde_json::from_slice::<Identified>(body).ok().map(|message| plain(&message.id))
}

fn print(answer: &[u8]) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let written = match serde_json::from_slice::<Answer>(answer) {
        Ok(Answer { seq, id, duplicate, durability }) if out.is_terminal() => {
            let again = if duplicate { " (it had been sent before)" } else { "" };
            writeln!(out, "{seq}  {}  {}{again}", plain(&id), plain(&durability))
        }
        _ => out.write_all(answer.trim_ascii_end()).and_then(|()| out.write_all(b"\n")),
    };
    written.and_then(|()| out.flush()).map_err(|error| Failure::io("standard output", &error))
}
