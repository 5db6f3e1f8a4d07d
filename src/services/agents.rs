//! Agents: the senders of messages and statuses (contract, section 6).

use std::sync::Arc;

use super::Error;
use super::calls::Call;
use crate::access::Principal;
use crate::clock::Clock;
use crate::committed::Committed;
use crate::message::Token;
use crate::store::Store;
use crate::store::state::Listing;
pub use crate::store::state::{Agent, AsOf};

/// A page of a list in order of names.
#[derive(Clone, Debug)]
pub struct NamedPage<T> {
    /// The items of the page, ordered by name.
    pub items: Vec<T>,
    /// The `after` of the next page; `None` on the last one.
    pub next: Option<String>,
}

impl<T> NamedPage<T> {
    /// Makes a page of a listing from the store; `name` returns the name of an item.
    pub(super) fn new(listing: Listing<T>, name: impl Fn(&T) -> &String) -> Self {
        let last = listing.items.last().filter(|_| listing.more);
        Self { next: last.map(|item| name(item).clone()), items: listing.items }
    }
}

/// Reads the directory of agents.
pub struct Agents {
    pub(super) store: Arc<dyn Store>,
    pub(super) committed: Arc<Committed>,
    pub(super) clock: Clock,
}

impl Agents {
    /// A page of agents, ordered by name.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn page(
        &self,
        principal: &Principal,
        after: Option<&Token>,
        limit: usize,
    ) -> Result<AsOf<NamedPage<Agent>>, Error> {
        Call::ListAgents.check(principal)?;
        let found = self.store.agents(after, limit, self.clock.now()).await?;
        self.committed.raise(found.as_of);
        Ok(found.map(|page| NamedPage::new(page, |agent| &agent.agent_id)))
    }

    /// One agent by its name.
    ///
    /// # Errors
    /// The agent does not exist; the store is unavailable.
    pub async fn one(&self, principal: &Principal, name: &Token) -> Result<AsOf<Agent>, Error> {
        Call::ReadAgent.check(principal)?;
        let found = self.store.agent(name, self.clock.now()).await?;
        self.committed.raise(found.as_of);
        let agent = found.value.ok_or_else(Self::missing)?;
        Ok(AsOf { as_of: found.as_of, value: agent })
    }

    /// The error for an agent that does not exist.
    #[must_use]
    pub fn missing() -> Error {
        Error::not_found("no agent of this name has sent a message or a status")
    }
}
