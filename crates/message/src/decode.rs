//! Decodes a log entry to the record that all readers get (contract, section 1).
//!
//! Invariant: every entry can be decoded, and the record depends only on the entry and the name of the log.
//! So all readers get the same bytes, and no payload in the stream can stop a reader.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::encode::encode;
use super::json::string;
use super::payload::BASE64_METADATA;
use super::trace::is_trace_header;
use super::{
    Draft, HEADER_BATCH_PREFIX, HEADER_EXPECTED_PREFIX, HEADER_MSG_ID, HEADER_NATIVE,
    HEADER_NATIVE_V1, HEADER_SENDER, Kind, LogEntry, Record, Subject, Token, TraceContext,
    parse_rfc3339, parse_uuid,
};

/// Decodes a log entry. An envelope of agentbus is taken byte for byte, another valid envelope is encoded
/// again, and anything else becomes the content of a new envelope. If the entry has no id, one is derived
/// from the entry and `log`, the name of the log.
#[must_use]
pub fn decode(entry: LogEntry, log: &str) -> Record {
    match entry.header(HEADER_NATIVE) {
        Some(HEADER_NATIVE_V1) => {
            let payload = entry.payload.clone();
            if let Some(envelope) = one_line_envelope(&payload) {
                return native(entry, &envelope, log);
            }
        }
        None => {
            if let Ok(draft) = Draft::parse_foreign(&entry.payload, entry.subject.as_str()) {
                return from_draft(entry, &draft, log);
            }
        }
        Some(_) => {}
    }
    from_content(entry, log)
}

/// Decodes a message from the store, whose body is already an envelope.
#[must_use]
pub fn decode_body(seq: u64, subject: Subject, body: Bytes, logged_at: DateTime<Utc>) -> Record {
    let headers = vec![(HEADER_NATIVE.to_owned(), HEADER_NATIVE_V1.to_owned())];
    decode(LogEntry { seq, subject, headers, payload: body, logged_at }, "")
}

/// Parses a payload that can be a body as it is: an envelope on one line, without `seq`. `None` for any other
/// payload.
fn one_line_envelope(payload: &[u8]) -> Option<Envelope<'_>> {
    let is_line = payload.first() == Some(&b'{')
        && payload.last() == Some(&b'}')
        && !payload.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
    // serde_json does not check the UTF-8 of strings that it skips.
    let text = std::str::from_utf8(payload).ok().filter(|_| is_line)?;
    serde_json::from_str::<Envelope<'_>>(text).ok().filter(|envelope| envelope.seq.is_none())
}

/// The members that columns and filters use. A newer server may have written other members and values. What
/// this version does not understand counts as absent.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    seq: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "type")]
    type_: Option<&'a RawValue>,
    #[serde(borrow, default)]
    sender_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    sender_role: Option<&'a RawValue>,
    #[serde(borrow, default)]
    recipient_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    task_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    conversation_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    in_reply_to: Option<&'a RawValue>,
    #[serde(borrow, default)]
    expires_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    created_at: Option<&'a RawValue>,
}

/// The value of a member if it is a string that `parse` accepts.
fn member<T, E>(raw: Option<&RawValue>, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
    parse(&string(raw?).ok()?).ok()
}

fn token(raw: Option<&RawValue>) -> Option<Token> {
    member(raw, str::parse)
}

/// The `expires_at` of a body; `None` if there is none or it is invalid.
#[must_use]
pub fn expires_at(body: &[u8]) -> Option<DateTime<Utc>> {
    let envelope: Envelope<'_> = serde_json::from_slice(body).ok()?;
    member(envelope.expires_at, parse_rfc3339)
}

/// The `key_id` of a body: the key that posted the message. `None` if there is none or it is invalid.
#[must_use]
pub fn key_id(body: &[u8]) -> Option<Token> {
    #[derive(Deserialize)]
    struct Posted<'a> {
        #[serde(borrow, default)]
        key_id: Option<&'a RawValue>,
    }
    let posted: Posted<'_> = serde_json::from_slice(body).ok()?;
    token(posted.key_id)
}

