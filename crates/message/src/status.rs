//! How a status ends by itself: by `metadata.ttl_s`, or by the `offline` status that the server publishes for
//! an agent whose status has lapsed (contract, section 6).

use chrono::TimeDelta;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::Members;
use super::{Kind, Record};
use crate::limits::MAX_TTL_S;

/// The member of `metadata` that says for how many seconds a status is valid.
pub(super) const TTL: &str = "ttl_s";
pub(super) const REASON: &str = "reason";
pub(super) const EXPIRED_SEQ: &str = "expired_seq";

/// Parses the value of `ttl_s`: a whole number of seconds, without fraction or exponent.
pub(super) fn parse_ttl(json: &str) -> Option<TimeDelta> {
    let digits = json.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = json.parse().ok().filter(|s| digits && (1..=MAX_TTL_S).contains(s))?;
    TimeDelta::try_seconds(seconds)
}

/// How a status ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusEnd {
    /// How long the status is valid; `None` for ever.
    pub ttl: Option<TimeDelta>,
    /// Whether the server published the status because an earlier one lapsed.
    pub is_lapse: bool,
}

impl StatusEnd {
    /// Reads it from a record. Returns the default for a record that is not a status. A body that does not
    /// contain the names is not parsed.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        if record.kind != Kind::Status {
            return Self::default();
        }
        let Ok(body) = std::str::from_utf8(&record.body) else { return Self::default() };
        // Names may be written with escapes.
        let has_names = [TTL, EXPIRED_SEQ, "\\u"].into_iter().any(|name| body.contains(name));
        if !has_names {
            return Self::default();
        }
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(borrow)]
            metadata: &'a RawValue,
        }
        let members = serde_json::from_str::<Body<'_>>(body)
            .and_then(|body| serde_json::from_str::<Members<'_>>(body.metadata.get()));
        let Ok(Members(members)) = members else { return Self::default() };
        // If a member is repeated, the last one counts, as in most JSON parsers.
        let member = |wanted: &str| {
            members.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| value.get())
        };
        let has_expired = member(REASON) == Some("\"ttl\"")
            && member(EXPIRED_SEQ).is_some_and(|seq| seq.parse::<u64>().is_ok());
        Self {
            ttl: member(TTL).and_then(parse_ttl),
            is_lapse: has_expired && record.type_.as_str() == "offline",
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{BodyError, Draft, Outgoing, Token};

    fn end(metadata: &str) -> StatusEnd {
        let mut record = crate::testing::record(1, Kind::Status, ["online", "a", "", ""]);
        record.body = format!("{{\"metadata\":{metadata}}}").into();
        StatusEnd::of(&record)
    }

    #[test]
    fn a_ttl_is_a_whole_number_of_seconds_up_to_a_day() {
        let ttl = |json: &str| end(&format!("{{\"ttl_s\":{json}}}")).ttl.map(|t| t.num_seconds());
        assert_eq!((ttl("1"), ttl("86400")), (Some(1), Some(86_400)));
        for bad in
            ["0", "86401", "-1", "1.0", "1e1", "\"60\"", "null", "[1]", "99999999999999999999"]
        {
            assert_eq!(ttl(bad), None, "{bad}");
        }
        assert_eq!(end("{\"ttl\\u005fs\":7}").ttl.map(|t| t.num_seconds()), Some(7));
        assert_eq!(end("{\"ttl_s\":7,\"ttl_s\":8}").ttl.map(|t| t.num_seconds()), Some(8));
        assert_eq!(end("{\"a\":{\"ttl_s\":7}}").ttl, None);
    }

    #[test]
    fn a_bad_ttl_is_refused_in_a_status_only() {
        let post = |kind: &str| {
            let json = format!(
                r#"{{"kind":"{kind}","type":"t","sender_id":"a","metadata":{{"ttl_s":0.5}}}}"#
            );
            Draft::parse(json.as_bytes())
        };
        let Err(BodyError::Invalid(errors)) = post("status") else { panic!("must be refused") };
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].pointer, "/metadata/ttl_s");
        assert!(post("message").is_ok());
    }

    #[test]
    fn a_lapse_is_the_same_message_whichever_server_publishes_it() {
        let agent: Token = "a-1".parse().expect("a token");
        let make = || {
            Outgoing::encode(
                &Draft::lapse(agent.clone(), 42, Uuid::max()),
                Uuid::nil(),
                chrono::DateTime::UNIX_EPOCH,
            )
        };
        let (one, two) = (make(), make());
        assert_eq!((one.id, &one.body), (two.id, &two.body));
        assert_eq!(one.subject.as_str(), "agent.status.a-1.offline");
        assert!(one.id_is_clients);
        let text = String::from_utf8(one.body.to_vec()).expect("UTF-8");
        assert!(text.contains(r#""metadata":{"reason":"ttl","expired_seq":42}"#), "{text}");
        let mut record = crate::testing::record(1, Kind::Status, ["offline", "a", "", ""]);
        record.body = one.body;
        assert!(StatusEnd::of(&record).is_lapse);
    }
}
