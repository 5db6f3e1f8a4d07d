//! Standard output: text for people on a terminal, NDJSON in a pipe.

use std::io::{IsTerminal, Write as _};

use clap::ValueEnum;
use serde::Serialize;

use super::failure::Failure;

/// The format of the output.
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
    /// Whether the format is text.
    #[must_use]
    pub fn is_text(self) -> bool {
        match self {
            Self::Auto => std::io::stdout().is_terminal(),
            Self::Text => true,
            Self::Ndjson => false,
        }
    }
}

/// Writes one line to standard output.
///
/// # Errors
/// The line cannot be written.
pub fn print_line(line: &str) -> Result<(), Failure> {
    print_bytes(format!("{line}\n").as_bytes())
}

/// Writes bytes to standard output.
///
/// # Errors
/// The bytes cannot be written.
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|error| Failure::io("standard output", &error))
}

/// Writes a result as `text` or as `json`.
///
/// # Errors
/// The result cannot be written.
pub fn print_result(is_text: bool, text: &str, json: &impl Serialize) -> Result<(), Failure> {
    if is_text {
        return print_line(text);
    }
    print_line(&serde_json::to_string(json).map_err(|error| error.to_string())?)
}
