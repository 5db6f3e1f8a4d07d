//! `agentbus webhooks`: lists, adds, pauses, resumes and removes webhooks.
//!
//! Invariant: a secret is shown once, when its webhook is created. It can be given on standard input, since a
//! list of processes would show it among the arguments.

use std::process::ExitCode;

use agentbus_client::{Document, NewWebhook, Webhook};
use clap::{Args, Subcommand};

use super::address::ShowArgs;
use super::failure::Failure;
use super::filter::uuid;
use super::input::standard_input;
use super::output::{Format, print_line};
use super::table::Table;
use super::terminal::plain;
use crate::message::SubjectPattern;

/// Examples that `--help` shows.
pub const EXAMPLES: &str = "\
Examples:
  agentbus webhooks add https://example.com/hook --filter 'agent.task.*.completed'
  agentbus webhooks add https://example.com/hook --secret - < secret.txt
  agentbus webhooks list
  agentbus webhooks pause 01a1f9e8-0bc9-765a-8afe-827fd6edd7fe

Deliveries are signed as Standard Webhooks (webhook-id, webhook-timestamp, webhook-signature). In a
pipe the output is one JSON object a line.";

const TITLES: &[&str] = &["ID", "STATE", "FAILURES", "FILTER", "URL", "REASON"];

/// `agentbus webhooks`.
#[derive(Args, Clone, Debug)]
pub struct WebhooksArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Show all webhooks
    List(ShowArgs),
    /// Add a webhook; it delivers messages published from then on
    Add(AddArgs),
    /// Stop deliveries; messages published meanwhile wait
    Pause(OneArgs),
    /// Resume deliveries where they were paused
    Resume(OneArgs),
    /// Remove a webhook and its pending deliveries; its dead letters stay
    Remove(OneArgs),
}

#[derive(Args, Clone)]
struct AddArgs {
    /// URL to which deliveries are posted
    #[arg(value_name = "RECEIVER")]
    receiver: String,

    /// Messages to deliver: a NATS subject with wildcards [default: agent.>]
    #[arg(long, value_name = "PATTERN")]
    filter: Option<SubjectPattern>,

    /// Signing secret: whsec_ and the Base64 of 24 to 64 bytes; `-` reads it from standard input; without it,
    /// the server generates one
    #[arg(long)]
    secret: Option<String>,

    #[command(flatten)]
    list: ShowArgs,
}

#[derive(Args, Clone, Debug)]
struct OneArgs {
    /// Id of the webhook
    #[arg(value_parser = uuid)]
    id: String,

    #[command(flatten)]
    list: ShowArgs,
}

impl std::fmt::Debug for AddArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { receiver, filter, secret, list } = self;
        let secret = secret.as_ref().map(|_| "***");
        let mut shown = f.debug_struct("AddArgs");
        shown.field("receiver", receiver).field("filter", filter).field("secret", &secret);
        shown.field("list", list).finish()
    }
}

/// Runs the subcommand.
///
/// # Errors
/// The server refuses or cannot be reached.
pub async fn run(args: WebhooksArgs) -> Result<ExitCode, Failure> {
    match args.what {
        What::List(args) => print(&args.server.client()?.webhooks().await?, args.format)?,
        What::Add(args) => add(args).await?,
        What::Pause(args) => set_state(args, "paused").await?,
        What::Resume(args) => set_state(args, "active").await?,
        What::Remove(args) => args.list.server.client()?.delete_webhook(&args.id).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(args: AddArgs) -> Result<(), Failure> {
    let AddArgs { receiver: url, filter, mut secret, list } = args;
    let client = list.server.client()?;
    if secret.as_deref() == Some("-") {
        secret = Some(standard_input().await?.trim().to_owned());
    }
    let filter = filter.map(|filter| filter.as_str().to_owned());
    let made = client.create_webhook(&NewWebhook { url, filter, secret }).await?;
    print(std::slice::from_ref(&made), list.format)?;
    match made.parse()?.secret {
        Some(secret) if list.format.is_text() => {
            print_line(&format!("\nsecret  {}  (not shown again)", plain(&secret)))
        }
        _ => Ok(()),
    }
}

async fn set_state(args: OneArgs, state: &str) -> Result<(), Failure> {
    let changed = args.list.server.client()?.set_webhook_state(&args.id, state).await?;
    print(&[changed], args.list.format)
}

fn print(webhooks: &[Document<Webhook>], format: Format) -> Result<(), Failure> {
    Table::new(TITLES).print(webhooks, format, row)
}

fn row(webhook: Webhook) -> Vec<String> {
    let Webhook { id, url, filter, state, reason, failures, last_error, .. } = webhook;
    // An error before the last success no longer matters.
    let why = reason.or(last_error.filter(|_| failures > 0));
    vec![id, state, failures.to_string(), filter, url, why.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_why_a_webhook_is_paused_or_fails() {
        let row = |reason: &str, failures: u64| {
            let json = format!(
                r#"{{"id":"1","url":"u","filter":"f","state":"s","reason":{reason},"failures":{failures},"last_error":"x"}}"#
            );
            row(serde_json::from_str(&json).expect("a webhook"))
        };
        assert_eq!(row("null", 0), ["1", "s", "0", "f", "u", ""]);
        assert_eq!(row("null", 2), ["1", "s", "2", "f", "u", "x"]);
        assert_eq!(row(r#""gone""#, 1), ["1", "s", "1", "f", "u", "gone"]);
    }

    #[test]
    fn a_secret_on_the_command_line_is_not_shown() {
        #[derive(clap::Parser, Debug)]
        struct Line {
            #[command(flatten)]
            args: WebhooksArgs,
        }
        let words = ["webhooks", "add", "https://a.example", "--secret", "whsec_hunter2"];
        let line = <Line as clap::Parser>::try_parse_from(words).expect("valid");
        assert!(!format!("{line:?}").contains("hunter2"));
    }
}
