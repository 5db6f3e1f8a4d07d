//! Filters select the messages that a reader gets (contract, section 5).
//!
//! Invariant: [`Filter::matches`] defines the meaning of a filter. The SQL of the store and the index of the
//! broadcaster find the same messages, but faster. A message matches if, for each name that the filter uses,
//! it matches one of the values.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Kind, Record, Scope, SubjectPattern, Token, parse_uuid};
use crate::limits::{MAX_FILTER_BYTES, MAX_FILTER_VALUES};

/// Selects the messages that a reader gets. After [`normalised`](Self::normalised), equal filters compare and
/// hash equal, however their parameters were ordered or repeated.
///
/// ```
/// use agentbus_message::Filter;
///
/// let mut filter = Filter::default();
/// assert_eq!(filter.parse_parameter("kind", "task"), Some(Ok(())));
/// assert_eq!(filter.parse_parameter("kind", "letter"), Some(Err("must be message, status or task")));
/// assert_eq!(filter.parse_parameter("limit", "5"), None, "not a parameter of filters");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Patterns for the subject.
    pub subjects: Vec<SubjectPattern>,
    /// Kinds of message.
    pub kinds: Vec<Kind>,
    /// Types of message.
    pub types: Vec<Token>,
    /// Ids of senders.
    pub senders: Vec<Token>,
    /// Ids of recipients.
    pub recipients: Vec<Token>,
    /// Whether messages without a recipient match `recipients` too. Without `recipients` it has no effect.
    pub broadcast: bool,
    /// Ids of tasks.
    pub tasks: Vec<Token>,
    /// Ids of conversations.
    pub conversations: Vec<Token>,
    /// Ids of the messages that a message may reply to.
    pub in_reply_to: Vec<Uuid>,
    /// What the reader may read; `None`: everything. No parameter sets it.
    pub scope: Option<Arc<Scope>>,
}

/// One fault in a query string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterError {
    /// The name of the parameter, as the client sent it.
    pub parameter: String,
    /// The rule that the value breaks.
    pub detail: String,
}

/// A query of history: a filter, bounds, and the size and order of a page.
#[derive(Clone, Debug)]
pub struct Query {
    /// The filter that messages must match.
    pub filter: Filter,
    /// Only messages after this sequence.
    pub after: Option<u64>,
    /// Only messages before this sequence.
    pub before: Option<u64>,
    /// Only messages with this `created_at` or a later one.
    pub since: Option<DateTime<Utc>>,
    /// Only messages with this `created_at` or an earlier one.
    pub until: Option<DateTime<Utc>>,
    /// Only messages that these two agents sent to each other.
    pub between: Option<(Token, Token)>,
    /// The most messages in a page.
    pub limit: usize,
    /// The page ends once its bodies exceed this many bytes. It holds at least one message.
    pub limit_bytes: u64,
    /// Whether the newest message comes first.
    pub descending: bool,
}

impl Query {
    /// The first page of a filter, without bounds, oldest message first.
    #[must_use]
    pub fn new(filter: Filter, limit: usize, limit_bytes: u64) -> Self {
        Self {
            filter,
            after: None,
            before: None,
            since: None,
            until: None,
            between: None,
            limit,
            limit_bytes,
            descending: false,
        }
    }
}

/// One value that a filter lists, with the name of its parameter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FilterTerm {
    /// The id of the message that is replied to.
    InReplyTo(Uuid),
    /// The conversation.
    Conversation(Token),
    /// The task.
    Task(Token),
    /// The recipient.
    Recipient(Token),
    /// No recipient. It counts as a value of the name of recipients.
    Broadcast,
    /// The sender.
    Sender(Token),
    /// A pattern that the subject matches.
    Subject(SubjectPattern),
    /// The type.
    Type(Token),
    /// The kind.
    Kind(Kind),
}

impl FilterTerm {
    /// The number of names. Lower numbers are usually more selective.
    pub const NAMES: usize = 9;
    /// The number of the name of recipients.
    pub const RECIPIENT: usize = 3;
    /// The number of the name of subject patterns. Several terms of it may match one message.
    pub const SUBJECT: usize = 5;
    /// The number of the name of the [`Scope`]. Its terms are recipients, senders and subject patterns: the
    /// terms of the names from [`RECIPIENT`](Self::RECIPIENT) to [`SUBJECT`](Self::SUBJECT).
    pub const SCOPE: usize = 6;
}

/// The terms of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTerms {
    /// The number of the name.
    pub name: usize,
    /// The terms. Those of an empty scope are none, so no message matches one.
    pub terms: Vec<FilterTerm>,
}

