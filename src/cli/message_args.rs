//! The flags that make a message.
//!
//! Invariant: either the message is valid, or the wrong flags are named before anything is sent.

use clap::Args;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::filter::uuid;
use super::when::When;
use crate::clock::Clock;
use crate::message::{BodyError, Draft, Kind, Token};

/// The flags for the members of a message.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Envelope")]
pub struct MessageArgs {
    /// message, status (of the sender) or task (an event of a task)
    #[arg(long, default_value = "message", hide_default_value = true)]
    kind: Kind,

    /// Type, such as task_assignment, online, completed [default for kind message: message]
    #[arg(long = "type", value_name = "TYPE")]
    type_: Option<Token>,

    /// Sender; without it AGENTBUS_SENDER
    #[arg(long, value_name = "AGENT")]
    sender: Option<Token>,

    /// Role of the sender; for kind message it is part of the subject
    #[arg(long)]
    role: Option<Token>,

    /// Recipient; without it, a broadcast
    #[arg(long, value_name = "AGENT")]
    to: Option<Token>,

    /// Task; required for kind task
    #[arg(long)]
    task: Option<Token>,

    /// Conversation that the message belongs to
    #[arg(long)]
    conversation: Option<Token>,

    /// Id of the message that this one replies to
    #[arg(long, value_name = "ID", value_parser = uuid)]
    in_reply_to: Option<String>,

    /// When it expires: an RFC 3339 time, or a span such as 90s, 15m, 2h
    #[arg(long, value_name = "TIME")]
    expires_at: Option<When>,

    /// Metadata, a JSON object
    #[arg(long, value_name = "JSON", value_parser = object)]
    metadata: Option<Box<RawValue>>,

    /// Id of the message, a UUID; without it, a new one
    #[arg(long, value_parser = uuid)]
    id: Option<String>,
}

impl MessageArgs {
    /// The message as JSON, with its members in the order of the contract. `sender` and `fresh` apply if
    /// no flag sets a sender or an id.
    ///
    /// # Errors
    /// The names of the wrong flags.
    pub fn envelope(
        &self,
        content: &str,
        sender: Option<String>,
        fresh: Option<Uuid>,
    ) -> Result<Vec<u8>, String> {
        let type_ = match (&self.type_, self.kind) {
            (Some(type_), _) => type_.as_str(),
            (None, Kind::Message) => "message",
            (None, kind) => {
                return Err(format!(
                    "kind {} needs --type, such as {}",
                    kind.as_str(),
                    example(kind)
                ));
            }
        };
        let sender = match self.sender.as_ref().map(ToString::to_string).or(sender) {
            Some(sender) => sender,
            None => return Err("name the sender: --sender AGENT, or AGENTBUS_SENDER".to_owned()),
        };
        let id = self.id.clone().or_else(|| fresh.map(|id| id.to_string()));
        let token = |token: &Option<Token>| token.as_ref().map(ToString::to_string);
        let members = [
            ("id", id),
            ("kind", Some(self.kind.as_str().to_owned())),
            ("type", Some(type_.to_owned())),
            ("sender_id", Some(sender)),
            ("sender_role", token(&self.role)),
            ("recipient_id", token(&self.to)),
            ("task_id", token(&self.task)),
            ("conversation_id", token(&self.conversation)),
            ("in_reply_to", self.in_reply_to.clone()),
            ("expires_at", self.expires_at.as_ref().map(|when| when.after(Clock::system().now()))),
            ("content", Some(content.to_owned())),
        ];
        let mut json = String::from("{");
        for (name, value) in members {
            if let Some(value) = value {
                json.push_str(&format!("\"{name}\":{},", serde_json::Value::from(value)));
            }
        }
        let metadata = self.metadata.as_ref().map_or("{}", |raw| raw.get());
        json.push_str(&format!("\"metadata\":{metadata}}}"));
        check(json.as_bytes())?;
        Ok(json.into_bytes())
    }
}

fn example(kind: Kind) -> &'static str {
    if kind == Kind::Status { "online" } else { "completed" }
}

fn check(body: &[u8]) -> Result<(), String> {
    let Err(error) = Draft::parse(body) else {
        return Ok(());
    };
    let BodyError::Invalid(faults) = error else {
        return Err("the flags do not make JSON".to_owned());
    };
    let faults: Vec<String> = faults
        .iter()
        .map(|fault| format!("{} {}", flag_of(&fault.pointer), fault.detail))
        .collect();
    Err(faults.join("\n  "))
}

fn flag_of(pointer: &str) -> &str {
    match pointer {
        "/sender_id" => "--sender (AGENTBUS_SENDER)",
        "/task_id" => "--task",
        "/content" => "the content",
        "/metadata" => "--metadata",
        other => other,
    }
}

fn object(text: &str) -> Result<Box<RawValue>, String> {
    let raw: Box<RawValue> =
        serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
    if raw.get().starts_with('{') { Ok(raw) } else { Err("must be a JSON object".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        message: MessageArgs,
    }

    fn made(line: &[&str], sender: Option<&str>) -> Result<String, String> {
        let line = Line::try_parse_from([&["send"], line].concat()).expect("flags");
        let json =
            line.message.envelope("hi \"you\"", sender.map(str::to_owned), Some(Uuid::nil()))?;
        Ok(String::from_utf8_lossy(&json).into_owned())
    }

    #[test]
    fn flags_make_an_envelope_and_metadata_keeps_its_bytes() {
        let line = ["--sender", "ann", "--to", "bob", "--metadata", "{\"n\": 1.0e2}"];
        assert_eq!(
            made(&line, Some("env")),
            Ok(concat!(
                r#"{"id":"00000000-0000-0000-0000-000000000000","kind":"message","type":"message","#,
                r#""sender_id":"ann","recipient_id":"bob","content":"hi \"you\"","metadata":{"n": 1.0e2}}"#
            )
            .to_owned())
        );
    }

    #[test]
    fn wrong_flags_are_named() {
        let why = |line: &[&str], sender| made(line, sender).expect_err("must fail");
        assert!(why(&[], None).contains("--sender"));
        assert!(why(&[], Some("a b")).starts_with("--sender (AGENTBUS_SENDER) must be"));
        assert!(why(&["--kind", "status"], Some("ann")).contains("--type, such as online"));
        assert!(why(&["--kind", "task", "--type", "done"], Some("ann")).starts_with("--task"));
    }
}
