//! Encodes messages.
//!
//! Invariant: a body is encoded once, when a client posts it. (A foreign message, of another NATS client, is
//! encoded when it is read, always to the same bytes.) The log, the store and every reader have these bytes.
//! `key_id` and `created_at` are the last members, so two bodies can be compared without them.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Draft, Subject, TraceContext, format_micros};

/// A message that is ready to be published: encoded, and without a sequence.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The message's id, which is also its `Nats-Msg-Id`.
    pub id: Uuid,
    /// Whether the client chose the id. If so, the message may be a duplicate.
    pub id_is_clients: bool,
    /// The subject derived from the message.
    pub subject: Subject,
    /// The encoded envelope, without `seq`.
    pub body: Bytes,
    /// The `created_at` in the body.
    pub created_at: DateTime<Utc>,
    /// The trace that the message belongs to; in the headers of the log's entry.
    pub trace: Option<Arc<TraceContext>>,
}

impl Outgoing {
    /// Encodes a draft under the client's id, or under `fallback_id` if there is none.
    #[must_use]
    pub fn encode(draft: &Draft, fallback_id: Uuid, created_at: DateTime<Utc>) -> Self {
        let id = draft.id.unwrap_or(fallback_id);
        let subject = draft.subject();
        Self {
            id,
            id_is_clients: draft.id.is_some(),
            body: encode(draft, id, subject.as_str(), created_at),
            subject,
            created_at,
            trace: draft.trace.clone(),
        }
    }
}

/// Encodes a draft: the members of the contract, in its order, on one line.
pub(super) fn encode(draft: &Draft, id: Uuid, subject: &str, created_at: DateTime<Utc>) -> Bytes {
    let mut body = Body::new(draft.content.len() + draft.metadata.len() + subject.len());
    let mut id_text = Uuid::encode_buffer();
    body.member("id", id.hyphenated().encode_lower(&mut id_text));
    body.member("kind", draft.kind.as_str());
    body.member("type", draft.type_.as_str());
    body.member("subject", subject);
    body.member("sender_id", draft.sender_id.as_str());
    for (name, token) in [
        ("sender_role", &draft.sender_role),
        ("recipient_id", &draft.recipient_id),
        ("task_id", &draft.task_id),
        ("conversation_id", &draft.conversation_id),
    ] {
        if let Some(token) = token {
            body.member(name, token.as_str());
        }
    }
    if let Some(answered) = draft.in_reply_to {
        body.member("in_reply_to", answered.hyphenated().encode_lower(&mut id_text));
    }
    if let Some((spelled, _)) = &draft.expires_at {
        body.member("expires_at", spelled);
    }
    body.member("content", &draft.content);
    body.raw_member("metadata", &draft.metadata);
    if let Some(key) = &draft.key_id {
        body.member("key_id", key.as_str());
    }
    body.member("created_at", &format_micros(created_at));
    body.finish()
}

/// The length of the end of a body: from the comma before `created_at` on.
const CREATED_AT_TAIL: usize = r#","created_at":"2026-11-20T15:57:45.123456Z"}"#.len();
const KEY_ID: &[u8] = br#","key_id":""#;

