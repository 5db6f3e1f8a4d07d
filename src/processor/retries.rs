//! Further attempts: what was set aside, as it becomes due.
//!
//! Invariant: a message is leased only when there is a place for it, and its
//! lease counts as the attempt.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;

use super::in_flight::Origin;
use super::runtime::{ConsumerRuntime, Incoming};
use crate::limits::{FAULT_PAUSE, RETRY_POLL};
use crate::message::{Subject, decode_body};
use crate::store::StoreError;
use crate::store::work::LeasedMessage;

/// Runs what is due until the runtime stops.
pub(super) async fn run(runtime: &Arc<ConsumerRuntime>) {
    let mut paused = runtime.paused.subscribe();
    loop {
        let wait = async {
            // The sender outlives the runtime: no error ends this.
            let _ = paused.wait_for(|paused| !paused).await;
            let pause = match lease(runtime).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::debug!(%error, consumer = runtime.name(), "retries wait for the store");
                    RETRY_POLL
                }
            };
            tokio::select! {
                () = runtime.due.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        };
        if runtime.stop.run_until_cancelled(wait).await.is_none() {
            return;
        }
    }
}

/// Leases what there is permits for, and says when to look again.
async fn lease(runtime: &Arc<ConsumerRuntime>) -> Result<Duration, StoreError> {
    let store = &runtime.store;
    match store.next_due(runtime.name()).await? {
        Some(due) if due.is_zero() => {}
        due => return Ok(due.map_or(RETRY_POLL, |due| due.min(RETRY_POLL))),
    }
    let Ok(mut permits) = Arc::clone(&runtime.retry_permits).acquire_owned().await else {
        return Ok(RETRY_POLL);
    };
    let more = runtime.retry_permits.available_permits();
    if let Ok(more) =
        Arc::clone(&runtime.retry_permits).try_acquire_many_owned(u32::try_from(more).unwrap_or(0))
    {
        permits.merge(more);
    }
    let policy = &runtime.spec.policy;
    let leased = store
        .lease_due(runtime.name(), permits.num_permits(), policy.max_deliver, policy.ack_wait)
        .await?;
    if leased.is_empty() {
        // Somebody else was faster, or it was its last attempt that ran out.
        return Ok(FAULT_PAUSE);
    }
    for leased in leased {
        if let Some(place) = permits.split(1) {
            runtime.take(given(leased), place);
        }
    }
    Ok(Duration::ZERO)
}

fn given(leased: LeasedMessage) -> Incoming {
    let LeasedMessage { seq, subject, body, attempt, attempts, lease } = leased;
    Incoming {
        // When the log took it is of no account any more: the body has its own time.
        message: decode_body(seq, Subject::from_log(subject), body, Utc::now()),
        attempt,
        attempts,
        doubtful: false,
        origin: Origin::Lease(lease),
    }
}
