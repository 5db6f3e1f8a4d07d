//! One call's messages in the queue of the writer.

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::bus::{Ack, Precondition, PublishError};
use crate::message::Outgoing;

/// Messages that wait for the writer.
pub(super) struct Call {
    pub messages: Vec<Outgoing>,
    pub condition: Option<Precondition>,
    pub reply: oneshot::Sender<Vec<Outcome>>,
    /// Released once the outcomes are reported.
    pub _bytes: OwnedSemaphorePermit,
}

impl Call {
    /// Whether its publisher no longer waits.
    pub(super) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}

/// The bytes of memory that messages hold.
pub(super) fn bytes_of(messages: &[Outgoing]) -> usize {
    let each = |m: &Outgoing| size_of::<Outgoing>() + m.subject.as_str().len() + m.body.len();
    messages.iter().map(each).sum()
}

/// `Ok(None)`: the condition did not hold.
pub(super) type Outcome = Result<Option<Ack>, PublishError>;
