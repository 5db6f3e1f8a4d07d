//! The choice of the driver: the name of a filter that an index answers.
//!
//! Invariant: the branches together find every row that the filter accepts. The choice depends on how rare
//! the values of a name typically are, never on statistics, so that a query has the same plan on every store
//! and at every size.

use super::branch::{Branch, Name, Rarity, kinds, of_type};
use super::scope::Reading;
use super::subject::Subjects;
use super::writer::Writer;
use crate::limits::MAX_PLAN_BRANCHES;
use crate::message::{Filter, Kind, Token};
use crate::store::sql::Dialect;

/// The branches for a filter, by the name in it whose values are typically the rarest.
pub(super) fn branches(
    filter: &Filter,
    between: Option<&(Token, Token)>,
    subjects: &Subjects<'_>,
    scope: Option<&Reading<'_>>,
    w: &mut Writer<'_>,
) -> Vec<Branch> {
    if !filter.in_reply_to.is_empty() {
        return replies(filter, w);
    }
    if !filter.conversations.is_empty() {
        return each(
            &filter.conversations,
            "messages_conversation",
            "conversation_id",
            Name::Conversation,
            w,
        );
    }
    if !filter.tasks.is_empty() {
        return each(&filter.tasks, "messages_task", "task_id", Name::Task, w);
    }
    if let Some((a, b)) = between {
        return both_ways(a, b, w);
    }
    match (filter.recipients.is_empty(), filter.senders.is_empty()) {
        (false, false) if filter.recipients.len() * filter.senders.len() <= MAX_PLAN_BRANCHES => {
            return pairs(filter, w);
        }
        (false, _) => return recipients(filter, w),
        (true, false) => return senders(filter, &filter.senders, Name::Sender, w),
        (true, true) => {}
    }
    if subjects.all_keyed() {
        return subjects.branches(w);
    }
    if let Some(branches) = scope.and_then(|scope| by_scope(scope, filter, subjects, w)) {
        return branches;
    }
    if filter.types.is_empty() && subjects.all_narrow() {
        return subjects.branches(w);
    }
    if !filter.types.is_empty() {
        return types(filter, w);
    }
    if !filter.kinds.is_empty() {
        return kinds(&filter.kinds);
    }
    if subjects.is_empty() { vec![Branch::everything()] } else { subjects.branches(w) }
}

/// The branches for the scope, if its rows are rarer than those of the rest of the filter, which has only types,
/// kinds and patterns without a key.
fn by_scope(
    scope: &Reading<'_>,
    filter: &Filter,
    subjects: &Subjects<'_>,
    w: &mut Writer<'_>,
) -> Option<Vec<Branch>> {
    let rest = match (filter.types.is_empty(), filter.kinds.is_empty()) {
        (false, _) => Rarity::Type,
        (true, _) if subjects.all_narrow() => subjects.rarity(),
        (true, false) => Rarity::Kind,
        (true, true) => Rarity::Any,
    };
    if scope.subjects.rarity() >= rest {
        return None;
    }
    let bound = w.values.len();
    let mut branches = senders(filter, scope.names, Name::Scope, w);
    branches.extend(each(scope.names, "messages_recipient", "recipient_id", Name::Scope, w));
    branches.extend(scope.subjects.branches(w));
    if !(1..=MAX_PLAN_BRANCHES).contains(&branches.len()) {
        w.values.truncate(bound);
        return None;
    }
    Some(branches)
}

/// The kinds of a filter, or all.
fn kinds_or_all(filter: &Filter) -> &[Kind] {
    if filter.kinds.is_empty() { &Kind::ALL } else { &filter.kinds }
}

fn replies(filter: &Filter, w: &mut Writer<'_>) -> Vec<Branch> {
    let branch = |id| {
        let value = w.bind(id);
        Branch::new("messages_reply", format!("in_reply_to = {value}"), &[Name::InReplyTo])
    };
    filter.in_reply_to.iter().copied().map(branch).collect()
}

fn each(
    values: &[Token],
    index: &'static str,
    column: &str,
    name: Name,
    w: &mut Writer<'_>,
) -> Vec<Branch> {
    let branch = |value: &Token| {
        let value = w.text(value.as_str());
        Branch::new(index, format!("{column} = {value}"), &[name])
    };
    values.iter().map(branch).collect()
}