/// The `sender_id` of a body. `None` if there is none or it is invalid.
#[must_use]
pub fn sender_id(body: &[u8]) -> Option<Token> {
    let envelope: Envelope<'_> = serde_json::from_slice(body).ok()?;
    token(envelope.sender_id)
}

fn native(entry: LogEntry, envelope: &Envelope<'_>, log: &str) -> Record {
    let id = member(envelope.id, parse_uuid);
    let message_id = entry.header(HEADER_MSG_ID);
    let is_of_publish = |name: &str| {
        name.starts_with(HEADER_EXPECTED_PREFIX) || name.starts_with(HEADER_BATCH_PREFIX)
    };
    let trace = TraceContext::of_headers(&entry.headers);
    let is_traced = trace.as_ref().is_some_and(|trace| trace.accounts_for(&entry.headers));
    let is_ours = |name: &str| is_of_publish(name) || (is_traced && is_trace_header(name));
    let headers = entry.headers.iter().filter(|(name, _)| !is_ours(name)).count();
    let has_only_our_headers = headers == 1 + usize::from(message_id.is_some())
        && message_id.is_none_or(|text| parse_uuid(text).ok() == id && id.is_some());
    Record {
        seq: entry.seq,
        id: id.unwrap_or_else(|| fallback_id(&entry, log)),
        kind: member(envelope.kind, str::parse).unwrap_or_else(|| entry.subject.kind()),
        type_: token(envelope.type_).unwrap_or_else(Token::unknown),
        sender_id: token(envelope.sender_id).unwrap_or_else(Token::unknown),
        sender_role: token(envelope.sender_role),
        recipient_id: token(envelope.recipient_id),
        task_id: token(envelope.task_id),
        conversation_id: token(envelope.conversation_id),
        in_reply_to: member(envelope.in_reply_to, parse_uuid),
        expires_at: member(envelope.expires_at, parse_rfc3339),
        created_at: member(envelope.created_at, parse_rfc3339).unwrap_or(entry.logged_at),
        logged_at: entry.logged_at,
        foreign: (!has_only_our_headers).then(|| (entry.payload.clone(), entry.headers)),
        trace,
        body: entry.payload,
        subject: entry.subject,
    }
}

/// Derives an id for an entry whose payload has none.
fn fallback_id(entry: &LogEntry, log: &str) -> Uuid {
    entry.header(HEADER_MSG_ID).and_then(|text| parse_uuid(text).ok()).unwrap_or_else(|| {
        Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{log}\0{}", entry.seq).as_bytes())
    })
}

fn from_draft(entry: LogEntry, draft: &Draft, log: &str) -> Record {
    let id = draft.id.unwrap_or_else(|| fallback_id(&entry, log));
    let created_at = draft.created_at.unwrap_or(entry.logged_at);
    Record {
        seq: entry.seq,
        id,
        kind: draft.kind,
        type_: draft.type_.clone(),
        sender_id: draft.sender_id.clone(),
        sender_role: draft.sender_role.clone(),
        recipient_id: draft.recipient_id.clone(),
        task_id: draft.task_id.clone(),
        conversation_id: draft.conversation_id.clone(),
        in_reply_to: draft.in_reply_to,
        expires_at: draft.expires_at.as_ref().map(|(_, time)| *time),
        created_at,
        logged_at: entry.logged_at,
        body: encode(draft, id, entry.subject.as_str(), created_at),
        subject: entry.subject,
        trace: TraceContext::of_headers(&entry.headers),
        foreign: Some((entry.payload, entry.headers)),
    }
}

