//! `agentbus schemas`: what the content and metadata of messages must be, by kind and type.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use agentbus_client::{Document, NewSchema, Schema};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::value::RawValue;

use super::address::ShowArgs;
use super::failure::Failure;
use super::input::standard_input;
use super::output::print_line;
use super::table::{Table, print_document};
use super::terminal::local_time;
use crate::message::{Kind, Token};

/// Examples that `--help` shows.
pub const EXAMPLES: &str = "\
Examples:
  agentbus schemas put message/order --content json order.schema.json
  agentbus schemas put task/completed --mode warn - < completed.schema.json
  agentbus schemas check message/order --content json order-2.schema.json
  agentbus schemas show message/order

A schema is JSON Schema 2020-12 for an object with the members content and metadata. With --content
json, the content of a message is a text that is JSON, and the schema describes what it stands for. In
a pipe the output is one JSON object a line.";

const TITLES: &[&str] = &["MESSAGES", "VERSION", "MODE", "CONTENT", "MADE", "BY"];

/// `agentbus schemas`.
#[derive(Args, Clone, Debug)]
pub struct SchemasArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Show all schemas
    List(ShowArgs),
    /// Show a schema as JSON
    Show(OneArgs),
    /// Put a schema: it counts from now on
    Put(PutArgs),
    /// Count the last 1,000 messages that a schema would refuse; store nothing
    Check(PutArgs),
    /// Show the versions of a schema
    Versions(OneArgs),
    /// Delete a schema with all its versions
    Delete(OneArgs),
}

/// The messages of a schema: `KIND/TYPE`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Messages {
    kind: Kind,
    type_: Token,
}

impl FromStr for Messages {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, type_) = text.split_once('/').ok_or("must be KIND/TYPE, as in message/order")?;
        let kind = kind.parse().map_err(|rule| format!("the kind {rule}"))?;
        let type_ = type_.parse().map_err(|rule| format!("the type {rule}"))?;
        Ok(Self { kind, type_ })
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ContentForm {
    /// A string
    Text,
    /// What its text, which must be JSON, stands for
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    /// Check nothing
    Off,
    /// Accept what does not match, with a warning
    Warn,
    /// Refuse what does not match
    Enforce,
}

#[derive(Args, Clone, Debug)]
struct OneArgs {
    /// The messages: KIND/TYPE, as in message/order
    #[arg(value_name = "KIND/TYPE")]
    messages: Messages,

    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Args, Clone, Debug)]
struct PutArgs {
    #[command(flatten)]
    one: OneArgs,

    /// File with the JSON Schema; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// What the content of the messages is
    #[arg(long, value_enum, default_value = "text")]
    content: ContentForm,

    /// What happens to messages that do not match
    #[arg(long, value_enum, default_value = "enforce")]
    mode: Mode,
}

/// Runs the subcommand.
///
/// # Errors
/// The server refuses or cannot be reached; the file cannot be read.
pub async fn run(args: SchemasArgs) -> Result<ExitCode, Failure> {
    match args.what {
        What::List(show) => {
            let all = show.server.client()?.schemas().await?;
            Table::new(TITLES).print(&all, show.format, row)?;
        }
        What::Show(OneArgs { messages: Messages { kind, type_ }, show }) => {
            let schema = show.server.client()?.schema(kind.as_str(), type_.as_str()).await?;
            print_document(&schema)?;
        }
        What::Put(args) => {
            let (kind, type_, new) = args.read().await?;
            let show = args.one.show;
            let put = show.server.client()?.put_schema(kind, &type_, &new).await?;
            print_one(put, &show)?;
        }
        What::Check(args) => {
            let (kind, type_, new) = args.read().await?;
            let show = args.one.show;
            let count = show.server.client()?.check_schema(kind, &type_, &new).await?;
            print_line(&match show.format.is_text() {
                true => format!("{count} of the last 1000 messages would be refused"),
                false => format!("{{\"incompatible\":{count}}}"),
            })?;
        }
        What::Versions(OneArgs { messages: Messages { kind, type_ }, show }) => {
            let client = show.server.client()?;
            let all = client.schema_versions(kind.as_str(), type_.as_str()).await?;
            Table::new(TITLES).print(&all, show.format, row)?;
        }
        What::Delete(OneArgs { messages: Messages { kind, type_ }, show }) => {
            show.server.client()?.delete_schema(kind.as_str(), type_.as_str()).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl PutArgs {
    async fn read(&self) -> Result<(&'static str, String, NewSchema), Failure> {
        let text = match self.file.as_os_str() == "-" {
            true => standard_input().await?,
            false => std::fs::read_to_string(&self.file)
                .map_err(|error| Failure::io(&self.file.display().to_string(), &error))?,
        };
        let schema: Box<RawValue> = serde_json::from_str(&text)
            .map_err(|error| Failure::Failed(format!("the schema is not JSON: {error}")))?;
        let content = match self.content {
            ContentForm::Text => "text",
            ContentForm::Json => "json",
        };
        let mode = match self.mode {
            Mode::Off => "off",
            Mode::Warn => "warn",
            Mode::Enforce => "enforce",
        };
        let (content, mode) = (Some(content.to_owned()), Some(mode.to_owned()));
        let Messages { kind, type_ } = &self.one.messages;
        Ok((kind.as_str(), type_.to_string(), NewSchema { schema, content, mode }))
    }
}

fn print_one(schema: Document<Schema>, show: &ShowArgs) -> Result<(), Failure> {
    Table::new(TITLES).print(&[schema], show.format, row)
}

fn row(schema: Schema) -> Vec<String> {
    let Schema { kind, type_, version, mode, content, created_at, created_by, .. } = schema;
    let made = local_time(&created_at, true);
    let messages = format!("{kind}/{type_}");
    vec![messages, version.to_string(), mode, content, made, created_by.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_a_kind_and_a_type() {
        let read = |text: &str| text.parse::<Messages>().map(|it| (it.kind, it.type_.to_string()));
        assert_eq!(read("task/completed"), Ok((Kind::Task, "completed".to_owned())));
        for wrong in ["task", "letter/x", "task/", "task/a/b", "message/a b"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
