//! Safe text on a terminal.
//!
//! Invariant: no character that a server or a message sent can control the terminal or reorder what is read
//! (escape sequences, C1 controls, bidirectional overrides).

use std::io::Write as _;

use chrono::{DateTime, Local};

use super::limits::SHOWN_CHARS;

/// Writes a line to standard error, and ignores a failure, which could not be reported anywhere.
pub fn eprint_line(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The text, with a visible character in place of each that could control the terminal.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().map(harmless).collect()
}

/// Like [`plain`], but keeps line feeds.
#[must_use]
pub fn plain_lines(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { harmless(c) }).collect()
}

/// The character, or a visible one in place of a control character.
pub(super) fn harmless(c: char) -> char {
    match c {
        '\t' => ' ',
        // Unicode has pictures of the control characters, in the same order.
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

/// The text, cut to [`SHOWN_CHARS`].
#[must_use]
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        None => text.to_owned(),
        Some((cut, _)) => format!("{}…", &text[..cut]),
    }
}

/// Formats an RFC 3339 time as local time, with the date if `dated` is set. Returns other text as it is.
#[must_use]
pub fn local_time(rfc3339: &str, dated: bool) -> String {
    let Ok(time) = DateTime::parse_from_rfc3339(rfc3339) else {
        return plain(rfc3339);
    };
    let layout = if dated { "%Y-%m-%d %H:%M:%S" } else { "%H:%M:%S" };
    time.with_timezone(&Local).format(layout).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_cut_at_a_character() {
        let long = "é".repeat(SHOWN_CHARS + 1);
        assert_eq!(shortened(&long).chars().count(), SHOWN_CHARS + 1);
        assert_eq!(shortened("é"), "é");
    }
}
