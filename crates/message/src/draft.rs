//! A draft is a message that a client posted, validated, before it gets an id and a time.

use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::json::{Member, Members};
use super::status::{EXPIRED_SEQ, REASON, TTL, parse_ttl};
use super::{
    BodyError, Kind, ObjectReader, Subject, Token, TraceContext, parse_rfc3339, parse_uuid,
};
use crate::limits::{MAX_METADATA_DEPTH, MAX_TTL_S};

/// A validated message that is not in the log yet.
#[derive(Clone, Debug)]
pub struct Draft {
    pub(super) id: Option<Uuid>,
    pub(super) kind: Kind,
    pub(super) type_: Token,
    pub(super) sender_id: Token,
    pub(super) sender_role: Option<Token>,
    pub(super) recipient_id: Option<Token>,
    pub(super) task_id: Option<Token>,
    pub(super) conversation_id: Option<Token>,
    pub(super) in_reply_to: Option<Uuid>,
    /// The text as the client sent it, and the parsed time.
    pub(super) expires_at: Option<(String, DateTime<Utc>)>,
    pub(super) content: String,
    /// A compact JSON object.
    pub(super) metadata: String,
    /// The key that posted it.
    pub(super) key_id: Option<Token>,
    /// Only set in a message of another NATS client.
    pub(super) created_at: Option<DateTime<Utc>>,
    /// The trace that the message belongs to. It travels beside the body.
    pub(super) trace: Option<Arc<TraceContext>>,
}

/// The origin of a draft. It decides which of the members that the server sets are refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source<'a> {
    /// `sender` is the `sender_id` if the client left it out.
    Client {
        sender: Option<&'a Token>,
    },
    Foreign {
        subject: &'a str,
    },
}

impl Draft {
    /// Parses what a client posted. Unknown members, and those that the server sets, are refused.
    ///
    /// # Errors
    /// [`BodyError`]: the text is not JSON, or breaks rules (all of them are reported).
    pub fn parse(json: &[u8]) -> Result<Self, BodyError> {
        Self::parse_from(json, Source::Client { sender: None })
    }

    /// Like [`Self::parse`], for a client that may leave `sender_id` out and is then `sender`.
    ///
    /// # Errors
    /// The errors of [`Self::parse`].
    pub fn parse_of(json: &[u8], sender: Option<&Token>) -> Result<Self, BodyError> {
        Self::parse_from(json, Source::Client { sender })
    }

    /// Parses a message that another NATS client published on `subject`. It may have `created_at`. It may
    /// have `subject`, if that is the one it was published on.
    pub(super) fn parse_foreign(json: &[u8], subject: &str) -> Result<Self, BodyError> {
        Self::parse_from(json, Source::Foreign { subject })
    }

    fn parse_from(json: &[u8], source: Source<'_>) -> Result<Self, BodyError> {
        let mut object = ObjectReader::parse(json)?;
        let draft = read(&mut object, source);
        object.finish("a message; extras belong in metadata", draft)
    }

    /// The `offline` status that the server publishes for an agent whose status at sequence `expired` has
    /// lapsed. Every server derives the same `id` for it.
    #[must_use]
    pub fn lapse(agent: Token, expired: u64, id: Uuid) -> Self {
        Self {
            id: Some(id),
            kind: Kind::Status,
            type_: Token::offline(),
            sender_id: agent,
            sender_role: None,
            recipient_id: None,
            task_id: None,
            conversation_id: None,
            in_reply_to: None,
            expires_at: None,
            content: String::new(),
            metadata: format!("{{\"{REASON}\":\"ttl\",\"{EXPIRED_SEQ}\":{expired}}}"),
            key_id: None,
            created_at: None,
            trace: None,
        }
    }

    /// The id that the client chose, if any.
    #[must_use]
    pub fn id(&self) -> Option<Uuid> {
        self.id
    }

    /// Sets the draft's id.
    #[must_use]
    pub fn with_id(mut self, id: Uuid) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets the key that posted the draft.
    #[must_use]
    pub fn posted_with(mut self, key_id: Option<Token>) -> Self {
        self.key_id = key_id;
        self
    }