impl Filter {
    /// Adds the value of a query parameter. `None` if filters have no parameter with this name.
    ///
    /// # Errors
    /// The rule that the value breaks, as a text for the client.
    pub fn parse_parameter(&mut self, name: &str, value: &str) -> Option<Result<(), &'static str>> {
        let taken = match name {
            "subject" => value.parse().map(|v| self.subjects.push(v)),
            "kind" => value.parse().map(|v| self.kinds.push(v)),
            "type" => value.parse().map(|v| self.types.push(v)),
            "sender" => value.parse().map(|v| self.senders.push(v)),
            "recipient" => value.parse().map(|v| self.recipients.push(v)),
            "task" => value.parse().map(|v| self.tasks.push(v)),
            "conversation" => value.parse().map(|v| self.conversations.push(v)),
            "in_reply_to" => parse_uuid(value).map(|v| self.in_reply_to.push(v)),
            "broadcast" => {
                value.parse().map(|v| self.broadcast = v).map_err(|_| "must be true or false")
            }
            _ => return None,
        };
        Some(taken.and_then(|()| {
            if self.values() > MAX_FILTER_VALUES || self.bytes() > MAX_FILTER_BYTES {
                return Err("one filter too many: at most 128 values of 32 KiB in all");
            }
            Ok(())
        }))
    }

    fn values(&self) -> usize {
        self.subjects.len()
            + self.kinds.len()
            + self.types.len()
            + self.senders.len()
            + self.recipients.len()
            + self.tasks.len()
            + self.conversations.len()
            + self.in_reply_to.len()
    }

    /// The bytes of all values as text.
    fn bytes(&self) -> usize {
        let names =
            [&self.types, &self.senders, &self.recipients, &self.tasks, &self.conversations];
        let tokens = names.into_iter().flatten().map(|token| token.as_str().len());
        let subjects = self.subjects.iter().map(|pattern| pattern.as_str().len());
        tokens.chain(subjects).sum()
    }

    /// Sorts the values and removes repeats and patterns that match everything, so that equal filters compare
    /// equal.
    #[must_use]
    pub fn normalised(mut self) -> Self {
        fn tidy<T: Ord>(values: &mut Vec<T>) {
            values.sort_unstable();
            values.dedup();
        }
        tidy(&mut self.subjects);
        tidy(&mut self.kinds);
        tidy(&mut self.types);
        tidy(&mut self.senders);
        tidy(&mut self.recipients);
        tidy(&mut self.tasks);
        tidy(&mut self.conversations);
        tidy(&mut self.in_reply_to);
        self.broadcast &= !self.recipients.is_empty();
        if self.subjects.iter().any(|p| matches!(p.as_str(), ">" | "agent.>")) {
            self.subjects.clear();
        }
        self
    }

    /// Limits the filter to what its reader may read.
    #[must_use]
    pub fn within(self, scope: Option<Arc<Scope>>) -> Self {
        Self { scope, ..self }
    }

    /// Whether every message matches the filter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values() == 0 && self.scope.is_none()
    }

    /// Whether the message matches the filter.
    #[must_use]
    pub fn matches(&self, record: &Record) -> bool {
        fn one_of<T: PartialEq>(wanted: &[T], value: Option<&T>) -> bool {
            wanted.is_empty() || value.is_some_and(|value| wanted.contains(value))
        }
        one_of(&self.kinds, Some(&record.kind))
            && one_of(&self.types, Some(&record.type_))
            && one_of(&self.senders, Some(&record.sender_id))
            && one_of(&self.tasks, record.task_id.as_ref())
            && one_of(&self.conversations, record.conversation_id.as_ref())
            && one_of(&self.in_reply_to, record.in_reply_to.as_ref())
            && (one_of(&self.recipients, record.recipient_id.as_ref())
                || (self.broadcast && record.recipient_id.is_none()))
            && (self.subjects.is_empty()
                || self.subjects.iter().any(|p| p.matches(record.subject.as_str())))
            && self.scope.as_ref().is_none_or(|scope| scope.allows(record))
    }

    /// The terms of each name that the filter uses, by the number of the name. A message matches if it
    /// matches one term of each name.
    #[must_use]
    pub fn terms(&self) -> Vec<NameTerms> {
        fn each<T: Clone>(values: &[T], term: fn(T) -> FilterTerm) -> Vec<FilterTerm> {
            values.iter().cloned().map(term).collect()
        }
        let mut recipients = each(&self.recipients, FilterTerm::Recipient);
        if self.broadcast && !recipients.is_empty() {
            recipients.push(FilterTerm::Broadcast);
        }
        let scope = self.scope.as_ref().map_or_else(Vec::new, |scope| {
            let mut terms = each(&scope.names, FilterTerm::Recipient);
            terms.extend(each(&scope.names, FilterTerm::Sender));
            terms.extend(each(&scope.subjects, FilterTerm::Subject));
            terms
        });
        let names: [Vec<FilterTerm>; FilterTerm::NAMES] = [
            each(&self.in_reply_to, FilterTerm::InReplyTo),
            each(&self.conversations, FilterTerm::Conversation),
            each(&self.tasks, FilterTerm::Task),
            recipients,
            each(&self.senders, FilterTerm::Sender),
            each(&self.subjects, FilterTerm::Subject),
            scope,
            each(&self.types, FilterTerm::Type),
            each(&self.kinds, FilterTerm::Kind),
        ];
        let names = names.into_iter().enumerate().map(|(name, terms)| NameTerms { name, terms });
        let has_scope = self.scope.is_some();
        let is_used =
            |of: &NameTerms| !of.terms.is_empty() || (of.name == FilterTerm::SCOPE && has_scope);
        names.filter(is_used).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::record;
    use proptest::prelude::*;

    fn has(record: &Record, term: &FilterTerm) -> bool {
        match term {
            FilterTerm::InReplyTo(id) => record.in_reply_to.as_ref() == Some(id),
            FilterTerm::Conversation(t) => record.conversation_id.as_ref() == Some(t),
            FilterTerm::Task(t) => record.task_id.as_ref() == Some(t),
            FilterTerm::Broadcast => record.recipient_id.is_none(),
            FilterTerm::Recipient(t) => record.recipient_id.as_ref() == Some(t),
            FilterTerm::Sender(t) => record.sender_id == *t,
            FilterTerm::Subject(p) => p.matches(record.subject.as_str()),
            FilterTerm::Type(t) => record.type_ == *t,
            FilterTerm::Kind(k) => record.kind == *k,
        }
    }

    /// Scopes of some of these names and patterns, perhaps empty.
    fn scope() -> impl Strategy<Value = Scope> {
        let subjects = proptest::sample::subsequence(vec!["agent.*.*.b", "agent.task.a.*"], 0..=2);
        let names = proptest::sample::subsequence(vec!["a", "b"], 0..=2);
        (subjects, names).prop_map(|(subjects, names)| Scope {
            subjects: subjects.iter().map(|text| text.parse().expect("a pattern")).collect(),
            names: names.iter().map(|text| text.parse().expect("a token")).collect(),
        })
    }

    proptest! {
        #[test]
        fn a_message_matches_that_has_a_term_of_each_name(
            params in proptest::collection::vec(
                (prop_oneof![Just("type"), Just("sender"), Just("recipient"), Just("task"),
                    Just("broadcast"), Just("subject"), Just("kind")],
                 prop_oneof!["[ab]", Just("true".to_owned()), Just("agent.task.a.*".to_owned()),
                    Just("agent.*.*.b".to_owned()), Just("task".to_owned())]), 0..5),
            scope in proptest::option::of(scope()),
            names in proptest::array::uniform4("[ab]"),
            direct in any::<bool>(),
        ) {
            let mut filter = Filter::default().within(scope.map(Arc::new));
            for (name, value) in &params {
                let _ = filter.parse_parameter(name, value);
            }
            let [a, b, c, d] = &names;
            let message = record(1, Kind::Task, [a, b, if direct { c } else { "" }, d]);
            let tidy = filter.clone().normalised();
            prop_assert_eq!(filter.matches(&message), tidy.matches(&message));
            let names = tidy.terms();
            prop_assert!(names.is_sorted_by(|a, b| a.name < b.name));
            let passes = names.iter().all(|of| of.terms.iter().any(|term| has(&message, term)));
            prop_assert_eq!(passes, tidy.matches(&message));
        }
    }

    #[test]
    fn broadcast_widens_recipient_alone() {
        let mut filter = Filter::default();
        assert_eq!(filter.parse_parameter("recipient", "bob"), Some(Ok(())));
        let to = |who| record(1, Kind::Message, ["t", "s", who, ""]);
        assert!(filter.matches(&to("bob")) && !filter.matches(&to("")));
        assert_eq!(filter.parse_parameter("broadcast", "true"), Some(Ok(())));
        assert!(
            filter.matches(&to("bob")) && filter.matches(&to("")) && !filter.matches(&to("al"))
        );
        assert!(filter.parse_parameter("colour", "red").is_none());
        assert!(matches!(filter.parse_parameter("in_reply_to", "x"), Some(Err(_))));
    }
}
