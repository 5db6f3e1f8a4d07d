//! Which tasks a reader may see: those whose events its scope covers, and those in which it has a part, because one of
//! its names sent or received a message of the task (contract, section 11).
//!
//! Invariant: a statement reads a bounded number of messages. The list finds the parts among the latest messages of
//! each name. For one task the senders are counted already, and its first messages are read for their recipients.

use crate::limits::TASK_PART_ROWS;
use crate::message::{Kind, Scope, Token};
use crate::store::sql::{Dialect, Value, limit_to_db};

/// The tasks that a scope shows.
pub(super) enum Visible<'a> {
    /// Every task.
    All,
    /// Some tasks.
    Some {
        /// The tasks whose events the scope covers.
        tasks: Vec<&'a str>,
        /// The names of the reader.
        names: &'a [Token],
    },
}

/// A condition on `task_id`, and the `WITH` of its statement. It adds its values to those of the statement.
pub(super) struct Condition {
    pub with: String,
    pub test: String,
}

/// The test that no task passes.
const NEVER: &str = "1 = 0";

impl<'a> Visible<'a> {
    pub(super) fn of(scope: Option<&'a Scope>) -> Self {
        let Some(scope) = scope else { return Self::All };
        let mut tasks = Vec::new();
        for pattern in &scope.subjects {
            let tokens: Vec<&str> = pattern.tokens().collect();
            match tokens[..] {
                [">"]
                | ["agent" | "*", ">"]
                | ["agent" | "*", "task" | "*", ">"]
                | ["agent" | "*", "task" | "*", "*", ">"] => return Self::All,
                ["agent" | "*", "task" | "*", task, ">"] => tasks.push(task),
                _ => {}
            }
        }
        Self::Some { tasks, names: &scope.names }
    }

    /// The condition for a list of tasks; `None` if all are visible.
    pub(super) fn of_list(&self, dialect: Dialect, values: &mut Vec<Value>) -> Option<Condition> {
        let Self::Some { tasks, names } = self else { return None };
        let tasks = bind(tasks.iter().copied(), values);
        let names = bind(names.iter().map(Token::as_str), values);
        let listed = tasks.iter().map(|task| format!("SELECT CAST({task} AS text) AS task_id"));
        let parts: Vec<String> = parts(&names, dialect).into_iter().chain(listed).collect();
        if parts.is_empty() {
            return Some(Condition { with: String::new(), test: NEVER.to_owned() });
        }
        // In this form an index finds each of the tasks. With `IN`, PostgreSQL would test all tasks in their order.
        let test = match dialect {
            Dialect::Postgres => "task_id = ANY(ARRAY(SELECT task_id FROM own))",
            Dialect::Sqlite => "task_id IN (SELECT task_id FROM own)",
        };
        Some(Condition { with: with_own(&parts), test: test.to_owned() })
    }

    /// The condition for the task `$1`; `None` if all are visible.
    pub(super) fn of_one(&self, dialect: Dialect, values: &mut Vec<Value>) -> Option<Condition> {
        let Self::Some { tasks, names } = self else { return None };
        let tasks = bind(tasks.iter().copied(), values);
        let names = bind(names.iter().map(Token::as_str), values);
        let sent = in_list("sender_id", &names).map(|test| {
            format!("EXISTS (SELECT 1 FROM task_counts WHERE task_id = $1 AND {test})")
        });
        let received = in_list("recipient_id", &names).map(|test| {
            let index = indexed_by("messages_task", dialect);
            format!(
                "EXISTS (SELECT 1 FROM (SELECT recipient_id FROM messages{index} \
                 WHERE task_id = $1 ORDER BY seq NULLS FIRST LIMIT {TASK_PART_ROWS}) r WHERE {test})"
            )
        });
        let parts = parts(&names, dialect);
        let own = (!parts.is_empty()).then(|| "task_id IN (SELECT task_id FROM own)".to_owned());
        let ways = [in_list("task_id", &tasks), sent, received, own];
        let ways: Vec<String> = ways.into_iter().flatten().collect();
        if ways.is_empty() {
            return Some(Condition { with: String::new(), test: NEVER.to_owned() });
        }
        let with = if parts.is_empty() { String::new() } else { with_own(&parts) };
        Some(Condition { with, test: format!("({})", ways.join(" OR ")) })
    }
}

