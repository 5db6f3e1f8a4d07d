//! What messages look like: lines for people on a terminal, NDJSON in a pipe.
//!
//! Invariant: in a pipe the data's bytes are untouched; on a terminal no
//! character of a message can steer the terminal or reorder what is read
//! (escape sequences, C1 controls, bidirectional overrides).

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use chrono::{DateTime, Local};
use clap::{Args, ValueEnum};
use serde::Deserialize;
use tokio::io::{AsyncWriteExt, Stdout};

use super::failure::Failure;
use super::limits::{SHOWN_CHARS, SHOWN_LINES};

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// text on a terminal, ndjson in a pipe
    #[default]
    Auto,
    /// for people
    Text,
    /// one message a line, the bytes as the server sent them
    Ndjson,
}

impl Format {
    /// Whether this writes for people here and now.
    #[must_use]
    pub fn is_text(self) -> bool {
        match self {
            Self::Auto => std::io::stdout().is_terminal(),
            Self::Text => true,
            Self::Ndjson => false,
        }
    }
}

/// Flags of the commands that show messages.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// How to write messages
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// Show the whole content, not its first lines
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

/// How a message is laid out for people.
#[derive(Clone, Copy, Debug)]
struct Style {
    colour: bool,
    full: bool,
    dated: bool,
}

impl Printer {
    /// A printer; `dated` shows the day besides the time.
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

    /// Adds one message, as the server sent it.
    pub fn message(&mut self, json: &[u8]) {
        match self.style {
            None => {
                self.pending.extend_from_slice(json);
                self.pending.push(b'\n');
            }
            Some(style) => self.pending.extend_from_slice(style.render(json).as_bytes()),
        }
    }

    /// Writes what was added.
    ///
    /// # Errors
    /// Standard output takes no more.
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

/// Members that are shown; all may be missing in what a foreign client published.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shown {
    seq: u64,
    kind: String,
    #[serde(rename = "type")]
    type_: String,
    sender_id: String,
    recipient_id: Option<String>,
    task_id: Option<String>,
    conversation_id: Option<String>,
    content: String,
    created_at: String,
}

impl Style {
    fn render(self, json: &[u8]) -> String {
        match serde_json::from_slice::<Shown>(json) {
            Ok(shown) => self.lines(&shown),
            Err(_) => shortened(&plain(&String::from_utf8_lossy(json))) + "\n",
        }
    }

    fn lines(self, shown: &Shown) -> String {
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
        let places = [("task", &shown.task_id), ("in", &shown.conversation_id)];
        for (name, place) in places {
            if let Some(place) = place {
                text.push_str(&self.paint("2", &format!("  {name} {}", plain(place))));
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

/// The local time, with its day when `dated`; what is no time is shown as it came.
#[must_use]
pub fn local_time(rfc3339: &str, dated: bool) -> String {
    let Ok(time) = DateTime::parse_from_rfc3339(rfc3339) else {
        return plain(rfc3339);
    };
    let layout = if dated { "%Y-%m-%d %H:%M:%S" } else { "%H:%M:%S" };
    time.with_timezone(&Local).format(layout).to_string()
}

fn colour_of(kind: &str) -> &'static str {
    match kind {
        "message" => "36",
        "status" => "33",
        "task" => "32",
        _ => "35",
    }
}

/// Tells a person something on standard error. Nobody may be listening there.
pub fn tell(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}");
}

/// Writes one line to standard output.
///
/// # Errors
/// It takes no more.
pub fn say(line: &str) -> Result<(), Failure> {
    put(format!("{line}\n").as_bytes())
}

/// Writes bytes to standard output.
///
/// # Errors
/// It takes no more.
pub fn put(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|error| Failure::io("standard output", &error))
}

/// The text with every character that could steer a terminal made visible.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().map(harmless).collect()
}

fn harmless(c: char) -> char {
    match c {
        '\t' => ' ',
        // The control pictures stand in the order of the controls.
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\x7f' => '␡',
        // C1 controls, directional marks, embeddings and isolates, separators, BOM, tags.
        '\u{80}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}'
        | '\u{feff}'
        | '\u{e0000}'..='\u{e007f}' => '\u{fffd}',
        other => other,
    }
}

/// The text, cut where a line grows too long to be read.
#[must_use]
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        None => text.to_owned(),
        Some((cut, _)) => format!("{}…", &text[..cut]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: Style = Style { colour: false, full: false, dated: false };

    fn without_time(text: &str) -> &str {
        text.split_once(' ').map_or("", |(_, rest)| rest)
    }

    proptest! {
        #[test]
        fn no_message_can_steer_the_terminal(content in any::<String>(), name in any::<String>()) {
            let json = serde_json::json!({"kind": name, "sender_id": name, "task_id": name,
                "recipient_id": name, "created_at": name, "type": name, "content": content});
            let text = PLAIN.render(json.to_string().as_bytes());
            prop_assert!(text.chars().all(|c| c == '\n' || harmless(c) == c), "{text:?}");
            let raw = PLAIN.render(content.as_bytes());
            prop_assert!(raw.chars().all(|c| c == '\n' || harmless(c) == c), "{raw:?}");
        }
    }

    #[test]
    fn shows_who_said_what_to_whom() {
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

    #[test]
    fn long_lines_are_cut_at_a_character() {
        let long = "é".repeat(SHOWN_CHARS + 1);
        assert_eq!(shortened(&long).chars().count(), SHOWN_CHARS + 1);
        assert_eq!(shortened("é"), "é");
    }
}
