//! Further attempts: what was set aside, as it becomes due.
//!
//! Invariant: a message is leased only when there is a place for it, and its
//! lease counts as the attempt.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;

use super::hand::Origin;
use super::line::{Given, Line};
use crate::limits::{FAULT_PAUSE, RETRY_POLL};
use crate::message::{Subject, decode_body};
use crate::store::StoreError;
use crate::store::work::Leased;

/// Runs what is due until the line stops.
pub(super) async fn run(line: &Arc<Line>) {
    let mut paused = line.paused.subscribe();
    loop {
        let wait = async {
            // The sender outlives the line: no error ends this.
            let _ = paused.wait_for(|paused| !paused).await;
            let pause = match lease(line).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::debug!(%error, consumer = line.name(), "retries wait for the store");
                    RETRY_POLL
                }
            };
            tokio::select! {
                () = line.due.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        };
        if line.stop.run_until_cancelled(wait).await.is_none() {
            return;
        }
    }
}

/// Leases what there is room for, and says when to look again.
async fn lease(line: &Arc<Line>) -> Result<Duration, StoreError> {
    let store = &line.store;
    match store.next_due(line.name()).await? {
        Some(due) if due.is_zero() => {}
        due => return Ok(due.map_or(RETRY_POLL, |due| due.min(RETRY_POLL))),
    }
    let Ok(mut room) = Arc::clone(&line.retry_room).acquire_owned().await else {
        return Ok(RETRY_POLL);
    };
    let more = line.retry_room.available_permits();
    if let Ok(more) =
        Arc::clone(&line.retry_room).try_acquire_many_owned(u32::try_from(more).unwrap_or(0))
    {
        room.merge(more);
    }
    let policy = &line.spec.policy;
    let leased = store
        .lease_due(line.name(), room.num_permits(), policy.max_deliver, policy.ack_wait)
        .await?;
    if leased.is_empty() {
        // Somebody else was faster, or it was its last attempt that ran out.
        return Ok(FAULT_PAUSE);
    }
    for leased in leased {
        if let Some(place) = room.split(1) {
            line.take(given(leased), place);
        }
    }
    Ok(Duration::ZERO)
}

fn given(leased: Leased) -> Given {
    let Leased { seq, subject, body, attempt, attempts, lease } = leased;
    Given {
        // When the log took it is of no account any more: the body has its own time.
        message: decode_body(seq, Subject::from_log(subject), body, Utc::now()),
        attempt,
        attempts,
        doubtful: false,
        origin: Origin::Lease(lease),
    }
}
