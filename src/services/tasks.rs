//! Tasks, whose state is computed from their messages (contract, section 6).

use std::sync::Arc;

use super::Error;
use super::agents::{AsOf, NamedPage};
use super::calls::Call;
use crate::access::Principal;
use crate::committed::Committed;
use crate::message::Token;
use crate::store::Store;
pub use crate::store::state::{Task, TaskState};

/// Reads the tasks of a deployment.
pub struct Tasks {
    pub(super) store: Arc<dyn Store>,
    pub(super) committed: Arc<Committed>,
}

impl Tasks {
    /// A page of the tasks that the caller may see, ordered by name.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn page(
        &self,
        principal: &Principal,
        state: Option<TaskState>,
        after: Option<&Token>,
        limit: usize,
    ) -> Result<AsOf<NamedPage<Task>>, Error> {
        Call::ListTasks.check(principal)?;
        let found = self.store.tasks(state, after, limit, principal.scope().as_deref()).await?;
        self.committed.raise(found.as_of);
        Ok(found.map(|page| NamedPage::new(page, |task| &task.task_id)))
    }

    /// One task by its name.
    ///
    /// # Errors
    /// The task does not exist, or the caller may not see it; the store is unavailable.
    pub async fn one(&self, principal: &Principal, name: &Token) -> Result<AsOf<Task>, Error> {
        Call::ReadTask.check(principal)?;
        let found = self.store.task(name, principal.scope().as_deref()).await?;
        self.committed.raise(found.as_of);
        let task = found.value.ok_or_else(Self::missing)?;
        Ok(AsOf { as_of: found.as_of, value: task })
    }

    /// The error for a task that does not exist.
    #[must_use]
    pub fn missing() -> Error {
        Error::not_found("no message belongs to a task of this name")
    }
}
