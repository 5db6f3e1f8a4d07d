//! Prints messages: lines of text on a terminal, NDJSON in a pipe.
//!
//! Invariant: in a pipe the bytes of a message are unchanged; on a terminal no character can control the
//! terminal.

use std::fmt::Write as _;
use std::io::IsTerminal;

use agentbus_client::Message;
use clap::Args;
use tokio::io::{AsyncWriteExt, Stdout};

use super::failure::Failure;
use super::limits::SHOWN_LINES;
use super::output::Format;
use super::terminal::{local_time, plain, shortened};

/// The flags of commands that show messages.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// How to write messages
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// Show the whole content instead of its first lines
    #[arg(long)]
    full: bool,
}

/// Writes messages to standard output.
#[derive(Debug)]
pub struct Printer {
    out: Stdout,
    pending: Vec<u8>,
    /// `None` writes NDJSON.
    style: Option<Style>,
}

/// The layout of text.
#[derive(Clone, Copy, Debug)]
struct Style {
    colour: bool,
    full: bool,
    dated: bool,
}

impl Printer {
    /// A printer. If `dated` is set, it shows the date with the time.
    #[must_use]
    pub fn new(args: OutputArgs, dated: bool) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = terminal && !dumb && !set("NO_COLOR");
        Self {
            out: tokio::io::stdout(),
            pending: Vec::new(),
            style: args.format.is_text().then_some(Style { colour, full: args.full, dated }),
        }
    }

    /// Adds one message, given as the bytes from the server.
    pub fn message(&mut self, json: &[u8]) {
        match self.style {
            None => {
                self.pending.extend_from_slice(json);
                self.pending.push(b'\n');
            }
            Some(style) => self.pending.extend_from_slice(style.render(json).as_bytes()),
        }
    }

    /// Writes the messages that were added.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub async fn flush(&mut self) -> Result<(), Failure> {
        let written = async {
            self.out.write_all(&self.pending).await?;
            self.out.flush().await
        };
        let result = written.await;
        self.pending.clear();
        result.map_err(|error| Failure::io("standard output", &error))
    }
}

impl Style {
    fn render(self, json: &[u8]) -> String {
        match serde_json::from_slice::<Message>(json) {
            Ok(shown) => self.lines(&shown),
            Err(_) => shortened(&plain(&String::from_utf8_lossy(json))) + "\n",
        }
    }

    fn lines(self, shown: &Message) -> String {
        let mut text = format!(
            "{} {:>7} {} {}",
            self.paint("2", &local_time(&shown.created_at, self.dated)),
            shown.seq,
            self.paint(colour_of(&shown.kind), &format!("{:<7}", plain(&shown.kind))),
            self.paint("1", &plain(&shown.sender_id)),
        );
        match &shown.recipient_id {
            Some(recipient) => text.push_str(&format!(" → {}", plain(recipient))),
            None if shown.kind == "message" => text.push_str(" → all"),
            None => {}
        }
        text.push_str(&format!("  {}", plain(&shown.type_)));
        for (name, id) in [("task", &shown.task_id), ("in", &shown.conversation_id)] {
            if let Some(id) = id {
                text.push_str(&self.paint("2", &format!("  {name} {}", plain(id))));
            }
        }
        text.push('\n');
        self.content(&shown.content, &mut text);
        text
    }

    fn content(self, content: &str, text: &mut String) {
        let content = content.trim_end();
        let shown = if self.full { usize::MAX } else { SHOWN_LINES };
        for line in content.lines().take(shown) {
            let line = plain(line);
            let line = if self.full { line } else { shortened(&line) };
            let _ = writeln!(text, "    {}", line.trim_end());
        }
        let more = content.lines().count().saturating_sub(shown);
        if more > 0 {
            let lines = if more == 1 { "line" } else { "lines" };
            let _ = writeln!(text, "    {}", self.paint("2", &format!("… {more} more {lines}")));
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn colour_of(kind: &str) -> &'static str {
    match kind {
        "message" => "36",
        "status" => "33",
        "task" => "32",
        _ => "35",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::harmless;
    use proptest::prelude::*;

    const PLAIN: Style = Style { colour: false, full: false, dated: false };

    fn without_time(text: &str) -> &str {
        text.split_once(' ').map_or("", |(_, rest)| rest)
    }

    proptest! {
        #[test]
        fn no_message_can_control_the_terminal(content in any::<String>(), name in any::<String>()) {
            let json = serde_json::json!({"kind": name, "sender_id": name, "task_id": name,
                "recipient_id": name, "created_at": name, "type": name, "content": content});
            let text = PLAIN.render(json.to_string().as_bytes());
            prop_assert!(text.chars().all(|c| c == '\n' || harmless(c) == c), "{text:?}");
            let raw = PLAIN.render(content.as_bytes());
            prop_assert!(raw.chars().all(|c| c == '\n' || harmless(c) == c), "{raw:?}");
        }
    }

    #[test]
    fn shows_sender_recipient_and_content() {
        let json = r#"{"seq":42,"kind":"message","type":"question","sender_id":"ann","recipient_id":"bob",
            "task_id":"t-1","content":"one\ntwo\r\n\u001b[2Jthree\nfour\nfive\n","created_at":"2026-01-01T00:00:00Z"}"#;
        let text = PLAIN.render(json.as_bytes());
        assert_eq!(
            without_time(&text),
            "     42 message ann → bob  question  task t-1\n    one\n    two\n    ␛[2Jthree\n    … 2 more lines\n"
        );
    }

    #[test]
    fn a_status_needs_no_recipient_and_no_content() {
        let json = br#"{"seq":1,"kind":"status","type":"online","sender_id":"ann","content":"","created_at":"2026-01-01T00:00:00Z"}"#;
        assert_eq!(without_time(&PLAIN.render(json)), "      1 status  ann  online\n");
    }
}
