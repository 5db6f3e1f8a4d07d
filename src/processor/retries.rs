//! Further attempts: leases messages that were set aside, when they are due.
//!
//! Invariant: a message is leased only if there is a permit for it. The lease itself counts as an attempt.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::in_flight::{Incoming, Origin};
use super::runtime::ConsumerRuntime;
use crate::limits::{FAULT_PAUSE, RETRY_POLL, RETRY_TRACE_WAIT};
use crate::message::{Record, Subject, TraceContext, decode_body};
use crate::store::StoreError;
use crate::store::work::LeasedMessage;

/// Runs the attempts that are due, until the consumer drains.
pub(super) async fn run(runtime: &Arc<ConsumerRuntime>) {
    let mut paused = runtime.paused.subscribe();
    loop {
        let wait = async {
            // Cannot fail: the sender lives as long as the runtime.
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
        if runtime.lifecycle.draining().run_until_cancelled(wait).await.is_none() {
            return;
        }
    }
}

/// Leases as many messages as there are permits. Returns how long to pause before the next call.
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
        // Another process leased them first, or what was due was the end of a last attempt's lease.
        return Ok(FAULT_PAUSE);
    }
    // A message that history does not have, or not in time, is processed without its trace: its lease runs already.
    let seqs: Vec<u64> = leased.iter().map(|leased| leased.seq).collect();
    let traces = tokio::time::timeout(RETRY_TRACE_WAIT, store.traces(&seqs)).await;
    let mut traces = traces.ok().and_then(Result::ok).unwrap_or_default();
    for leased in leased {
        if let Some(permit) = permits.split(1) {
            let trace = traces.remove(&leased.seq);
            runtime.dispatch(incoming(leased, trace, runtime.clock.now()), permit);
        }
    }
    Ok(Duration::ZERO)
}

fn incoming(
    leased: LeasedMessage,
    trace: Option<Arc<TraceContext>>,
    now: DateTime<Utc>,
) -> Incoming {
    let LeasedMessage { seq, subject, body, attempt, attempts, lease } = leased;
    Incoming {
        // The time of the log entry does not matter here: the body has its own.
        record: Record { trace, ..decode_body(seq, Subject::from_log(subject), body, now) },
        attempt,
        attempts,
        is_doubtful: false,
        origin: Origin::Lease(lease),
    }
}
