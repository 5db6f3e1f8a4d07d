//! What a NATS server does not permit the user of a connection.
//!
//! A server answers a denied request with an error line on the connection, and never with a reply. So a request that waits
//! for its reply must see that line ([`super::requester`]).

use std::fmt;

/// What was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To publish, or to send a request.
    Publish,
    /// To subscribe.
    Subscribe,
}

/// A permission that the user lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// What was denied.
    pub action: Action,
    /// The subject, or the pattern of subjects.
    pub subject: String,
}

impl Denial {
    /// Reads a server's error, such as `Permissions Violation for Publish to "a.b"`; `None` if it is another one.
    pub(super) fn parse(error: &str) -> Option<Self> {
        let (_, violation) = error.split_once("Permissions Violation for ")?;
        let (action, rest) = violation.split_once(" to \"")?;
        let action = match action {
            "Publish" => Action::Publish,
            "Subscription" => Action::Subscribe,
            _ => return None,
        };
        let (subject, _) = rest.split_once('"')?;
        Some(Self { action, subject: subject.to_owned() })
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            Action::Publish => "publish on",
            Action::Subscribe => "subscribe to",
        };
        write!(f, "NATS does not permit this user to {action} {}", self.subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_are_read_and_other_errors_are_not() {
        let read = |text| Denial::parse(text).map(|denial| denial.to_string());
        let publish = r#"nats: Permissions Violation for Publish to "$JS.API.STREAM.INFO.s""#;
        let text = "NATS does not permit this user to publish on $JS.API.STREAM.INFO.s";
        assert_eq!(read(publish).as_deref(), Some(text));
        let queue = r#"Permissions Violation for Subscription to "a.>" using queue "q""#;
        assert_eq!(
            read(queue).as_deref(),
            Some("NATS does not permit this user to subscribe to a.>")
        );
        assert_eq!(read("nats: maximum payload violation"), None);
    }
}
