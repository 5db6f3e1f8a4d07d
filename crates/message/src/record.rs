//! An entry of the log: as the bus has it, and decoded.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Kind, Subject, Token};

/// Headers of a log entry, in order, as the bus has them.
pub type Headers = Vec<(String, String)>;

/// One entry of the log as the bus has it.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// Its sequence, assigned by the bus.
    pub seq: u64,
    /// The subject it was published on.
    pub subject: Subject,
    /// Its headers.
    pub headers: Headers,
    /// Its payload.
    pub payload: Bytes,
    /// When the bus stored it.
    pub logged_at: DateTime<Utc>,
}

impl LogEntry {
    /// The first value of a header. Names are case-sensitive, as in NATS.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// One entry of the log as every reader sees it: the members that filters use, and the body.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its sequence, assigned by the bus.
    pub seq: u64,
    /// The subject it was published on, which filters use whatever the body says.
    pub subject: Subject,
    /// Its id. Not unique in the log (contract, section 1).
    pub id: Uuid,
    /// Its kind.
    pub kind: Kind,
    /// Its type.
    pub type_: Token,
    /// Its sender.
    pub sender_id: Token,
    /// The role of its sender.
    pub sender_role: Option<Token>,
    /// Its recipient; `None` for a broadcast.
    pub recipient_id: Option<Token>,
    /// The task it belongs to.
    pub task_id: Option<Token>,
    /// The conversation it belongs to.
    pub conversation_id: Option<Token>,
    /// The id of the message it replies to.
    pub in_reply_to: Option<Uuid>,
    /// From when on inboxes and consumers skip it.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When the bus stored it.
    pub logged_at: DateTime<Utc>,
    /// The envelope without `seq`: one line, an object, never empty.
    pub body: Bytes,
    /// Payload and headers as published, if the body differs from the payload or the headers are not those that
    /// agentbus sets.
    pub foreign: Option<(Bytes, Headers)>,
}

/// Appends the body with `"seq":N` as its first member: what history and streams return. `body` must be the body of a
/// [`Record`].
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
    // A body that another program wrote may hold white space alone.
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
