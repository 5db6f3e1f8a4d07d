//! A member of a filter group.
//!
//! A member has no task, and costs nothing while no event of its group arrives.

use std::sync::Arc;

use super::hub::{Group, Hub, Step};
use super::wake::Waiter;
use crate::message::Filter;

/// Waits for events of one filter group. When dropped, leaves the group.
pub(super) struct Member {
    hub: Arc<Hub>,
    group: Arc<Group>,
    waiter: Waiter,
}

impl Member {
    /// Joins the group of a normalised filter.
    pub(super) fn join(hub: &Arc<Hub>, filter: &Filter) -> Self {
        let group = hub.join(filter);
        let waiter = group.wakes.register();
        Self { hub: Arc::clone(hub), group, waiter }
    }

    pub(super) fn head(&self) -> u64 {
        self.hub.head()
    }

    /// The group's filter, shared with its other members.
    pub(super) fn filter(&self) -> &Arc<Filter> {
        &self.group.filter
    }

    pub(super) fn step(&self, position: u64) -> Step {
        self.hub.step(&self.group, position)
    }

    /// Returns once the log has moved beyond `position` and the group was woken. Cancel safe.
    pub(super) async fn beyond(&self, position: u64) {
        self.waiter.until(|| self.hub.head() > position).await;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.group.wakes.unregister(&self.waiter);
        self.hub.leave(&self.group);
    }
}
