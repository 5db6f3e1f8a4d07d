//! A dead letter as people read it.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::cli::failure::Failure;
use crate::cli::output::{local_time, plain};

/// The columns of the list.
pub(super) const TITLES: &[&str] = &["ID", "DIED", "SOURCE", "SEQ", "ATTEMPTS", "SUBJECT", "WHY"];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shown {
    id: Uuid,
    kind: String,
    source: String,
    seq: u64,
    subject: String,
    reason: String,
    attempts: Vec<Attempt>,
    died_at: String,
    message: Option<Box<RawValue>>,
    job: Option<Box<RawValue>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Attempt {
    attempt: u64,
    at: String,
    error: String,
}

impl Shown {
    fn read(json: &[u8]) -> Self {
        serde_json::from_slice(json).unwrap_or_default()
    }
}

/// The id of a letter.
pub(super) fn id(json: &[u8]) -> Result<Uuid, Failure> {
    match Shown::read(json).id {
        id if id.is_nil() => {
            Err(Failure::Failed("the server sent a dead letter without an id".to_owned()))
        }
        id => Ok(id),
    }
}

/// One row of the list. The last error says more than the reason to give up.
pub(super) fn row(json: &[u8]) -> Vec<String> {
    let shown = Shown::read(json);
    let why = shown.attempts.last().map_or(shown.reason, |attempt| attempt.error.clone());
    vec![
        shown.id.to_string(),
        local_time(&shown.died_at, true),
        shown.source,
        shown.seq.to_string(),
        shown.attempts.len().to_string(),
        shown.subject,
        why.lines().next().unwrap_or_default().to_owned(),
    ]
}

/// One letter, all of it.
pub(super) fn whole(json: &[u8]) -> String {
    let shown = Shown::read(json);
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<9}{}", plain(value));
    };
    line("id", &shown.id.to_string());
    line(&shown.kind, &format!("{} of {}", shown.seq, shown.source));
    line("subject", &shown.subject);
    line("died", &local_time(&shown.died_at, true));
    line("reason", &shown.reason);
    for attempt in &shown.attempts {
        let mut lines = attempt.error.lines();
        let first = lines.next().unwrap_or_default();
        let at = local_time(&attempt.at, true);
        line("attempt", &format!("{} at {at}: {first}", attempt.attempt));
        lines.for_each(|more| line("", more));
    }
    for content in shown.message.iter().chain(&shown.job) {
        line("", content.get());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LETTER: &str = r#"{"id":"019e0f5c-7a3c-7d3e-9a6b-0d1f2e3a4b5c","kind":"message","source":"s","seq":7,
        "subject":"agent.x","reason":"given up","attempts":[{"attempt":1,"at":"x","error":"one\ntwo\u001b"}],
        "died_at":"y","message":{"seq":7,"n": 1}}"#;

    #[test]
    fn a_row_tells_the_last_error() {
        let id = "019e0f5c-7a3c-7d3e-9a6b-0d1f2e3a4b5c";
        assert_eq!(row(LETTER.as_bytes()), [id, "y", "s", "7", "1", "agent.x", "one"]);
        assert!(id_of("{}").is_err());
    }

    fn id_of(json: &str) -> Result<Uuid, Failure> {
        id(json.as_bytes())
    }

    #[test]
    fn a_letter_is_shown_whole_and_harmless() {
        let text = whole(LETTER.as_bytes());
        assert!(text.contains("message  7 of s\n"), "{text}");
        assert!(text.contains("attempt  1 at x: one\n         two␛\n"), "{text}");
        assert!(text.ends_with("         {\"seq\":7,\"n\": 1}\n"), "{text}");
    }
}
