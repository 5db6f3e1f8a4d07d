//! An entry of the log, as the bus returns it and decoded.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Headers, Kind, Subject, Token, TraceContext};

/// One entry of the log, as the bus returns it.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// The entry's sequence, which the bus assigned.
    pub seq: u64,
    /// The subject that the entry was published on.
    pub subject: Subject,
    /// The entry's headers.
    pub headers: Headers,
    /// The entry's payload.
    pub payload: Bytes,
    /// When the bus stored it.
    pub logged_at: DateTime<Utc>,
}

impl LogEntry {
    /// The first value of the header `name`. Names are case-sensitive, as in NATS.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// One entry of the log, decoded: the members that filters use, and the body.
#[derive(Clone, Debug)]
pub struct Record {
    /// The entry's sequence, which the bus assigned.
    pub seq: u64,
    /// The subject that the message was published on. Filters use it, even if the body says something else.
    pub subject: Subject,
    /// The message's id. It need not be unique in the log (contract, section 1).
    pub id: Uuid,
    /// The message's kind.
    pub kind: Kind,
    /// The message's type.
    pub type_: Token,
    /// The sender.
    pub sender_id: Token,
    /// The sender's role.
    pub sender_role: Option<Token>,
    /// The recipient; `None` for a broadcast.
    pub recipient_id: Option<Token>,
    /// The task that the message belongs to.
    pub task_id: Option<Token>,
    /// The conversation that the message belongs to.
    pub conversation_id: Option<Token>,
    /// The id of the message that this one replies to.
    pub in_reply_to: Option<Uuid>,
    /// When the message expires: from then on, inboxes and consumers skip it.
    pub expires_at: Option<DateTime<Utc>>,
    /// When the message was created.
    pub created_at: DateTime<Utc>,
    /// When the bus stored it.
    pub logged_at: DateTime<Utc>,
    /// The envelope without `seq`: a JSON object on one line, never empty.
    pub body: Bytes,
    /// The payload and headers as published; `None` if the payload is the body and the headers are exactly
    /// those that agentbus sets.
    pub foreign: Option<(Bytes, Headers)>,
    /// The trace that the message belongs to, from its headers.
    pub trace: Option<Arc<TraceContext>>,
}

/// Appends the body with `"seq":N` as its first member, the form in which history and streams return it.
/// `body` must be the body of a [`Record`].
///
/// ```
/// let mut out = Vec::new();
/// agentbus_message::splice_seq(7, br#"{"id":"x"}"#, &mut out);
/// assert_eq!(out, br#"{"seq":7,"id":"x"}"#);
/// ```
pub fn splice_seq(seq: u64, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"seq\":");
    out.extend_from_slice(seq.to_string().as_bytes());
    let rest = &body[1..];
    // If another program wrote the body, it may hold nothing but white space between the braces.
    if rest.trim_ascii() != b"}" {
        out.push(b',');
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_without_members_is_one_with_a_sequence() {
        for body in [&b"{}"[..], b"{ \t}", b"{\t} "] {
            let mut out = Vec::new();
            splice_seq(7, body, &mut out);
            let read: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
            assert_eq!(read, serde_json::json!({"seq": 7}));
        }
    }
}
