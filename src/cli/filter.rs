//! The filter flags that `tail`, `history` and `export` share.
//!
//! Invariant: the flags are the filter parameters of the contract (section 5), with the same names.

use agentbus_client::Query;
use clap::Args;

use crate::message::{Kind, SubjectPattern, Token, parse_uuid};

/// The flags of a filter of messages.
#[derive(Args, Clone, Debug, Default)]
#[command(
    next_help_heading = "Filters (repeatable: any value of a flag may match, every flag must)"
)]
pub struct FilterArgs {
    /// NATS subject with wildcards, such as "agent.task.*.completed"
    #[arg(long, value_name = "PATTERN")]
    subject: Vec<SubjectPattern>,

    /// message, status or task
    #[arg(long)]
    kind: Vec<Kind>,

    /// Type, such as task_assignment
    #[arg(long = "type", value_name = "TYPE")]
    type_: Vec<Token>,

    /// Sender
    #[arg(long, value_name = "AGENT")]
    sender: Vec<Token>,

    /// Recipient
    #[arg(long, value_name = "AGENT")]
    recipient: Vec<Token>,

    /// With --recipient: also broadcasts
    #[arg(long, requires = "recipient")]
    broadcast: bool,

    /// Task
    #[arg(long)]
    task: Vec<Token>,

    /// Conversation that the message belongs to
    #[arg(long)]
    conversation: Vec<Token>,

    /// Id of the message that this one replies to
    #[arg(long, value_name = "ID", value_parser = uuid)]
    in_reply_to: Vec<String>,
}

/// Parses a hyphenated UUID; returns it as text.
///
/// # Errors
/// The rule that the text breaks.
pub fn uuid(text: &str) -> Result<String, &'static str> {
    parse_uuid(text).map(|id| id.to_string())
}

impl FilterArgs {
    /// The filter as query parameters.
    #[must_use]
    pub fn query(&self) -> Query {
        fn all<T>(
            query: &mut Query,
            name: &'static str,
            values: &[T],
            text: impl Fn(&T) -> String,
        ) {
            query.extend(values.iter().map(|value| (name, text(value))));
        }
        let mut query = Vec::new();
        all(&mut query, "subject", &self.subject, ToString::to_string);
        all(&mut query, "kind", &self.kind, |kind| kind.as_str().to_owned());
        all(&mut query, "type", &self.type_, ToString::to_string);
        all(&mut query, "sender", &self.sender, ToString::to_string);
        all(&mut query, "recipient", &self.recipient, ToString::to_string);
        all(&mut query, "task", &self.task, ToString::to_string);
        all(&mut query, "conversation", &self.conversation, ToString::to_string);
        all(&mut query, "in_reply_to", &self.in_reply_to, String::clone);
        if self.broadcast {
            query.push(("broadcast", "true".to_owned()));
        }
        query
    }
}
