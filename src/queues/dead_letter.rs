//! Dead letters of jobs.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::job::{Job, Priority};
pub(super) use crate::store::jobs::LEASE_RAN_OUT as RAN_OUT;
use crate::store::work::{Attempt, DeadLetter, DeadLetterKind};
use crate::store::{Store, StoreError};

/// Builds the dead letter of a job.
pub(super) fn job_dead_letter(
    queue: &str,
    seq: u64,
    body: Bytes,
    attempts: Vec<Attempt>,
    reason: String,
    died_at: DateTime<Utc>,
) -> DeadLetter {
    let priority = Job::decode(&body).map_or(Priority::Normal, |job| job.priority);
    DeadLetter {
        id: Uuid::now_v7(),
        kind: DeadLetterKind::Job,
        source: queue.to_owned(),
        seq,
        subject: format!("{queue}.{priority}"),
        body,
        attempts,
        reason,
        died_at,
    }
}

/// The reason for giving up a job that its worker failed with `fail`, with the worker's own reason if it gave
/// one.
pub(super) fn fail_reason(reason: Option<&str>) -> String {
    reason.filter(|text| !text.is_empty()).unwrap_or("the worker failed it").to_owned()
}

/// The reason for giving up a job after its last attempt.
pub(super) fn exhausted_reason(attempts: u32) -> String {
    match attempts {
        1 => "its only attempt did not succeed".to_owned(),
        many => format!("none of {many} attempts succeeded"),
    }
}

/// The error of an attempt that its worker nacked, with the worker's own reason if it gave one.
pub(super) fn nack_reason(reason: Option<&str>) -> String {
    reason.filter(|text| !text.is_empty()).unwrap_or("the worker nacked it").to_owned()
}

/// How many dead letters each queue has.
pub(super) struct DeadLetterCounts(HashMap<String, u64>);

impl DeadLetterCounts {
    pub(super) async fn load(store: &Arc<dyn Store>) -> Result<Self, StoreError> {
        let counts = store.dead_letter_counts().await?.into_iter();
        let jobs = counts.filter(|(kind, _, _)| *kind == DeadLetterKind::Job);
        Ok(Self(jobs.map(|(_, source, count)| (source, count)).collect()))
    }

    pub(super) fn of(&self, queue: &str) -> u64 {
        self.0.get(queue).copied().unwrap_or(0)
    }
}
