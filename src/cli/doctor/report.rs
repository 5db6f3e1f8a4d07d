//! Prints the findings of `agentbus doctor`.

use crate::cli::output::print_line;
use crate::cli::terminal::plain;

/// Severity of a finding.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grade {
    Good,
    Note,
    Bad,
}

/// Prints findings.
pub(super) struct Report {
    is_text: bool,
    /// Whether a check has failed.
    pub(super) bad: bool,
}

impl Report {
    /// Prints lines for people, or one JSON object a line.
    pub(super) fn new(is_text: bool) -> Self {
        Self { is_text, bad: false }
    }

    fn print(&mut self, grade: Grade, part: &str, detail: &str) {
        self.bad |= grade == Grade::Bad;
        let name = match grade {
            Grade::Good => "ok",
            Grade::Note => "note",
            Grade::Bad => "bad",
        };
        let line = if self.is_text {
            format!("{name:<5} {part:<11} {}", plain(detail))
        } else {
            serde_json::json!({"grade": name, "part": part, "detail": detail}).to_string()
        };
        // If the output is closed, the exit code still shows the result.
        let _ = print_line(&line);
    }

    pub(super) fn good(&mut self, part: &str, detail: &str) {
        self.print(Grade::Good, part, detail);
    }

    pub(super) fn note(&mut self, part: &str, detail: &str) {
        self.print(Grade::Note, part, detail);
    }

    pub(super) fn bad(&mut self, part: &str, detail: &str) {
        self.print(Grade::Bad, part, detail);
    }
}
