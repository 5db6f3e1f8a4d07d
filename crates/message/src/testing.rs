//! Records for tests.

use bytes::Bytes;
use uuid::Uuid;

use super::{Kind, Record, Subject, Token, parse_rfc3339};

/// A record with this type, sender, recipient and task (`names`, in this order). An empty recipient or task
/// means none.
///
/// # Panics
/// If a name is not a valid token.
#[must_use]
pub fn record(seq: u64, kind: Kind, names: [&str; 4]) -> Record {
    let [type_, sender, recipient, task] = names;
    let some = |text: &str| (!text.is_empty()).then(|| text.parse().expect("token"));
    let time = parse_rfc3339("2026-01-01T00:00:00Z").expect("time");
    let type_: Token = type_.parse().expect("token");
    Record {
        seq,
        subject: Subject::derive(kind, &task.parse().unwrap_or_else(|_| Token::unknown()), &type_),
        id: Uuid::from_u128(u128::from(seq)),
        kind,
        type_,
        sender_id: sender.parse().expect("token"),
        sender_role: None,
        recipient_id: some(recipient),
        task_id: some(task),
        conversation_id: None,
        in_reply_to: None,
        expires_at: None,
        created_at: time,
        logged_at: time,
        body: Bytes::from_static(br#"{"id":"x"}"#),
        foreign: None,
        trace: None,
    }
}
