//! Why a command ends early, and the exit code that says so.
//!
//! Invariant: what a server sent is made harmless before it is put in a
//! failure's words, since those go to a terminal.

use std::io;
use std::process::ExitCode;

use super::output::tell;

/// Why a command ends before its work is done.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// It could not be done; exit code 1.
    Failed(String),
    /// It was asked for in a way that cannot work; exit code 2.
    Usage(String),
    /// Whoever read our output has gone (`| head`); exit code 0, without a word.
    ReaderGone,
}

impl Failure {
    /// Says why on standard error, and gives the exit code.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Failed(words) => {
                tell(&format!("agentbus: {words}"));
                ExitCode::from(1)
            }
            Self::Usage(words) => {
                tell(&format!("agentbus: {words}\n\nFor more information, try '--help'."));
                ExitCode::from(2)
            }
            Self::ReaderGone => ExitCode::SUCCESS,
        }
    }

    /// What a failed read or write of `what` means.
    #[must_use]
    pub fn io(what: &str, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ReaderGone;
        }
        Self::Failed(format!("{what}: {error}"))
    }
}

impl From<String> for Failure {
    fn from(words: String) -> Self {
        Self::Failed(words)
    }
}