    /// Sets the trace that the message belongs to.
    #[must_use]
    pub fn traced(mut self, trace: Option<Arc<TraceContext>>) -> Self {
        self.trace = trace;
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The type.
    #[must_use]
    pub fn type_(&self) -> &Token {
        &self.type_
    }

    /// The content.
    #[must_use]
    pub fn content(&self) -> &str {
        &self.content
    }

    /// The metadata: a JSON object without white space between its tokens.
    #[must_use]
    pub fn metadata(&self) -> &str {
        &self.metadata
    }

    /// The bytes of content and metadata.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.content.len() + self.metadata.len()
    }

    /// The recipient, if any.
    #[must_use]
    pub fn recipient_id(&self) -> Option<&Token> {
        self.recipient_id.as_ref()
    }

    /// The sender.
    #[must_use]
    pub fn sender_id(&self) -> &Token {
        &self.sender_id
    }

    /// The subject derived from the draft (contract, section 2).
    #[must_use]
    pub fn subject(&self) -> Subject {
        let unknown = Token::unknown();
        let key = match self.kind {
            Kind::Message => self.sender_role.as_ref(),
            Kind::Status => Some(&self.sender_id),
            Kind::Task => self.task_id.as_ref(),
        };
        Subject::derive(self.kind, key.unwrap_or(&unknown), &self.type_)
    }
}

/// The id that stands for an `Idempotency-Key`: UUIDv5(NAMESPACE_URL, sender + U+0000 + key) (contract,
/// section 3).
#[must_use]
pub fn idempotency_id(sender: &Token, key: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{sender}\0{key}").as_bytes())
}

/// Reads every member that the contract has. `None` if a required one is missing or invalid.
fn read(object: &mut ObjectReader<'_>, source: Source<'_>) -> Option<Draft> {
    let kind = object.required_text::<Kind>("kind");
    let type_ = object.required_text("type");
    let sender_id = match source {
        Source::Client { sender: Some(sender) } if !object.has("sender_id") => Some(sender.clone()),
        _ => object.required_text("sender_id"),
    };
    let mut sender_role = optional(object, "sender_role");
    let recipient_id = optional(object, "recipient_id");
    if kind == Some(Kind::Task) && !object.has("task_id") {
        object.fail("task_id", "is required for kind task");
    }
    let task_id = optional(object, "task_id");
    if kind == Some(Kind::Message) && sender_role.is_none() {
        sender_role = Some(Token::default_role());
    }
    let conversation_id = optional(object, "conversation_id");
    let id = object.text("id", parse_uuid);
    let in_reply_to = object.text("in_reply_to", parse_uuid);
    let expires_at =
        object.text("expires_at", |text| parse_rfc3339(text).map(|time| (text.to_owned(), time)));
    let content = object.string("content").unwrap_or_default().into_owned();
    let metadata = read_metadata(object);
    if kind == Some(Kind::Status) && matches!(source, Source::Client { .. }) {
        check_ttl(object, &metadata);
    }
    let created_at = read_server_members(object, source);
    Some(Draft {
        id,
        kind: kind?,
        type_: type_?,
        sender_id: sender_id?,
        sender_role,
        recipient_id,
        task_id,
        conversation_id,
        in_reply_to,
        expires_at,
        content,
        metadata,
        key_id: None,
        created_at,
        trace: None,
    })
}

fn optional<T: FromStr<Err = &'static str>>(
    object: &mut ObjectReader<'_>,
    name: &str,
) -> Option<T> {
    object.text(name, str::parse)
}

/// Refuses the members that the server sets: `seq`, `key_id` and, from a client, `subject` and `created_at`. Returns
/// the `created_at` of another NATS client's message.
fn read_server_members(object: &mut ObjectReader<'_>, source: Source<'_>) -> Option<DateTime<Utc>> {
    let refused: &[&str] = match source {
        Source::Client { .. } => &["seq", "subject", "key_id", "created_at"],
        Source::Foreign { .. } => &["seq", "key_id"],
    };
    for name in refused {
        if object.raw(name).is_some() {
            object.fail(name, "is set by the server");
        }
    }
    let Source::Foreign { subject } = source else { return None };
    if object.string("subject").is_some_and(|given| given != subject) {
        object.fail("subject", "must be the subject published on");
    }
    object.text("created_at", parse_rfc3339)
}

fn read_metadata(object: &mut ObjectReader<'_>) -> String {
    let Some(value) = object.raw("metadata") else {
        return "{}".to_owned();
    };
    if !value.get().starts_with('{') {
        object.fail("metadata", "must be a JSON object");
        return String::new();
    }
    object.compact("metadata", value, MAX_METADATA_DEPTH).unwrap_or_default()
}

