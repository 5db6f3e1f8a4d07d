//! Dead letters as text on a terminal.

use std::fmt::Write as _;

use agentbus_client::DeadLetter;
use uuid::Uuid;

use crate::cli::failure::Failure;
use crate::cli::terminal::{local_time, plain};

/// The columns of the list.
pub(super) const TITLES: &[&str] =
    &["ID", "DIED", "SOURCE", "SEQ", "ATTEMPTS", "SUBJECT", "REASON"];

/// The id in a dead letter's document.
pub(super) fn id(letter: &DeadLetter) -> Result<Uuid, Failure> {
    if letter.id.is_nil() {
        return Err(Failure::Failed("the server sent a dead letter without an id".to_owned()));
    }
    Ok(letter.id)
}

/// One row of the list. It has the last error, which says more than the reason.
pub(super) fn row(letter: DeadLetter) -> Vec<String> {
    let why = letter.attempts.last().map_or(letter.reason, |attempt| attempt.error.clone());
    vec![
        letter.id.to_string(),
        local_time(&letter.died_at, true),
        letter.source,
        letter.seq.to_string(),
        letter.attempts.len().to_string(),
        letter.subject,
        why.lines().next().unwrap_or_default().to_owned(),
    ]
}

/// Everything about one dead letter.
pub(super) fn details(letter: &DeadLetter) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<9}{}", plain(value));
    };
    line("id", &letter.id.to_string());
    line(&letter.kind, &format!("{} of {}", letter.seq, letter.source));
    line("subject", &letter.subject);
    line("died", &local_time(&letter.died_at, true));
    line("reason", &letter.reason);
    for attempt in &letter.attempts {
        let mut lines = attempt.error.lines();
        let first = lines.next().unwrap_or_default();
        let at = local_time(&attempt.at, true);
        line("attempt", &format!("{} at {at}: {first}", attempt.attempt));
        lines.for_each(|more| line("", more));
    }
    for content in letter.message.iter().chain(&letter.job) {
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
    fn a_row_shows_the_last_error() {
        const ID: &str = "019e0f5c-7a3c-7d3e-9a6b-0d1f2e3a4b5c";
        assert_eq!(row(letter(LETTER)), [ID, "y", "s", "7", "1", "agent.x", "one"]);
        assert!(id(&letter("{}")).is_err());
    }

    fn letter(json: &str) -> DeadLetter {
        serde_json::from_str(json).expect("a dead letter")
    }

    #[test]
    fn a_dead_letter_is_shown_whole_and_harmless() {
        let text = details(&letter(LETTER));
        assert!(text.contains("message  7 of s\n"), "{text}");
        assert!(text.contains("attempt  1 at x: one\n         two␛\n"), "{text}");
        assert!(text.ends_with("         {\"seq\":7,\"n\": 1}\n"), "{text}");
    }
}
