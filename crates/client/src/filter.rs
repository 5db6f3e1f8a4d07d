//! Filters of streams and history.

use crate::new_message::Kind;

/// Query parameters: those of a [`Filter`], or others that a route accepts.
pub type Query = Vec<(&'static str, String)>;

/// Selects messages (contract, section 5). Several values of one name are alternatives; different names must all hold.
/// Without any, it selects every message.
///
/// ```
/// use agentbus_client::{Filter, Query};
///
/// let ended = Filter::new().task("parser-7").type_("completed").type_("failed");
/// let query = Query::from(ended);
/// assert_eq!(query[0], ("task", "parser-7".to_owned()));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Filter(Query);

impl Filter {
    /// Every message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Messages on this subject; `*` is one token, `>` at the end is one or more.
    pub fn subject(self, pattern: &str) -> Self {
        self.and("subject", pattern)
    }

    /// Messages of this kind.
    pub fn kind(self, kind: Kind) -> Self {
        self.and("kind", kind.as_str())
    }

    /// Messages of this type.
    pub fn type_(self, type_: &str) -> Self {
        self.and("type", type_)
    }

    /// Messages from this sender.
    pub fn sender(self, sender: &str) -> Self {
        self.and("sender", sender)
    }

    /// Messages for this recipient.
    pub fn recipient(self, recipient: &str) -> Self {
        self.and("recipient", recipient)
    }

    /// With [`Filter::recipient`]: messages without a recipient too.
    pub fn broadcast(self) -> Self {
        self.and("broadcast", "true")
    }

    /// Messages of this task.
    pub fn task(self, task: &str) -> Self {
        self.and("task", task)
    }

    /// Messages of this conversation.
    pub fn conversation(self, conversation: &str) -> Self {
        self.and("conversation", conversation)
    }

    /// Replies to the message with this id.
    pub fn in_reply_to(self, id: &str) -> Self {
        self.and("in_reply_to", id)
    }

    /// Only for history: messages made at this time or later (RFC 3339).
    pub fn since(self, time: &str) -> Self {
        self.and("since", time)
    }

    /// Only for history: messages made at this time or earlier (RFC 3339).
    pub fn until(self, time: &str) -> Self {
        self.and("until", time)
    }

    /// Only for history: messages that these two agents sent to each other.
    pub fn between(self, one: &str, other: &str) -> Self {
        self.and("between", &format!("{one},{other}"))
    }

    /// Only for history: messages whose content contains this text, in the same case. 1 to 1,024 characters.
    pub fn contains(self, text: &str) -> Self {
        self.and("contains", text)
    }

    fn and(mut self, name: &'static str, value: &str) -> Self {
        self.0.push((name, value.to_owned()));
        self
    }
}

impl From<Filter> for Query {
    fn from(filter: Filter) -> Self {
        filter.0
    }
}
