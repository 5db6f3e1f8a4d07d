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

/// Runs the work of a command until it ends, or fails with the operator's Ctrl-C.
///
/// # Errors
/// Why the work failed.
pub async fn until_interrupted(
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<ExitCode, Failure> {
    tokio::select! {
        ended = work => ended.map(|()| ExitCode::SUCCESS),
        _ = tokio::signal::ctrl_c() => Err(Failure::Failed("interrupted".to_owned())),
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = plain_lines(&error.to_string()) + remedy(&error);
        match error {
            Error::Address(_) => Self::Usage(text),
            _ => Self::Failed(text),
        }
    }
}

/// What to do about a credential that is refused.
fn remedy(error: &Error) -> &'static str {
    match error.code() {
        Some("unauthenticated") => {
            "\n  set AGENTBUS_KEY (or --key-file) to a key that is valid; `agentbus keys create` makes one"
        }
        Some("forbidden") => {
            "\n  use a key that has this grant: `agentbus keys create` makes one, PATCH /v1/keys/ID changes one"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agentbus_client::{Fault, Problem};

    fn text_of(problem: Problem) -> String {
        match Failure::from(Error::Refused(Box::new(problem))) {
            Failure::Failed(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refused_credential_says_what_to_do() {
        let problem = |status, code: &str, needs: Option<&str>| Problem {
            status,
            code: Some(code.to_owned()),
            needs: needs.map(str::to_owned),
            ..Problem::default()
        };
        let text = text_of(problem(401, "unauthenticated", None));
        assert!(text.contains("AGENTBUS_KEY") && text.contains("--key-file"), "{text}");
        let text = text_of(problem(403, "forbidden", Some("work builds")));
        assert!(text.contains("lacks: work builds") && text.contains("keys create"), "{text}");
        assert!(!text_of(problem(403, "forbidden_origin", None)).contains("key"));
    }

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
