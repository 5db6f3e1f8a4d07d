//! The `SELECT` of one branch: the condition that its index answers, then tests for everything else.

use super::branch::{Branch, Name};
use super::subject::Subjects;
use super::writer::{Writer, kinds_condition};
use crate::message::{Filter, Query};
use crate::store::sql::Dialect;

/// The conditions of a query, one for each name, to test on the rows that an index finds.
pub(super) struct Tests {
    named: Vec<(Name, String)>,
    times: String,
}

impl Tests {
    /// Nothing to test.
    pub(super) fn none() -> Self {
        Self { named: Vec::new(), times: String::new() }
    }

    /// Has only tests of names that some branch must test. A prepared statement is found by its text, and a
    /// value that is bound but not in the SQL would make two statements with the same text and different
    /// numbers of values.
    pub(super) fn of(
        filter: &Filter,
        query: &Query,
        subjects: &Subjects<'_>,
        branches: &[Branch],
        w: &mut Writer<'_>,
    ) -> Self {
        let mut named = Vec::new();
        let mut add = |name, condition: &dyn Fn(&mut Writer<'_>) -> Option<String>| {
            if branches.iter().any(|branch| !branch.answers.contains(name)) {
                named.extend(condition(w).map(|c| (name, format!("(({c}) IS TRUE)"))));
            }
        };
        add(Name::InReplyTo, &|w| w.one_of_ids("in_reply_to", &filter.in_reply_to));
        add(Name::Conversation, &|w| w.one_of("conversation_id", &filter.conversations));
        add(Name::Task, &|w| w.one_of("task_id", &filter.tasks));
        add(Name::Recipient, &|w| {
            w.one_of("recipient_id", &filter.recipients)
                .map(|c| if filter.broadcast { format!("{c} OR recipient_id IS NULL") } else { c })
        });
        add(Name::Sender, &|w| w.one_of("sender_id", &filter.senders));
        add(Name::Type, &|w| w.one_of("type", &filter.types));
        add(Name::Kind, &|_| (!filter.kinds.is_empty()).then(|| kinds_condition(&filter.kinds)));
        add(Name::Between, &|w| {
            let (a, b) = query.between.as_ref()?;
            let (a, b) = (w.text(a.as_str()), w.text(b.as_str()));
            Some(format!(
                "(sender_id = {a} AND recipient_id = {b}) OR (sender_id = {b} AND recipient_id = {a})"
            ))
        });
        add(Name::Subject, &|w| subjects.condition(w));
        let mut times = String::new();
        for (operator, time) in [(">=", query.since), ("<=", query.until)] {
            if let Some(time) = time {
                let bound = w.bind(time);
                times.push_str(&format!(" AND created_at {operator} {bound}"));
            }
        }
        Self { named, times }
    }
}

impl Writer<'_> {
    /// The rows of a branch.
    pub(super) fn walk(&self, branch: &Branch, tests: &Tests) -> String {
        let mut sql = format!("SELECT {} FROM {}", self.columns, self.table);
        match (self.dialect, branch.index) {
            (Dialect::Sqlite, Some(index)) => sql.push_str(&format!(" INDEXED BY {index}")),
            (Dialect::Sqlite, None) => sql.push_str(" NOT INDEXED"),
            (Dialect::Postgres, _) => {}
        }
        sql.push_str(" WHERE seq > $1 AND seq < $2");
        for condition in &branch.conditions {
            sql.push_str(" AND ");
            sql.push_str(condition);
        }
        for (name, test) in &tests.named {
            if !branch.answers.contains(*name) {
                sql.push_str(" AND ");
                sql.push_str(test);
            }
        }
        sql.push_str(&tests.times);
        sql
    }

    /// The first rows of a branch, in order.
    pub(super) fn select(&self, branch: &Branch, tests: &Tests) -> String {
        let order = match branch.index {
            Some(_) => self.index_order(),
            None => self.key_order(),
        };
        format!("{} ORDER BY {order} LIMIT $3", self.walk(branch, tests))
    }
}
