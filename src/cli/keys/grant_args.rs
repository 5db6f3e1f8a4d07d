//! Flags that say what a key may do.
//!
//! Invariant: explicit grants are added to those of a preset, none is taken away.

use agentbus_client::{Grants, KeyLimits};
use clap::Args;

use crate::access::{Capability, KeyKind, Preset};
use crate::message::{SubjectPattern, Token};

/// Presets; at most one.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Presets")]
pub struct PresetArgs {
    /// An agent: writes as NAME, publishes messages, its own status and events of tasks, puts jobs into any queue;
    /// reads what it sent and what was sent to it
    #[arg(long, value_name = "NAME", group = "preset")]
    agent: Option<Token>,

    /// A person at the console: like an agent, and reads everything
    #[arg(long, value_name = "NAME", group = "preset")]
    human: Option<Token>,

    /// A screen or dashboard: reads everything
    #[arg(long, group = "preset")]
    watcher: bool,

    /// A worker: leases jobs from QUEUE
    #[arg(long, value_name = "QUEUE", group = "preset")]
    worker: Option<Token>,

    /// An administrator: everything, keys included
    #[arg(long, group = "preset")]
    admin: bool,
}

/// Grants besides those of the preset. Each flag can be repeated.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Grants, added to those of the preset; repeatable")]
pub struct GrantArgs {
    /// Write as this sender, read and acknowledge its inbox; '*' is any
    #[arg(long = "as", value_name = "NAME", value_parser = name)]
    senders: Vec<String>,

    /// Publish on these subjects, such as 'agent.task.t1.>'
    #[arg(long, value_name = "PATTERN")]
    publish: Vec<SubjectPattern>,

    /// Read these subjects
    #[arg(long, value_name = "PATTERN")]
    read: Vec<SubjectPattern>,

    /// Put jobs into this queue; '*' is any
    #[arg(long, value_name = "QUEUE", value_parser = name)]
    enqueue: Vec<String>,

    /// Lease jobs from this queue; '*' is any
    #[arg(long, value_name = "QUEUE", value_parser = name)]
    work: Vec<String>,

    /// observe, process, webhooks, dead_letters, import, erase, schemas, claims or keys
    #[arg(long, value_name = "WHAT")]
    can: Vec<Capability>,
}

/// Limits of a key.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Limits, on each server")]
pub struct LimitArgs {
    /// Requests a second
    #[arg(long, value_name = "N")]
    requests_per_s: Option<u64>,

    /// Messages a second
    #[arg(long, value_name = "N")]
    messages_per_s: Option<u64>,

    /// Bytes of messages a day
    #[arg(long, value_name = "N")]
    bytes_per_day: Option<u64>,

    /// Streams open at once
    #[arg(long, value_name = "N")]
    streams: Option<u64>,
}

/// Parses a name; `*` is any.
fn name(text: &str) -> Result<String, &'static str> {
    if text != "*" {
        text.parse::<Token>()?;
    }
    Ok(text.to_owned())
}

impl PresetArgs {
    /// The preset, if there is one.
    #[must_use]
    pub fn preset(&self) -> Option<Preset> {
        let Self { agent, human, watcher, worker, admin } = self.clone();
        agent
            .map(Preset::Agent)
            .or(human.map(Preset::Human))
            .or(worker.map(Preset::Worker))
            .or(watcher.then_some(Preset::Watcher))
            .or(admin.then_some(Preset::Admin))
    }

    /// The preset's kind and grants.
    ///
    /// # Errors
    /// The grants cannot be written as JSON.
    pub fn grants(&self) -> Result<(Option<KeyKind>, Grants), String> {
        let Some(preset) = self.preset() else { return Ok((None, Grants::default())) };
        let read = |value| serde_json::from_value(value);
        let grants = serde_json::to_value(preset.grants()).and_then(read);
        Ok((Some(preset.kind()), grants.map_err(|error| error.to_string())?))
    }
}

impl GrantArgs {
    /// Adds the grants of the flags.
    pub fn add_to(&self, grants: &mut Grants) {
        let patterns = |patterns: &[SubjectPattern]| -> Vec<String> {
            patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect()
        };
        let can = self.can.iter().map(ToString::to_string).collect();
        for (list, more) in [
            (&mut grants.senders, self.senders.clone()),
            (&mut grants.publish, patterns(&self.publish)),
            (&mut grants.read, patterns(&self.read)),
            (&mut grants.enqueue, self.enqueue.clone()),
            (&mut grants.work, self.work.clone()),
            (&mut grants.can, can),
        ] {
            for value in more {
                if !list.contains(&value) {
                    list.push(value);
                }
            }
        }
    }
}

impl LimitArgs {
    /// The limits.
    #[must_use]
    pub fn limits(self) -> KeyLimits {
        let Self { requests_per_s, messages_per_s, bytes_per_day, streams } = self;
        KeyLimits { requests_per_s, messages_per_s, bytes_per_day, streams }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        preset: PresetArgs,
        #[command(flatten)]
        grants: GrantArgs,
    }

    fn grants(words: &[&str]) -> Result<String, String> {
        let words = std::iter::once("keys").chain(words.iter().copied());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        let (_, mut grants) = line.preset.grants()?;
        line.grants.add_to(&mut grants);
        Ok(serde_json::to_string(&grants).expect("JSON"))
    }

    #[test]
    fn flags_are_added_to_the_preset() {
        let given =
            grants(&["--worker", "builds", "--work", "builds", "--work", "tests", "--as", "*"]);
        assert_eq!(given, Ok(r#"{"as":["*"],"work":["builds","tests"]}"#.to_owned()));
        let given = grants(&["--read", "agent.task.>", "--publish", "agent.>", "--can", "observe"]);
        let json = r#"{"publish":["agent.>"],"read":["agent.task.>"],"can":["observe"]}"#;
        assert_eq!(given, Ok(json.to_owned()));
        let given = grants(&["--watcher", "--can", "observe", "--can", "keys"]);
        assert_eq!(given, Ok(r#"{"read":["agent.>"],"can":["observe","keys"]}"#.to_owned()));
        assert_eq!(grants(&[]), Ok("{}".to_owned()));
        assert!(
            grants(&["--enqueue", "a b"]).is_err() && grants(&["--admin", "--watcher"]).is_err()
        );
    }
}
