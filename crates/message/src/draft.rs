//! A draft: what a client posted, validated, before it has an id and a time.
//!
//! Invariant: every fault of a body is named at once, with a JSON pointer
//! (RFC 6901), so a client mends it in one round.

use std::borrow::Cow;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::json::{CompactError, Member, Members, compact, string};
use super::status::{TTL, parse_ttl};
use super::{Kind, Subject, Token, parse_rfc3339, parse_uuid, shorten_name};
use crate::limits::{MAX_MEMBERS, MAX_METADATA_DEPTH, MAX_NAMED_ERRORS, MAX_TTL_S};

/// A validated message that has no place in the log yet.
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
    /// As the client spelled it, and parsed.
    pub(super) expires_at: Option<(String, DateTime<Utc>)>,
    pub(super) content: String,
    /// Compact JSON object.
    pub(super) metadata: String,
    /// Only a foreign message may bring its own.
    pub(super) created_at: Option<DateTime<Utc>>,
}

/// One fault of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// JSON pointer to the member; empty for the whole body.
    pub pointer: String,
    /// What the member must be.
    pub detail: String,
}

/// Why a body is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DraftError {
    /// It is not JSON.
    Syntax {
        /// 1-based.
        line: usize,
        /// 1-based, in bytes.
        column: usize,
        /// What the parser expected.
        detail: String,
    },
    /// It is JSON that breaks these rules.
    Invalid(Vec<FieldError>),
}

/// Who sent the draft, which decides about the server's members.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source<'a> {
    Client,
    Foreign { subject: &'a str },
}

impl Draft {
    /// Parses what a client posted: strict, and server members refused.
    ///
    /// # Errors
    /// [`DraftError`]: no JSON, or every rule that is broken.
    pub fn parse(json: &[u8]) -> Result<Self, DraftError> {
        Self::parse_from(json, Source::Client)
    }

    /// Parses what another NATS client published on `subject`; it may bring
    /// its own `created_at`, and the subject if that is the one it came by.
    pub(super) fn parse_foreign(json: &[u8], subject: &str) -> Result<Self, DraftError> {
        Self::parse_from(json, Source::Foreign { subject })
    }

    fn parse_from(json: &[u8], source: Source<'_>) -> Result<Self, DraftError> {
        let members = json_members(json)?;
        let mut form = DraftReader::new(members, source);
        let draft = form.draft();
        form.refuse_the_rest();
        match draft {
            Some(draft) if form.errors.is_empty() => Ok(draft),
            _ => {
                form.errors.truncate(MAX_NAMED_ERRORS);
                Err(DraftError::Invalid(form.errors))
            }
        }
    }

    /// The id the client gave, if any.
    #[must_use]
    pub fn id(&self) -> Option<Uuid> {
        self.id
    }

    /// The same draft under an id that was derived for it.
    #[must_use]
    pub fn with_id(mut self, id: Uuid) -> Self {
        self.id = Some(id);
        self
    }

    /// Who sends it.
    #[must_use]
    pub fn sender_id(&self) -> &Token {
        &self.sender_id
    }

    /// The subject that the contract derives for it.
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

/// The members of a body that must be a JSON object, in order, repeated names included.
///
/// # Errors
/// [`DraftError`]: no JSON, no object, or one with more than [`MAX_MEMBERS`].
pub(super) fn json_members(json: &[u8]) -> Result<Vec<Member<'_>>, DraftError> {
    let members: Result<Members<'_>, _> = serde_json::from_slice(json);
    let whole = |detail: &str| Err(DraftError::Invalid(vec![field("", detail)]));
    match members {
        Ok(Members(members)) if members.len() > MAX_MEMBERS => {
            whole(&format!("has more than {MAX_MEMBERS} members"))
        }
        Ok(Members(members)) => Ok(members),
        Err(error) if error.is_data() => whole("must be a JSON object"),
        Err(error) => Err(DraftError::Syntax {
            line: error.line(),
            column: error.column(),
            detail: syntax_detail(&error),
        }),
    }
}

/// The id that an `Idempotency-Key` gives: UUIDv5(NAMESPACE_URL, sender + U+0000 + key).
#[must_use]
pub fn idempotency_id(sender: &Token, key: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{sender}\0{key}").as_bytes())
}

fn field(pointer: &str, detail: &str) -> FieldError {
    FieldError { pointer: pointer.to_owned(), detail: detail.to_owned() }
}

/// serde_json's message without the position, which is told apart.
fn syntax_detail(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// The members of a body while they are taken out one by one.
struct DraftReader<'a> {
    members: Vec<Member<'a>>,
    source: Source<'a>,
    errors: Vec<FieldError>,
}

impl<'a> DraftReader<'a> {
    fn new(members: Vec<Member<'a>>, source: Source<'a>) -> Self {
        let mut form = Self { members, source, errors: Vec::new() };
        let mut at = 1;
        while at < form.members.len() {
            let (before, rest) = form.members.split_at(at);
            if before.iter().any(|(known, _)| *known == rest[0].0) {
                let (name, _) = form.members.remove(at);
                form.fail(&name, "stands more than once");
            } else {
                at += 1;
            }
        }
        form
    }