/// Makes a new envelope: the content is the payload, and names are taken from the subject.
fn from_content(entry: LogEntry, log: &str) -> Record {
    let kind = entry.subject.kind();
    let key = || entry.subject.key().unwrap_or_else(Token::unknown);
    let given_sender = || {
        entry
            .header(HEADER_SENDER)
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(Token::unknown)
    };
    let (content, metadata) = text_or_base64(&entry.payload);
    let draft = Draft {
        id: None,
        kind,
        type_: entry.subject.type_().unwrap_or_else(Token::unknown),
        sender_id: match kind {
            Kind::Status => entry.subject.key().unwrap_or_else(given_sender),
            Kind::Message | Kind::Task => given_sender(),
        },
        sender_role: (kind == Kind::Message).then(key),
        recipient_id: None,
        task_id: (kind == Kind::Task).then(key),
        conversation_id: None,
        in_reply_to: None,
        expires_at: None,
        content,
        metadata: metadata.to_owned(),
        key_id: None,
        created_at: None,
        trace: None,
    };
    from_draft(entry, &draft, log)
}

/// Encodes a payload as the content of an envelope, and returns it with the `metadata` that states the
/// encoding. Text stays as it is. Text with U+0000, and anything else, becomes Base64.
#[must_use]
pub fn text_or_base64(payload: &[u8]) -> (String, &'static str) {
    match std::str::from_utf8(payload) {
        Ok(text) if !text.contains('\0') => (text.to_owned(), "{}"),
        _ => (BASE64.encode(payload), BASE64_METADATA),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::splice_seq;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const STREAM: &str = "agent-messages";

    fn raw(subject: &str, headers: &[(&str, &str)], payload: &[u8]) -> LogEntry {
        LogEntry {
            seq: 7,
            subject: Subject::from_log(subject.to_owned()),
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            payload: Bytes::copy_from_slice(payload),
            logged_at: parse_rfc3339("2026-01-02T03:04:05.678901Z").expect("time"),
        }
    }

    fn body(record: &Record) -> Value {
        let mut spliced = Vec::new();
        splice_seq(record.seq, &record.body, &mut spliced);
        serde_json::from_slice(&spliced).expect("the spliced body is JSON")
    }

    #[test]
    fn a_marked_body_is_taken_byte_for_byte() {
        let payload = br#"{"new":1.0,"type":"t" ,"id":"00000000-0000-0000-0000-000000000001"}"#;
        let record = decode(raw("agent.task.x.y", &[("Agentbus", "1")], payload), STREAM);
        assert_eq!(&record.body[..], payload);
        assert_eq!(record.id, Uuid::from_u128(1));
        assert_eq!((record.kind, record.type_.as_str()), (Kind::Task, "t"));
        assert_eq!(record.sender_id, Token::unknown());
        let empty = decode(raw("agent.task.x.y", &[("Agentbus", "1")], b"{}"), STREAM);
        assert_eq!(body(&empty), json!({"seq": 7}));
    }

    #[test]
    fn a_marked_body_that_cannot_be_spliced_is_content() {
        for payload in
            [&b"{\"seq\":9}"[..], b"{\n}", b"[]", b" {}", b"{\"a\":}", b"{\"a\":\"\xff\"}"]
        {
            let record = decode(raw("agent.status.bob.up", &[("Agentbus", "1")], payload), STREAM);
            assert_eq!(body(&record)["seq"], 7);
            assert_eq!(record.sender_id.as_str(), "bob");
        }
    }

    #[test]
    fn a_valid_envelope_of_another_client_is_encoded_canonically() {
        let payload = br#"{ "sender_id":"a", "kind":"status", "type":"up",
            "subject":"agent.status.a.up", "created_at":"2025-01-01T01:00:00+01:00" }"#;
        let id = "0192f0c4-7a1b-7c3d-8e4f-5a6b7c8d9e0f";
        let record = decode(raw("agent.status.a.up", &[("Nats-Msg-Id", id)], payload), STREAM);
        assert_eq!(
            body(&record),
            json!({"seq":7,"id":id,"kind":"status","type":"up","subject":"agent.status.a.up",
                "sender_id":"a","content":"","metadata":{},"created_at":"2025-01-01T00:00:00.000000Z"})
        );
    }

    #[test]
    fn anything_else_is_content_named_by_its_subject() {
        let record = decode(raw("agent.task.T1", &[("Agent-Sender", "bob")], b"plain"), STREAM);
        let seen = body(&record);
        assert_eq!(
            (&seen["task_id"], &seen["type"], &seen["sender_id"], &seen["content"]),
            (&json!("T1"), &json!("unknown"), &json!("bob"), &json!("plain"))
        );
        assert_eq!(record.id, decode(raw("agent.task.T1", &[], b"x"), STREAM).id);
        let binary = body(&decode(raw("agent.message.a!b.c.d", &[], b"a\0b"), STREAM));
        assert_eq!(binary["metadata"], json!({"encoding": "base64"}));
        assert_eq!(binary["content"], "YQBi");
        assert_eq!((&binary["sender_role"], &binary["type"]), (&json!("unknown"), &json!("c")));
    }

    proptest! {
        #[test]
        fn every_payload_becomes_one_line_of_json(
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            marked in any::<bool>(),
            subject in "agent\\.(message|status|task)\\.[^ ]{1,20}",
        ) {
            let headers: &[_] = if marked { &[("Agentbus", "1")] } else { &[] };
            let record = decode(raw(&subject, headers, &payload), STREAM);
            prop_assert!(!record.body.contains(&b'\n'));
            prop_assert!(body(&record).is_object());
        }
    }

    #[test]
    fn headers_of_the_publish_are_no_part_of_the_message() {
        let body = br#"{"id":"00000000-0000-0000-0000-00000000002a","kind":"status","type":"offline","sender_id":"a"}"#;
        let id = "00000000-0000-0000-0000-00000000002a";
        let ours = [("Agentbus", "1"), ("Nats-Msg-Id", id)];
        let expecting = [
            ("Agentbus", "1"),
            ("Nats-Expected-Last-Subject-Sequence", "7"),
            ("Nats-Expected-Last-Subject-Sequence-Subject", "agent.status.a.*"),
            ("Nats-Msg-Id", id),
        ];
        let batched = [
            ("Agentbus", "1"),
            ("Nats-Batch-Commit", "1"),
            ("Nats-Batch-Id", "b1"),
            ("Nats-Batch-Sequence", "30"),
            ("Nats-Msg-Id", id),
        ];
        for headers in [&ours[..], &expecting[..], &batched[..]] {
            let record = decode(raw("agent.status.a.offline", headers, body), STREAM);
            assert_eq!((&record.body[..], &record.foreign), (&body[..], &None));
        }
        let other = [("Agentbus", "1"), ("Nats-Msg-Id", id), ("X", "y")];
        let record = decode(raw("agent.status.a.offline", &other, body), STREAM);
        assert!(record.foreign.is_some_and(|(payload, _)| payload[..] == body[..]));
    }

    #[test]
    fn a_trace_context_is_no_sign_of_a_foreign_message() {
        let body = br#"{"id":"00000000-0000-0000-0000-00000000002a","kind":"status","type":"offline","sender_id":"a"}"#;
        let id = "00000000-0000-0000-0000-00000000002a";
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let of = |further: &[(&str, &str)]| {
            let headers = [&[("Agentbus", "1"), ("Nats-Msg-Id", id)], further].concat();
            let record = decode(raw("agent.status.a.offline", &headers, body), STREAM);
            let trace = record.trace.map(|trace| trace.parent().to_owned());
            (trace.as_deref() == Some(parent), record.foreign.is_some())
        };
        assert_eq!(of(&[("traceparent", parent)]), (true, false));
        assert_eq!(of(&[("traceparent", parent), ("tracestate", "a=1")]), (true, false));
        // What would not come back from the row as it was is kept as it was.
        assert_eq!(of(&[("Traceparent", parent)]), (true, true));
        assert_eq!(of(&[("traceparent", parent), ("tracestate", "a")]), (true, true));
        assert_eq!(of(&[("traceparent", "x")]), (false, true));
        assert_eq!(of(&[("tracestate", "a=1")]), (false, true));
        let foreign = decode(raw("agent.status.a.b", &[("traceparent", parent)], b"x"), STREAM);
        assert_eq!(foreign.trace.expect("a context").parent(), parent);
    }
}