/// Whether two bodies are equal except for `key_id` and `created_at`, which the server sets. If they have the same
/// id, the second is then a duplicate, and otherwise a conflict (contract, section 3).
#[must_use]
pub fn equal_as_posted(a: &[u8], b: &[u8]) -> bool {
    match (as_posted(a), as_posted(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// The part of a body that its client posted. The member before it, `metadata`, is an object. So a body that ends
/// with a string before `created_at` has a `key_id`.
fn as_posted(body: &[u8]) -> Option<&[u8]> {
    let (head, tail) = body.split_at(body.len().checked_sub(CREATED_AT_TAIL)?);
    if !tail.starts_with(br#","created_at":""#) {
        return None;
    }
    let Some(ended) = head.strip_suffix(b"\"") else { return Some(head) };
    let value = ended.iter().rposition(|byte| *byte == b'"')? + 1;
    ended[..value].strip_suffix(KEY_ID)
}

/// The JSON object that is being written.
struct Body(Vec<u8>);

impl Body {
    /// Reserves memory for a payload of `payload` bytes and all other members.
    fn new(payload: usize) -> Self {
        const ENVELOPE: usize = 400;
        Self(Vec::with_capacity(payload + payload / 16 + ENVELOPE))
    }

    fn name(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn member(&mut self, name: &str, value: &str) {
        self.name(name);
        write_string(value, &mut self.0);
    }

    fn raw_member(&mut self, name: &str, json: &str) {
        self.name(name);
        self.0.extend_from_slice(json.as_bytes());
    }

    fn finish(mut self) -> Bytes {
        self.0.push(b'}');
        Bytes::from(self.0)
    }
}

/// Appends a JSON string. Writing text to memory cannot fail.
fn write_string(text: &str, out: &mut Vec<u8>) {
    if serde_json::to_writer(&mut *out, text).is_err() {
        // Unreachable, but an empty string would keep the body valid.
        out.extend_from_slice(b"\"\"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_rfc3339;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn encoded(json: &Value, at: &str) -> Bytes {
        let draft = Draft::parse(json.to_string().as_bytes()).expect("valid");
        Outgoing::encode(&draft, Uuid::nil(), parse_rfc3339(at).expect("time")).body
    }

    const AT: &str = "2026-11-20T15:57:45.123456Z";

    #[test]
    fn members_stand_in_the_contracts_order() {
        let body = encoded(
            &json!({"metadata":{"z":1,"a":2},"content":"hé\n","expires_at":"2027-01-01T00:00:00+01:00",
                "in_reply_to":"0192F0C4-7A1B-7C3D-8E4F-5A6B7C8D9E0F","conversation_id":"c","task_id":"t",
                "recipient_id":"r","sender_id":"s","type":"ty","kind":"message"}),
            AT,
        );
        assert_eq!(
            std::str::from_utf8(&body).expect("UTF-8"),
            concat!(
                r#"{"id":"00000000-0000-0000-0000-000000000000","kind":"message","type":"ty","#,
                r#""subject":"agent.message.agent.ty","sender_id":"s","sender_role":"agent","#,
                r#""recipient_id":"r","task_id":"t","conversation_id":"c","#,
                r#""in_reply_to":"0192f0c4-7a1b-7c3d-8e4f-5a6b7c8d9e0f","#,
                r#""expires_at":"2027-01-01T00:00:00+01:00","content":"hé\n","#,
                r#""metadata":{"a":2,"z":1},"created_at":"2026-11-20T15:57:45.123456Z"}"#
            )
        );
    }

    #[test]
    fn the_key_stands_before_created_at_and_may_differ() {
        let json = json!({"kind":"status","type":"t","sender_id":"a","metadata":{"a":"\",\"key_id\":\"z"}});
        let posted = |key: Option<&str>| {
            let draft = Draft::parse(json.to_string().as_bytes()).expect("valid");
            let draft = draft.posted_with(key.map(|key| key.parse().expect("a token")));
            Outgoing::encode(&draft, Uuid::nil(), parse_rfc3339(AT).expect("time")).body
        };
        let text = String::from_utf8(posted(Some("k1")).to_vec()).expect("UTF-8");
        assert!(
            text.ends_with(&format!("}},\"key_id\":\"k1\",\"created_at\":\"{AT}\"}}")),
            "{text}"
        );
        assert!(equal_as_posted(&posted(Some("k1")), &posted(Some("jwt-k2"))));
        assert!(equal_as_posted(&posted(Some("k1")), &posted(None)));
        let other = json!({"kind":"status","type":"t","sender_id":"a","metadata":{"a":"x"}});
        assert!(!equal_as_posted(&posted(Some("k1")), &encoded(&other, AT)));
    }

    #[test]
    fn only_created_at_may_differ() {
        let body = json!({"kind":"status","type":"t","sender_id":"a","content":"x"});
        let other = json!({"kind":"status","type":"t","sender_id":"a","content":"y"});
        let later = "2027-01-01T00:00:00Z";
        assert!(equal_as_posted(&encoded(&body, AT), &encoded(&body, later)));
        assert!(!equal_as_posted(&encoded(&body, AT), &encoded(&other, AT)));
    }

    proptest! {
        #[test]
        fn any_text_comes_back_on_one_line(content in "[^\u{0}]{0,200}") {
            let body = encoded(&json!({"kind":"status","type":"t","sender_id":"a","content":content}), AT);
            prop_assert!(!body.contains(&b'\n') && !body.contains(&b'\r'));
            let read: Value = serde_json::from_slice(&body).expect("valid JSON");
            prop_assert_eq!(read["content"].as_str(), Some(content.as_str()));
        }
    }
}
