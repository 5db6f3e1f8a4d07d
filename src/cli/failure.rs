//! The reasons why a command fails, and its exit code.

use std::io;
use std::process::ExitCode;

use agentbus_client::Error;

use super::terminal::{eprint_line, plain_lines};

/// The reason why a command ends before its work is done.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The command failed; exit code 1.
    Failed(String),
    /// The command line was wrong; exit code 2.
    Usage(String),
    /// The reader of the output has closed it, as `head` does; exit code 0, without a message.
    ReaderGone,
}

impl Failure {
    /// Prints the reason on standard error; returns the exit code.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Failed(text) => {
                eprint_line(&format!("agentbus: {text}"));
                ExitCode::from(1)
            }
            Self::Usage(text) => {
                eprint_line(&format!("agentbus: {text}\n\nFor more information, try '--help'."));
                ExitCode::from(2)
            }
            Self::ReaderGone => ExitCode::SUCCESS,
        }
    }

    /// An error while `what` was read or written.
    #[must_use]
    pub fn io(what: &str, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ReaderGone;
        }
        Self::Failed(format!("{what}: {error}"))
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = plain_lines(&error.to_string());
        match error {
            Error::Address(_) => Self::Usage(text),
            _ => Self::Failed(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agentbus_client::{Fault, Problem};

    #[test]
    fn shows_every_fault_and_no_escape_sequence() {
        let fault = |pointer: Option<&str>, parameter: Option<&str>, detail: &str| Fault {
            pointer: pointer.map(str::to_owned),
            parameter: parameter.map(str::to_owned),
            detail: detail.to_owned(),
        };
        let problem = Problem {
            status: 422,
            title: Some("Invalid message".to_owned()),
            code: Some("invalid".to_owned()),
            errors: vec![
                fault(Some("/type"), None, "is \u{1b}[31mbad"),
                fault(None, Some("limit"), "too big"),
            ],
            ..Problem::default()
        };
        let text = "Invalid message (422 invalid)\n  /type: is ␛[31mbad\n  limit: too big";
        assert_eq!(
            Failure::from(Error::Refused(Box::new(problem))),
            Failure::Failed(text.to_owned())
        );
    }
}
