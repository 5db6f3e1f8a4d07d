//! Dead letters of jobs, given back to their queues.

use std::sync::Arc;

use async_trait::async_trait;

use super::{QueueError, Queues};
use crate::dead_letters::{JobSink, LetterError};
use crate::store::work::DeadLetter;

/// Gives letters back to the queues that they came from.
pub struct QueueSink(pub Arc<dyn Queues>);

#[async_trait]
impl JobSink for QueueSink {
    async fn put_back(&self, letter: &DeadLetter) -> Result<bool, LetterError> {
        match self.0.put_back(letter).await {
            Ok(()) => Ok(true),
            // No queue takes what is no job: it stays a dead letter.
            Err(QueueError::Undecodable) => Ok(false),
            Err(QueueError::Store(error)) => Err(LetterError::Store(error)),
            Err(error) => Err(LetterError::Queue(error.to_string())),
        }
    }
}