/// Binds texts; returns their placeholders.
fn bind<'t>(texts: impl Iterator<Item = &'t str>, values: &mut Vec<Value>) -> Vec<String> {
    texts
        .map(|text| {
            values.push(text.into());
            format!("${}", values.len())
        })
        .collect()
}

fn in_list(column: &str, placeholders: &[String]) -> Option<String> {
    (!placeholders.is_empty()).then(|| format!("{column} IN ({})", placeholders.join(", ")))
}

fn indexed_by(index: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::Postgres => String::new(),
        Dialect::Sqlite => format!(" INDEXED BY {index}"),
    }
}

fn with_own(parts: &[String]) -> String {
    let parts = parts.join(" UNION ALL ");
    format!("WITH own AS MATERIALIZED (SELECT DISTINCT task_id FROM ({parts}) p) ")
}

/// Selects the tasks of the latest messages that the names sent or received. All names together read as many messages
/// as one name alone.
fn parts(names: &[String], dialect: Dialect) -> Vec<String> {
    if names.is_empty() {
        return Vec::new();
    }
    let rows = limit_to_db(TASK_PART_ROWS / names.len());
    let latest = |index: &str, test: String| {
        let order = match dialect {
            Dialect::Postgres => "seq DESC NULLS LAST",
            Dialect::Sqlite => "seq DESC",
        };
        let index = indexed_by(index, dialect);
        format!(
            "SELECT task_id FROM (SELECT task_id FROM messages{index} \
             WHERE {test} ORDER BY {order} LIMIT {rows}) m"
        )
    };
    let received = |name: &str| latest("messages_recipient", format!("recipient_id = {name}"));
    match dialect {
        Dialect::Sqlite => {
            let sent = |name: &str| latest("messages_sender", format!("sender_id = {name}"));
            names.iter().flat_map(|name| [sent(name), received(name)]).collect()
        }
        Dialect::Postgres => {
            let name = "names.name";
            let mut parts = vec![received(name)];
            parts.extend(Kind::ALL.iter().map(|kind| {
                let test = format!("sender_id = {name} AND kind = '{}'", kind.as_str());
                latest("messages_sender_kind", test)
            }));
            let names: Vec<String> = names.iter().map(|name| format!("({name}::text)")).collect();
            vec![format!(
                "SELECT task_id FROM (VALUES {}) AS names(name) CROSS JOIN LATERAL ({}) parts",
                names.join(", "),
                parts.join(" UNION ALL ")
            )]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::SubjectPattern;

    #[test]
    fn the_scope_shows_the_tasks_whose_events_it_covers() {
        for text in [
            ">",
            "agent.>",
            "*.>",
            "agent.task.>",
            "agent.*.>",
            "*.task.*.>",
            "agent.task.*.>",
            "agent.*.*.>",
            "agent.task.t1.>",
            "agent.*.t1.>",
            "*.*.t1.>",
            "agent.task.t2.>",
            "agent.task.t1.*",
            "agent.task.*.done",
            "agent.task.t1",
            "agent.*.*.*",
            "agent.message.>",
            "agent.task.t1.x.>",
            "*",
            "agent.*",
        ] {
            let pattern: SubjectPattern = text.parse().expect("valid");
            let whole: SubjectPattern = "agent.task.t1.>".parse().expect("valid");
            let covers = pattern.covers(&whole);
            let scope = Scope { subjects: vec![pattern], names: Vec::new() };
            let shown = match Visible::of(Some(&scope)) {
                Visible::All => true,
                Visible::Some { tasks, .. } => tasks.contains(&"t1"),
            };
            assert_eq!(shown, covers, "{text}");
        }
    }
}
