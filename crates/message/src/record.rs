//! What the log holds at one sequence, raw and read.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Kind, Subject, Token};

/// Headers of a log entry, in order, as the bus has them.
pub type Headers = Vec<(String, String)>;

/// One entry of the log as the bus holds it.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// The bus's sequence.
    pub seq: u64,
    /// The subject it was published on.
    pub subject: Subject,
    /// Its headers.
    pub headers: Headers,
    /// Its payload.
    pub payload: Bytes,
    /// When the log took it.
    pub logged_at: DateTime<Utc>,
}

impl LogEntry {
    /// The first value of a header. Names are case-sensitive, as in NATS.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// One entry of the log as every reader sees it: filterable, with its body.
#[derive(Clone, Debug)]
pub struct Record {
    /// The bus's sequence.
    pub seq: u64,
    /// The subject it was published on; filters look at this one.
    pub subject: Subject,
    /// Its identity for idempotency. Not unique: see the contract, section 1.
    pub id: Uuid,
    /// What it is.
    pub kind: Kind,
    /// Its type.
    pub type_: Token,
    /// Who sent it.
    pub sender_id: Token,
    /// As what its sender spoke.
    pub sender_role: Option<Token>,
    /// Whom it is for; `None` is everybody.
    pub recipient_id: Option<Token>,
    /// The task it belongs to.
    pub task_id: Option<Token>,
    /// The conversation it belongs to.
    pub conversation_id: Option<Token>,
    /// The message it answers.
    pub in_reply_to: Option<Uuid>,
    /// When inboxes and processing begin to skip it.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When the log took it.
    pub logged_at: DateTime<Utc>,
    /// The envelope without `seq`: one line, an object, never empty.
    pub body: Bytes,
    /// Payload and headers as published, where the body is not the payload
    /// byte for byte or the headers are not the ones agentbus sets.
    pub foreign: Option<(Bytes, Headers)>,
}

/// The body with `"seq":N,` spliced in front: what history and streams return.
pub fn splice_seq(seq: u64, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"seq\":");
    out.extend_from_slice(seq.to_string().as_bytes());
    let rest = &body[1..];
    // One that another server wrote, byte for byte, may hold white space alone.
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
