//! Live subscriptions: replay, then follow (contract, section 4).

use std::sync::Arc;

use super::calls::Call;
use super::{Code, Drain, Error};
use crate::access::{Meter, Principal};
use crate::broadcast::Broadcaster;
pub use crate::broadcast::{Item, Start, Subscription};
use crate::message::Filter;

/// Opens streams.
pub struct Streams {
    pub(super) broadcaster: Arc<Broadcaster>,
    pub(super) drain: Drain,
}

impl Streams {
    /// Opens a stream of the messages that pass the filter and that the caller may read.
    ///
    /// # Errors
    /// The caller may read nothing, or has as many streams as its key may have; the server drains.
    pub fn open(
        &self,
        principal: &Principal,
        filter: Filter,
        start: Start,
    ) -> Result<Subscription, Error> {
        Call::OpenStream.check(principal)?;
        if self.drain.begun.is_cancelled() {
            let text = "the server is stopping; connect to another one";
            return Err(Error::new(Code::Draining, text));
        }
        let permit = principal.meter().map(Meter::stream).transpose()?.flatten();
        let broadcaster = Arc::clone(&self.broadcaster);
        Ok(Subscription::new(broadcaster, principal, filter, start).with_permit(permit))
    }

    /// The drain, which ends streams.
    #[must_use]
    pub fn drain(&self) -> Drain {
        self.drain.clone()
    }
}

#[cfg(test)]
pub(crate) use crate::broadcast::testing;