    /// Takes every member of the contract; `None` when one that must be is missing.
    fn draft(&mut self) -> Option<Draft> {
        let kind = self.required::<Kind>("kind");
        let type_ = self.required::<Token>("type");
        let sender_id = self.required::<Token>("sender_id");
        let mut sender_role = self.optional::<Token>("sender_role");
        let recipient_id = self.optional("recipient_id");
        let had_task = self.members.iter().any(|(name, _)| name == "task_id");
        let task_id = self.optional("task_id");
        if kind == Some(Kind::Task) && !had_task {
            self.fail("task_id", "is required for kind task");
        }
        if kind == Some(Kind::Message) && sender_role.is_none() {
            sender_role = Some(Token::default_role());
        }
        let conversation_id = self.optional("conversation_id");
        let id = self.parsed("id", parse_uuid);
        let in_reply_to = self.parsed("in_reply_to", parse_uuid);
        let expires_at = self
            .parsed("expires_at", |text| parse_rfc3339(text).map(|time| (text.to_owned(), time)));
        let content = self.string("content").unwrap_or_default().into_owned();
        let metadata = self.metadata();
        if kind == Some(Kind::Status) && self.source == Source::Client {
            self.check_ttl(&metadata);
        }
        let created_at = self.server_members();
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
            created_at,
        })
    }

    /// Refuses `seq`, and from a client `subject` and `created_at` too.
    fn server_members(&mut self) -> Option<DateTime<Utc>> {
        const SERVERS: &str = "is set by the server";
        if self.take("seq").is_some() {
            self.fail("seq", SERVERS);
        }
        match self.source {
            Source::Client => {
                for name in ["subject", "created_at"] {
                    if self.take(name).is_some() {
                        self.fail(name, SERVERS);
                    }
                }
                None
            }
            Source::Foreign { subject } => {
                if self.string("subject").is_some_and(|told| told != subject) {
                    self.fail("subject", "must be the subject published on");
                }
                self.parsed("created_at", parse_rfc3339)
            }
        }
    }

    fn metadata(&mut self) -> String {
        let Some(value) = self.take("metadata") else {
            return "{}".to_owned();
        };
        if !value.get().starts_with('{') {
            self.fail("metadata", "must be a JSON object");
            return String::new();
        }
        let mut out = String::with_capacity(value.get().len());
        if let Err(error) = compact(value.get(), MAX_METADATA_DEPTH, &mut out) {
            self.fail(
                "metadata",
                match error {
                    CompactError::Nul => "must not hold U+0000",
                    CompactError::Surrogate => "holds an unpaired surrogate",
                    CompactError::Depth => "must nest at most 32 deep",
                },
            );
        }
        out
    }

    /// Refuses a `ttl_s` that would be ignored. Elsewhere than in a status it means nothing.
    fn check_ttl(&mut self, metadata: &str) {
        let Ok(Members(members)) = serde_json::from_str::<Members<'_>>(metadata) else { return };
        let bad = |(name, value): &Member<'_>| name == TTL && parse_ttl(value.get()).is_none();
        if members.iter().any(bad) {
            let detail = format!("must be a whole number of seconds from 1 to {MAX_TTL_S}");
            self.errors.push(field(&format!("/metadata/{TTL}"), &detail));
        }
    }

    fn required<T: FromStr<Err = &'static str>>(&mut self, name: &str) -> Option<T> {
        if !self.members.iter().any(|(known, _)| known == name) {
            self.fail(name, "is required");
            return None;
        }
        self.optional(name)
    }

    fn optional<T: FromStr<Err = &'static str>>(&mut self, name: &str) -> Option<T> {
        self.parsed(name, str::parse)
    }

    fn parsed<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        let text = self.string(name)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(rule) => {
                self.fail(name, rule);
                None
            }
        }
    }

    fn string(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let raw = self.take(name)?;
        if !raw.get().starts_with('"') {
            self.fail(
                name,
                if raw.get() == "null" {
                    "must be a string; leave the member out instead of null"
                } else {
                    "must be a string"
                },
            );
            return None;
        }
        match string(raw) {
            Ok(text) if text.contains('\0') => self.fail(name, "must not hold U+0000"),
            Ok(text) => return Some(text),
            Err(_) => self.fail(name, "holds an unpaired surrogate"),
        }
        None
    }

    fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let at = self.members.iter().position(|(known, _)| known == name)?;
        Some(self.members.swap_remove(at).1)
    }

    fn refuse_the_rest(&mut self) {
        for (name, _) in std::mem::take(&mut self.members) {
            self.fail(&name, "is not a member of a message; extras belong in metadata");
        }
    }

    fn fail(&mut self, name: &str, detail: &str) {
        let escaped = shorten_name(name).replace('~', "~0").replace('/', "~1");
        self.errors.push(field(&format!("/{escaped}"), detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointers(json: &str) -> Vec<String> {
        match Draft::parse(json.as_bytes()) {
            Err(DraftError::Invalid(errors)) => errors.into_iter().map(|e| e.pointer).collect(),
            other => panic!("expected field errors, got {other:?}"),
        }
    }

    #[test]
    fn names_every_fault_at_once() {
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
    fn members_without_end_are_one_fault() {
        let with = |n: usize| {
            let members: Vec<String> = (0..n).map(|at| format!("\"m{at}\":0")).collect();
            Draft::parse(format!("{{{}}}", members.join(",")).as_bytes()).expect_err("refused")
        };
        let DraftError::Invalid(few) = with(MAX_MEMBERS) else { panic!("JSON") };
        assert_eq!((few.len(), few[0].pointer.as_str()), (MAX_NAMED_ERRORS, "/kind"));
        let DraftError::Invalid(many) = with(MAX_MEMBERS + 1) else { panic!("JSON") };
        assert_eq!(many, [field("", "has more than 512 members")]);
    }

    #[test]
    fn broken_json_tells_line_and_column() {
        let Err(DraftError::Syntax { line, column, .. }) = Draft::parse(b"{\n \"kind\": }") else {
            panic!("must be a syntax error");
        };
        assert_eq!((line, column), (2, 10));
        assert!(matches!(Draft::parse(b"{} x"), Err(DraftError::Syntax { .. })));
        assert!(matches!(Draft::parse(b"{\"a\":\"\xff\"}"), Err(DraftError::Syntax { .. })));
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
