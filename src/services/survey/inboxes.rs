//! Finds the inboxes in which the most messages wait, and how long the oldest of each has waited.
//!
//! Invariant: a round reads one page of agents, or for the last page also the first message of each named inbox. Names
//! that never sent a message are not in the directory of agents, so their inboxes are not counted.

use chrono::{DateTime, Utc};

use super::sweep::{OTHER, Row, Sweep};
use super::tables::{self, inbox_sweep};
use crate::limits::{INBOX_SKIP_MESSAGES, SURVEY_PAGE};
use crate::message::{Filter, Query, Token};
use crate::store::state::Agent;
use crate::store::{Store, StoreError};

/// The sweep through all inboxes.
pub(super) struct InboxSweep(Sweep<2>);

impl Default for InboxSweep {
    fn default() -> Self {
        Self(inbox_sweep())
    }
}

impl InboxSweep {
    /// Reads one page. Returns the rows once all inboxes were read.
    pub async fn read_on(
        &mut self,
        store: &dyn Store,
        now: DateTime<Utc>,
    ) -> Result<Option<tables::Inboxes>, StoreError> {
        let after = self.0.after.as_deref().and_then(|name| name.parse::<Token>().ok());
        let page = store.agents(after.as_ref(), SURVEY_PAGE, now).await?.value;
        let row =
            |agent: Agent| Row { name: agent.agent_id, values: [agent.inbox.waiting as f64, 0.0] };
        let Some(mut rows) = self.0.add(page.items.into_iter().map(row).collect(), !page.more)
        else {
            return Ok(None);
        };
        for row in rows.iter_mut().filter(|row| row.name != OTHER) {
            row.values[1] = age(store, &row.name, now).await?;
        }
        Ok(Some(rows))
    }
}

/// How many seconds ago the log stored the first message that waits in an inbox; 0 if there is none, or none among its
/// first [`INBOX_SKIP_MESSAGES`] that has not expired.
async fn age(store: &dyn Store, name: &str, now: DateTime<Utc>) -> Result<f64, StoreError> {
    let Ok(agent) = name.parse::<Token>() else { return Ok(0.0) };
    let after = store.consumed_through(&agent).await?;
    let filter = Filter { recipients: vec![agent], ..Filter::default() };
    let query = Query { after: Some(after), ..Query::new(filter, INBOX_SKIP_MESSAGES, u64::MAX) };
    let Some(first) = store.inbox_front(&query, now).await?.first else { return Ok(0.0) };
    let found = store.originals(first, 1).await?;
    let age = found.first().map(|row| now - row.logged_at);
    Ok(age.and_then(|age| age.to_std().ok()).unwrap_or_default().as_secs_f64())
}