/// The branch for one sender and one recipient. SQLite has no index of pairs: its index by recipient holds
/// the sender too.
fn pair(sender: &Token, recipient: &Token, answers: &[Name], w: &mut Writer<'_>) -> Branch {
    match w.dialect {
        Dialect::Postgres => {
            let names = w.text(&format!("{sender} {recipient}"));
            let condition =
                format!("sender_id || ' ' || recipient_id = {names} AND recipient_id IS NOT NULL");
            Branch::new("messages_pair", condition, answers)
        }
        Dialect::Sqlite => {
            let (sender, recipient) = (w.text(sender.as_str()), w.text(recipient.as_str()));
            Branch::new("messages_recipient", format!("recipient_id = {recipient}"), answers)
                .and(format!("((sender_id = {sender}) IS TRUE)"))
        }
    }
}

fn both_ways(a: &Token, b: &Token, w: &mut Writer<'_>) -> Vec<Branch> {
    let mut branches = vec![pair(a, b, &[Name::Between], w)];
    if a != b {
        branches.push(pair(b, a, &[Name::Between], w));
    }
    branches
}

fn pairs(filter: &Filter, w: &mut Writer<'_>) -> Vec<Branch> {
    let mut branches = Vec::new();
    for sender in &filter.senders {
        for recipient in &filter.recipients {
            branches.push(pair(sender, recipient, &[Name::Sender, Name::Recipient], w));
        }
    }
    if filter.broadcast {
        let to_all = |branch: Branch| Branch {
            answers: branch.answers.with(Name::Recipient),
            ..branch.and("((recipient_id IS NULL) IS TRUE)".to_owned())
        };
        let to_all_from = senders(filter, &filter.senders, Name::Sender, w);
        branches.extend(to_all_from.into_iter().map(to_all));
    }
    branches
}

fn recipients(filter: &Filter, w: &mut Writer<'_>) -> Vec<Branch> {
    let mut branches =
        each(&filter.recipients, "messages_recipient", "recipient_id", Name::Recipient, w);
    if filter.broadcast {
        let to_all = |kind: &Kind| {
            let condition = format!("kind = '{}' AND recipient_id IS NULL", kind.as_str());
            Branch::new("messages_broadcast", condition, &[Name::Recipient, Name::Kind])
        };
        branches.extend(kinds_or_all(filter).iter().map(to_all));
    }
    branches
}

/// The branches for these senders, which are the values of `name`.
fn senders(filter: &Filter, senders: &[Token], name: Name, w: &mut Writer<'_>) -> Vec<Branch> {
    if w.dialect == Dialect::Sqlite {
        return each(senders, "messages_sender", "sender_id", name, w);
    }
    let typed = senders.len() * filter.types.len();
    let by_type = (1..=MAX_PLAN_BRANCHES).contains(&typed);
    let mut branches = Vec::new();
    for sender in senders {
        if by_type {
            branches.extend(filter.types.iter().map(|type_| {
                let condition = of_sender(sender.as_str(), type_.as_str(), w);
                Branch::new("messages_sender_type", condition, &[name, Name::Type])
            }));
        } else {
            let sender = w.text(sender.as_str());
            branches.extend(kinds_or_all(filter).iter().map(|kind| {
                let condition = format!("sender_id = {sender} AND kind = '{}'", kind.as_str());
                Branch::new("messages_sender_kind", condition, &[name, Name::Kind])
            }));
        }
    }
    branches
}

/// The condition that PostgreSQL's index of senders and types answers.
fn of_sender(sender: &str, type_: &str, w: &mut Writer<'_>) -> String {
    let (sender, type_) = (w.text(sender), w.text(type_));
    format!("sender_id = {sender} AND type = {type_}")
}

fn types(filter: &Filter, w: &mut Writer<'_>) -> Vec<Branch> {
    let branches = filter.types.iter().flat_map(|type_| {
        let type_ = w.text(type_.as_str());
        of_type(&type_, kinds_or_all(filter), &[Name::Type, Name::Kind], w)
    });
    branches.collect()
}
