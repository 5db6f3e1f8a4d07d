//! Publishes a message only if the stream has no message on certain subjects that the publisher does not
//! know.
//!
//! Invariant: the stream itself checks the condition when it stores the message, by the sequence of the last
//! message on those subjects (`Nats-Expected-Last-Subject-Sequence`, which takes a pattern since NATS 2.11).
//! Nothing is retried here: the caller tries again with what it knows by then.

use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;

use super::error::{JsError, WRONG_LAST_SEQUENCE};
use super::publish::{Failure, Publishable, Publisher};
use super::requester::Requester;
use crate::bus::{Ack, Precondition, PublishError};
use crate::limits::NATS_EXPECTATIONS;
use crate::message::Outgoing;

/// The header with the subjects to which the expected sequence applies.
const EXPECTED_SUBJECTS: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

impl Publisher {
    /// Publishes if the condition holds; returns `None` if it does not.
    pub(super) async fn publish_if(
        &self,
        requester: &Requester,
        message: &Outgoing,
        condition: &Precondition,
    ) -> Result<Option<Ack>, PublishError> {
        let not_sent = |text: &str| Err(PublishError::NotSent(text.to_owned()));
        if !requester.connection.client.is_server_compatible(2, 11, 0) {
            return not_sent("publishing on a condition needs NATS 2.11");
        }
        let mut expected = condition.newest;
        for _ in 0..NATS_EXPECTATIONS {
            let failure = match self.expecting(requester, message, condition, expected).await {
                Ok(ack) => return Ok(Some(ack)),
                Err(failure) => failure,
            };
            match failure.js_error.as_ref().and_then(last_on_subjects) {
                None => return Err(failure.error),
                Some(last) if last > condition.known_through => return Ok(None),
                // The publisher knows this message too: the stream's limits have dropped a newer one, or
                // other clients use the subjects.
                Some(last) => expected = last,
            }
            if expected == 0 {
                self.check_known(requester, condition).await?;
            }
        }
        not_sent("the last message on the subjects changes all the time")
    }

    /// The stream holds nothing on the subjects. Checks that the publisher knows everything that the stream
    /// has dropped; otherwise a dropped message could break the condition.
    async fn check_known(
        &self,
        requester: &Requester,
        condition: &Precondition,
    ) -> Result<(), PublishError> {
        let info = requester.stream_info(self.stream()).await;
        let bounds = info.map_err(|error| PublishError::NotSent(error.to_string()))?.state.bounds();
        if bounds.first <= condition.known_through.saturating_add(1) {
            return Ok(());
        }
        Err(PublishError::NotSent("the stream has dropped messages that are not known".to_owned()))
    }

    async fn expecting(
        &self,
        requester: &Requester,
        message: &Outgoing,
        condition: &Precondition,
        last: u64,
    ) -> Result<Ack, Failure> {
        let mut headers = message.headers();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, last.to_string());
        headers.insert(EXPECTED_SUBJECTS, condition.subjects.as_str());
        self.send_one(requester, message.subject.as_str(), headers, &message.body).await
    }
}

/// The stream's real last sequence on the subjects, from the error about a wrong one.
fn last_on_subjects(error: &JsError) -> Option<u64> {
    let last = error.description.rsplit_once(": ").map(|(_, seq)| seq);
    last.filter(|_| error.err_code == WRONG_LAST_SEQUENCE)?.parse().ok()
}
