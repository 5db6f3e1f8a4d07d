//! What a worker says of its lease.

use std::time::Duration;

use crate::limits::{MAX_ATTEMPT_ERROR, MAX_DELAY_S};
use crate::message::{DraftError, ObjectReader};

/// What becomes of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseAction {
    /// The job is done.
    Ack,
    /// Again, after the delay or the queue's backoff; a dead letter after the last attempt.
    Nack {
        /// From now on.
        delay: Option<Duration>,
        /// Why.
        reason: Option<String>,
    },
    /// Never: a dead letter now.
    Fail {
        /// Why.
        reason: Option<String>,
    },
    /// Another lease's time, from now on.
    Extend,
}

/// An action on one lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The lease's token, as the client sent it.
    pub token: String,
    /// What becomes of it.
    pub action: LeaseAction,
}

impl LeaseAction {
    /// Reads the body of `POST /v1/leases/{token}/<name>`; `None` when that is no action.
    pub fn parse(name: &str, json: &[u8]) -> Option<Result<Self, DraftError>> {
        named(name).then(|| {
            let mut form = ObjectReader::parse_optional(json)?;
            let action = Self::take(&mut form, name);
            form.finish(name, action)
        })
    }

    fn take(form: &mut ObjectReader<'_>, name: &str) -> Option<Self> {
        Some(match name {
            "ack" => Self::Ack,
            "extend" => Self::Extend,
            "fail" => Self::Fail { reason: reason(form) },
            "nack" => {
                Self::Nack { delay: form.seconds("delay_s", 0, MAX_DELAY_S), reason: reason(form) }
            }
            _ => return None,
        })
    }
}

impl Settlement {
    /// Reads one item of `POST /v1/leases/settle`.
    ///
    /// # Errors
    /// No JSON, or every rule that is broken.
    pub fn parse(json: &[u8]) -> Result<Self, DraftError> {
        const RULE: &str = "must be ack, nack, extend or fail";
        let mut form = ObjectReader::parse(json)?;
        let token = form.required_text::<Text>("lease_token").map(|Text(text)| text);
        let name = form.required_text::<Text>("action").map(|Text(text)| text);
        let action = name.and_then(|name| {
            let action = LeaseAction::take(&mut form, &name);
            if action.is_none() {
                form.fail("action", RULE);
            }
            action
        });
        let settlement = token.zip(action).map(|(token, action)| Self { token, action });
        form.finish("a settlement", settlement)
    }
}

/// Any text.
struct Text(String);

impl std::str::FromStr for Text {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

fn named(name: &str) -> bool {
    matches!(name, "ack" | "nack" | "extend" | "fail")
}

fn reason(form: &mut ObjectReader<'_>) -> Option<String> {
    form.text("reason", |text| Ok::<_, &str>(cut(text)))
}

/// A text within what is kept of an error.
pub(super) fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_ATTEMPT_ERROR);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_take_what_is_theirs() {
        assert_eq!(LeaseAction::parse("ack", b""), Some(Ok(LeaseAction::Ack)));
        assert_eq!(LeaseAction::parse("extend", b"{}"), Some(Ok(LeaseAction::Extend)));
        assert!(matches!(LeaseAction::parse("ack", br#"{"reason":"x"}"#), Some(Err(_))));
        let nack = LeaseAction::parse("nack", br#"{"delay_s":0.5,"reason":"busy"}"#);
        let reason = Some("busy".to_owned());
        let delay = Some(Duration::from_millis(500));
        assert_eq!(nack, Some(Ok(LeaseAction::Nack { delay, reason })));
        assert_eq!(LeaseAction::parse("steal", b""), None);
    }

    #[test]
    fn a_settlement_names_its_faults() {
        let item = |json: &str| Settlement::parse(json.as_bytes());
        let ack = item(r#"{"lease_token":"t","action":"ack"}"#).expect("valid");
        assert_eq!(ack, Settlement { token: "t".to_owned(), action: LeaseAction::Ack });
        for (json, pointer) in [
            (r#"{"action":"ack"}"#, "/lease_token"),
            (r#"{"lease_token":"t"}"#, "/action"),
            (r#"{"lease_token":"t","action":"steal"}"#, "/action"),
            (r#"{"lease_token":"t","action":"ack","delay_s":1}"#, "/delay_s"),
            (r#"{"lease_token":"t","action":"nack","delay_s":-1}"#, "/delay_s"),
        ] {
            let Err(DraftError::Invalid(errors)) = item(json) else { panic!("{json}") };
            assert_eq!(errors[0].pointer, pointer, "{json}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        assert_eq!(cut(&"é".repeat(MAX_ATTEMPT_ERROR)).len(), MAX_ATTEMPT_ERROR);
        assert_eq!(
            cut(&format!("a{}", "é".repeat(MAX_ATTEMPT_ERROR))).len(),
            MAX_ATTEMPT_ERROR - 1
        );
    }
}
