//! Publishing on a condition: only if nothing unknown stands on certain subjects.
//!
//! Invariant: the stream itself decides, in the moment it stores, by the sequence
//! of the last entry on those subjects (`Nats-Expected-Last-Subject-Sequence`, and
//! since NATS 2.11 a pattern for it). Nothing is repeated here: whoever asks asks
//! again, with what is known then.

use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use tokio::time::Instant;

use super::error::{JsError, WRONG_LAST_SEQUENCE};
use super::publish::{Failure, Publishable, Publisher};
use super::requester::Requester;
use crate::bus::{Ack, Precondition, PublishError};
use crate::limits::{NATS_ACK_TIMEOUT, NATS_EXPECTATIONS};
use crate::message::Outgoing;

/// Names the subjects that the expected sequence is of.
const EXPECTED_SUBJECTS: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

impl Publisher {
    /// Publishes unless something unknown stands there: then `None`.
    pub(super) async fn publish_if(
        &self,
        requester: &Requester,
        message: &Outgoing,
        condition: &Precondition,
    ) -> Result<Option<Ack>, PublishError> {
        if !requester.connection.client.is_server_compatible(2, 11, 0) {
            let text = "a server before NATS 2.11 does not publish on a condition";
            return Err(PublishError::NotSent(text.to_owned()));
        }
        let mut expected = condition.newest;
        for _ in 0..NATS_EXPECTATIONS {
            let failure = match self.expecting(requester, message, condition, expected).await {
                Ok(ack) => return Ok(Some(ack)),
                Err(failure) => failure,
            };
            match failure.refusal.as_ref().and_then(last_on_subjects) {
                None => return Err(failure.error),
                Some(last) if last > condition.known_through => return Ok(None),
                // The stream's limits have dropped what we know, or others use the subjects.
                Some(last) => expected = last,
            }
            if expected == 0 {
                self.check_known(requester, condition).await?;
            }
        }
        let text = "what stands on the subjects changes all the time";
        Err(PublishError::NotSent(text.to_owned()))
    }

    /// That the stream holds nothing there says something only while everything
    /// that it has dropped is known.
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
        let text = "the stream has dropped what is not known yet";
        Err(PublishError::NotSent(text.to_owned()))
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
        let deadline = Instant::now() + NATS_ACK_TIMEOUT;
        self.send_alone(requester, message.subject.as_str(), headers, &message.body, deadline).await
    }
}

/// The sequence that the stream told instead of the expected one.
fn last_on_subjects(refusal: &JsError) -> Option<u64> {
    let told = refusal.description.rsplit_once(": ").map(|(_, seq)| seq);
    told.filter(|_| refusal.err_code == WRONG_LAST_SEQUENCE)?.parse().ok()
}
