//! `agentbus webhooks`: messages pushed to receivers over HTTP.
//!
//! Invariant: a secret is shown when its webhook is made and never again; it can
//! be given on standard input, so that no list of processes shows it.

use std::process::ExitCode;

use bytes::Bytes;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::address::ServerArgs;
use super::failure::Failure;
use super::filter::uuid;
use super::limits::WEBHOOK_RETRY_FOR;
use super::output::{Format, plain, put, say};
use super::send::standard_input;
use super::table::Table;
use crate::message::SubjectPattern;

/// Examples shown after `--help`.
pub const EXAMPLES: &str = "\
Examples:
  agentbus webhooks add https://example.com/hook --filter 'agent.task.*.completed'
  agentbus webhooks add https://example.com/hook --secret - < secret.txt
  agentbus webhooks list
  agentbus webhooks pause 01a1f9e8-0bc9-765a-8afe-827fd6edd7fe

Deliveries are signed as Standard Webhooks (webhook-id, webhook-timestamp, webhook-signature). In a
pipe the output is one JSON object a line.";

const PATH: &str = "/v1/webhooks";
const TITLES: &[&str] = &["ID", "STATE", "FAILURES", "FILTER", "URL", "WHY"];

/// `agentbus webhooks`.
#[derive(Args, Clone, Debug)]
pub struct WebhooksArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Show all webhooks
    List(ListArgs),
    /// Make one; it gets what is published from then on
    Add(AddArgs),
    /// Stop deliveries; what is published meanwhile waits
    Pause(OneArgs),
    /// Go on where it stopped
    Resume(OneArgs),
    /// Remove one, with what waits for it; its dead letters stay
    Remove(OneArgs),
}

#[derive(Args, Clone, Debug)]
struct ListArgs {
    /// How to write them
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Clone)]
struct AddArgs {
    /// Where deliveries are posted to
    #[arg(value_name = "RECEIVER")]
    receiver: String,

    /// Which messages: a NATS subject with wildcards [default: agent.>]
    #[arg(long, value_name = "PATTERN")]
    filter: Option<SubjectPattern>,

    /// whsec_ and the Base64 of 24 to 64 bytes; `-` reads it from standard input; without it the server makes one
    #[arg(long)]
    secret: Option<String>,

    #[command(flatten)]
    list: ListArgs,
}

#[derive(Args, Clone, Debug)]
struct OneArgs {
    /// The webhook's id
    #[arg(value_parser = uuid)]
    id: String,

    #[command(flatten)]
    list: ListArgs,
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    webhooks: Vec<&'a RawValue>,
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

/// Does what the flags ask for.
///
/// # Errors
/// The server refuses or cannot be reached.
pub async fn run(args: WebhooksArgs) -> Result<ExitCode, Failure> {
    match args.what {
        What::List(args) => list(args).await?,
        What::Add(args) => add(args).await?,
        What::Pause(args) => change(args, "paused").await?,
        What::Resume(args) => change(args, "active").await?,
        What::Remove(args) => {
            let (client, path) = (args.list.server.client()?, path(&args.id));
            client.call(|| client.delete(&path, &[])).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path(id: &str) -> String {
    format!("{PATH}/{id}")
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client.call(|| client.get(PATH, &[])).await?;
    let unreadable = |error| Failure::Failed(format!("the server's list cannot be read: {error}"));
    let List { webhooks } = serde_json::from_slice(&answer).map_err(unreadable)?;
    show(webhooks.iter().map(|webhook| webhook.get()), args.format)
}

async fn add(args: AddArgs) -> Result<(), Failure> {
    // Without a key of its own, a repeat after a lost answer would make a second webhook.
    let client = args.list.server.client_trying_for(WEBHOOK_RETRY_FOR)?;
    let mut body = json!({"url": args.receiver});
    if let Some(filter) = &args.filter {
        body["filter"] = filter.as_str().into();
    }
    match args.secret.as_deref() {
        Some("-") => body["secret"] = standard_input().await?.trim().into(),
        Some(secret) => body["secret"] = secret.into(),
        None => {}
    }
    let body = Bytes::from(body.to_string());
    let build = || client.post(PATH, &[], "application/json", body.clone());
    let answer = client.call(build).await?;
    show([&*String::from_utf8_lossy(&answer)].into_iter(), args.list.format)?;
    let made: Value = serde_json::from_slice(&answer).unwrap_or_default();
    match made["secret"].as_str() {
        Some(secret) if args.list.format.is_text() => {
            say(&format!("\nsecret  {}  (not shown again)", plain(secret)))
        }
        _ => Ok(()),
    }
}

async fn change(args: OneArgs, state: &str) -> Result<(), Failure> {
    let (client, path) = (args.list.server.client()?, path(&args.id));
    let body = Bytes::from(json!({"state": state}).to_string());
    let answer = client.call(|| client.patch(&path, body.clone())).await?;
    show([&*String::from_utf8_lossy(&answer)].into_iter(), args.list.format)
}

fn show<'a>(mut webhooks: impl Iterator<Item = &'a str>, format: Format) -> Result<(), Failure> {
    if !format.is_text() {
        return webhooks.try_for_each(say);
    }
    let rows: Vec<_> = webhooks.map(row).collect();
    put(Table::new(TITLES).lines(&rows).as_bytes())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shown {
    id: String,
    url: String,
    filter: String,
    state: String,
    reason: Option<String>,
    failures: u64,
    last_error: Option<String>,
}

fn row(json: &str) -> Vec<String> {
    let shown: Shown = serde_json::from_str(json).unwrap_or_default();
    // What failed before the last success is of no interest.
    let why = shown.reason.or(shown.last_error.filter(|_| shown.failures > 0));
    let failures = shown.failures.to_string();
    vec![shown.id, shown.state, failures, shown.filter, shown.url, why.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_why_it_stands_still_or_fails() {
        let row = |reason: &str, failures: u64| {
            let json = format!(
                r#"{{"id":"1","url":"u","filter":"f","state":"s","reason":{reason},"failures":{failures},"last_error":"x"}}"#
            );
            row(&json)
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