/// Refuses a `ttl_s` that readers would ignore. Only called for a status: other kinds may use the name for
/// anything.
fn check_ttl(object: &mut ObjectReader<'_>, metadata: &str) {
    let Ok(Members(members)) = serde_json::from_str::<Members<'_>>(metadata) else { return };
    let bad = |(name, value): &Member<'_>| name == TTL && parse_ttl(value.get()).is_none();
    if members.iter().any(bad) {
        let detail = format!("must be a whole number of seconds from 1 to {MAX_TTL_S}");
        object.fail_at(format!("/metadata/{TTL}"), detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FieldError;
    use crate::limits::{MAX_MEMBERS, MAX_NAMED_ERRORS};

    fn pointers(json: &str) -> Vec<String> {
        match Draft::parse(json.as_bytes()) {
            Err(BodyError::Invalid(errors)) => errors.into_iter().map(|e| e.pointer).collect(),
            other => panic!("expected field errors, got {other:?}"),
        }
    }

    #[test]
    fn reports_every_fault_at_once() {
        let mut found = pointers(
            r#"{"kind":"letter","type":"a b","sender_id":7,"extra/1":true,"seq":1,
                "subject":"x","created_at":"now","metadata":[],"expires_at":"soon","id":"7"}"#,
        );
        found.sort();
        assert_eq!(
            found,
            [
                "/created_at",
                "/expires_at",
                "/extra~11",
                "/id",
                "/kind",
                "/metadata",
                "/sender_id",
                "/seq",
                "/subject",
                "/type"
            ]
        );
    }

    #[test]
    fn a_task_needs_its_task_id() {
        assert_eq!(pointers(r#"{"kind":"task","type":"t","sender_id":"a"}"#), ["/task_id"]);
        assert_eq!(
            pointers(r#"{"kind":"task","type":"t","sender_id":"a","task_id":""}"#),
            ["/task_id"]
        );
    }

    #[test]
    fn too_many_members_are_one_fault() {
        let with = |n: usize| {
            let members: Vec<String> = (0..n).map(|at| format!("\"m{at}\":0")).collect();
            Draft::parse(format!("{{{}}}", members.join(",")).as_bytes()).expect_err("refused")
        };
        let BodyError::Invalid(few) = with(MAX_MEMBERS) else { panic!("JSON") };
        assert_eq!((few.len(), few[0].pointer.as_str()), (MAX_NAMED_ERRORS, "/kind"));
        let BodyError::Invalid(many) = with(MAX_MEMBERS + 1) else { panic!("JSON") };
        let expected =
            FieldError { pointer: String::new(), detail: "has more than 512 members".to_owned() };
        assert_eq!(many, [expected]);
    }

    #[test]
    fn a_syntax_error_has_line_and_column() {
        let Err(BodyError::Syntax { line, column, .. }) = Draft::parse(b"{\n \"kind\": }") else {
            panic!("must be a syntax error");
        };
        assert_eq!((line, column), (2, 10));
        assert!(matches!(Draft::parse(b"{} x"), Err(BodyError::Syntax { .. })));
        assert!(matches!(Draft::parse(b"{\"a\":\"\xff\"}"), Err(BodyError::Syntax { .. })));
        assert_eq!(pointers("[]"), [""]);
    }

    #[test]
    fn refuses_nul_nulls_and_repeats() {
        let with = |rest: &str| format!(r#"{{"kind":"status","type":"t","sender_id":"a",{rest}}}"#);
        assert_eq!(pointers(&with(r#""content":"\u0000""#)), ["/content"]);
        assert_eq!(pointers(&with(r#""recipient_id":null"#)), ["/recipient_id"]);
        assert_eq!(pointers(&with(r#""content":"a","content":"b""#)), ["/content"]);
        assert_eq!(pointers(&with(r#""metadata":{"a":"\u0000"}"#)), ["/metadata"]);
        assert_eq!(pointers(&with(r#""content":"\ud800""#)), ["/content"]);
    }

    #[test]
    fn deep_input_is_refused_without_recursion() {
        let deep = format!(
            r#"{{"kind":"status","type":"t","sender_id":"a","metadata":{{"a":{}{}}}}}"#,
            "[".repeat(200_000),
            "]".repeat(200_000)
        );
        assert_eq!(pointers(&deep), ["/metadata"]);
    }
}
