//! Binds the fold of a write: what it changes in agents, tasks and inboxes.

use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use crate::store::fold::{AgentFold, Fold, StatusFold, TaskFold};

/// Binds the placeholders `$39` to `$57` of the write.
pub(super) fn bind_fold<'q>(
    statement: Query<'q, Postgres, PgArguments>,
    fold: &Fold<'_>,
) -> Query<'q, Postgres, PgArguments> {
    fn agents<T>(fold: &Fold<'_>, of: impl Fn(&AgentFold<'_>) -> T) -> Vec<T> {
        fold.agents.values().map(of).collect()
    }
    fn statuses<T>(fold: &Fold<'_>, of: impl Fn(&StatusFold<'_>) -> T) -> Vec<Option<T>> {
        agents(fold, |agent| agent.status.as_ref().map(&of))
    }
    fn tasks<T>(fold: &Fold<'_>, of: impl Fn(&TaskFold<'_>) -> T) -> Vec<T> {
        fold.tasks.values().map(of).collect()
    }
    let names = |names: &mut dyn Iterator<Item = &&str>| -> Vec<String> {
        names.map(|name| (*name).to_owned()).collect()
    };
    let text = |text: Option<&str>| text.map(str::to_owned);
    statement
        .bind(names(&mut fold.agents.keys()))
        .bind(agents(fold, |agent| text(agent.role)))
        .bind(statuses(fold, |status| status.type_.to_owned()))
        .bind(statuses(fold, |status| status.seq))
        .bind(statuses(fold, |status| status.since))
        .bind(statuses(fold, |status| status.unbroken))
        .bind(agents(fold, |agent| agent.last_seen))
        .bind(agents(fold, |agent| agent.status.as_ref().and_then(|status| status.expires_at)))
        .bind(names(&mut fold.tasks.keys()))
        .bind(tasks(fold, |task| text(task.outcome)))
        .bind(tasks(fold, |task| text(task.last_event)))
        .bind(tasks(fold, |task| task.messages))
        .bind(tasks(fold, |task| task.events))
        .bind(tasks(fold, |task| task.late_events))
        .bind(tasks(fold, |task| task.first_seq))
        .bind(tasks(fold, |task| task.last_seq))
        .bind(names(&mut fold.inboxes.keys()))
        .bind(fold.inboxes.values().map(|inbox| inbox.received).collect::<Vec<_>>())
        .bind(fold.inboxes.values().map(|inbox| inbox.last_expiring).collect::<Vec<_>>())
}
