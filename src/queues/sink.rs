//! Dead letters of jobs, given back to their queues.

use std::sync::Arc;

use async_trait::async_trait;

use super::{QueueError, Queues};
use crate::dead_letters::{JobSink, LetterError, Redrive};
use crate::store::work::DeadLetter;

/// Gives letters back to the queues that they came from.
pub struct QueueSink(pub Arc<dyn Queues>);

#[async_trait]
impl JobSink for QueueSink {
    async fn put_back(&self, letter: &DeadLetter) -> Result<Redrive, LetterError> {
        match self.0.redrive(letter).await {
            Ok(true) => Ok(Redrive::Done),
            Ok(false) => Ok(Redrive::Missing),
            // No queue takes what is no job: it stays a dead letter.
            Err(QueueError::Undecodable) => Ok(Redrive::SourceGone),
            Err(QueueError::Conflict { .. }) => Ok(Redrive::Taken),
            Err(QueueError::Store(error)) => Err(LetterError::Store(error)),
            Err(error) => Err(LetterError::Queue(error)),
        }
    }
}
