//! Waits for the acks of messages that were sent, until no more can come.

use std::pin::Pin;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use tokio::time::Instant;

use super::outcome::Failure;
use crate::bus::nats::connect::State;
use crate::bus::nats::requester::{PendingReply, Requester};
use crate::limits::NATS_RECONNECT_GRACE;

/// A name that no stream can have. The stream refuses every message with this expected stream.
const NO_STREAM: &str = ".";

/// Waits for a reply until `end` completes, and then keeps its failure in `ended`. After that, accepts only a
/// reply that has already arrived.
pub(super) async fn receive(
    reply: &mut PendingReply,
    end: Pin<&mut impl Future<Output = Failure>>,
    ended: &mut Option<Failure>,
) -> Result<Message, Failure> {
    let failure = match ended {
        Some(failure) => failure,
        None => tokio::select! {
            biased;
            reply = reply.recv() => {
                return reply.ok_or_else(Failure::connection_lost)?.map_err(Failure::denied);
            }
            failure = end => ended.insert(failure),
        },
    };
    reply.try_recv().ok_or_else(|| failure.clone())?.map_err(Failure::denied)
}

/// Completes when no more acks can come, or at the deadline. Returns the failure for every message without an
/// ack.
pub(super) async fn end_of_wait(
    requester: &Requester,
    connects: u64,
    ordered: Option<&str>,
    deadline: Instant,
) -> Failure {
    let lost = reconnected(requester, connects, ordered);
    tokio::time::timeout_at(deadline, lost).await.unwrap_or_else(|_| Failure::ack_timeout())
}

/// Returns once a lost connection is up again. `ordered` is the subject if several messages must keep their
/// order. async-nats sends what it had buffered at the reconnect, so a later message may be stored although
/// an earlier one was lost, and the earlier one must not be retried then. So this also gives their acks time
/// to arrive.
async fn reconnected(requester: &Requester, connects: u64, ordered: Option<&str>) -> Failure {
    let mut status = requester.connection.status.clone();
    let back = status.wait_for(|now| now.connects > connects || now.state == State::Closed);
    let is_back = back.await.is_ok_and(|now| now.state != State::Closed);
    let Some(subject) = ordered.filter(|_| is_back) else { return Failure::connection_lost() };
    let changed = status.wait_for(|now| now.connects > connects + 1 || now.state != State::Up);
    let queue_is_sent = async {
        flush_queue(requester, subject).await;
        // If the message must be replicated, its ack comes later than this reply.
        tokio::time::sleep(NATS_RECONNECT_GRACE).await;
    };
    tokio::select! {
        biased;
        _ = changed => Failure::connection_lost_repeatedly(),
        () = queue_is_sent => Failure::connection_lost(),
    }
}

/// Returns when the server has taken everything queued before. It replies in order, so the reply to this
/// request, which names a stream that does not match and is refused, comes last.
async fn flush_queue(requester: &Requester, subject: &str) {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_EXPECTED_STREAM, NO_STREAM);
    match requester.send_request(subject, headers, Bytes::new()).await {
        Ok(mut reply) => drop(reply.recv().await),
        // The client has ended. The connection's status shows that too.
        Err(_) => std::future::pending().await,
    }
}
