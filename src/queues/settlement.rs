//! How a worker ends or extends a lease.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::error::QueueError;
use super::token::Lease;
use crate::limits::{MAX_ATTEMPT_ERROR, MAX_DELAY_S};
use crate::message::{BodyError, ObjectReader};
use crate::seal::Sealer;

/// How a worker ends or extends its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseAction {
    /// The job is done.
    Ack,
    /// Try the job again after the delay or the queue's backoff. After the last attempt, make it a dead
    /// letter.
    Nack {
        /// How long to wait from now on; `None` for the queue's backoff.
        delay: Option<Duration>,
        /// Why the attempt failed.
        reason: Option<String>,
    },
    /// Make the job a dead letter now.
    Fail {
        /// Why the job failed.
        reason: Option<String>,
    },
    /// Extend the lease: it runs for its full length from now on.
    Extend,
}

/// An action on one lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The lease's token, as the client sent it.
    pub token: String,
    /// What to do with it.
    pub action: LeaseAction,
}

/// The result of a settlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The lease has ended.
    Ended,
    /// The lease goes on. Its first token stays valid, and this new one is valid too.
    Extended {
        /// A token with the new end.
        token: String,
        /// When the lease ends now.
        expires_at: DateTime<Utc>,
    },
}

impl Settled {
    /// The result of an extension: a new token with the new end, for the same lease.
    pub(super) fn extended(
        sealer: &Sealer,
        lease: &Lease,
        expires_at: DateTime<Utc>,
    ) -> Result<Self, QueueError> {
        let extended = Lease { expires_us: expires_at.timestamp_micros(), ..lease.clone() };
        let token = sealer.seal(&extended).ok_or(QueueError::Overloaded)?;
        Ok(Self::Extended { token, expires_at })
    }
}

impl LeaseAction {
    /// Parses the body of `POST /v1/leases/{token}/<name>`; `None` if `name` is not an action.
    pub fn parse(name: &str, json: &[u8]) -> Option<Result<Self, BodyError>> {
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
    /// Parses one item of `POST /v1/leases/settle`.
    ///
    /// # Errors
    /// The item is not JSON, or breaks rules (all of them are reported).
    pub fn parse(json: &[u8]) -> Result<Self, BodyError> {
        const RULE: &str = "must be ack, nack, extend or fail";
        let mut form = ObjectReader::parse(json)?;
        let token = form.required_text::<String>("lease_token");
        let name = form.required_text::<String>("action");
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

fn named(name: &str) -> bool {
    matches!(name, "ack" | "nack" | "extend" | "fail")
}

fn reason(form: &mut ObjectReader<'_>) -> Option<String> {
    form.text("reason", |text| Ok::<_, &str>(cut(text)))
}

/// Cuts a text to [`MAX_ATTEMPT_ERROR`] bytes.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_ATTEMPT_ERROR)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_takes_its_own_members_only() {
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
    fn every_invalid_member_of_a_settlement_is_reported() {
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
            let Err(BodyError::Invalid(errors)) = item(json) else { panic!("{json}") };
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
