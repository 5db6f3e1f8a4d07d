//! Live subscriptions: replay, then follow (contract, section 4).

use std::sync::Arc;

use super::{Drain, Error};
use crate::access::Principal;
use crate::broadcast::Broadcaster;
pub use crate::broadcast::{Item, Start, Subscription};
use crate::message::Filter;

/// Opens streams.
pub struct Streams {
    pub(super) broadcaster: Arc<Broadcaster>,
    pub(super) drain: Drain,
}

impl Streams {
    /// Opens a stream of the messages that pass the filter.
    ///
    /// # Errors
    /// The server drains.
    pub fn open(
        &self,
        principal: &Principal,
        filter: Filter,
        start: Start,
    ) -> Result<Subscription, Error> {
        if self.drain.begun.is_cancelled() {
            let text = "the server is stopping; connect to another one";
            return Err(Error::unavailable("draining", text));
        }
        Ok(Subscription::new(Arc::clone(&self.broadcaster), principal, filter, start))
    }

    /// The drain, which ends streams.
    #[must_use]
    pub fn drain(&self) -> Drain {
        self.drain.clone()
    }
}
