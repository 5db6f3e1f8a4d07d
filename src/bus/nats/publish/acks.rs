//! Waits for the acks of what was sent, until they can no longer come.

use std::pin::Pin;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use tokio::time::Instant;

use super::outcome::Failure;
use crate::bus::nats::connect::State;
use crate::bus::nats::requester::{PendingReply, Requester};
use crate::limits::NATS_RECONNECT_GRACE;

/// A name that no stream can have: a message with this expected stream is never stored.
const NO_STREAM: &str = ".";

/// Waits for a reply until `end`, whose failure is kept in `ended`; from then on takes only a reply that is here.
pub(super) async fn receive(
    reply: &mut PendingReply,
    end: Pin<&mut impl Future<Output = Failure>>,
    ended: &mut Option<Failure>,
) -> Result<Message, Failure> {
    let failure = match ended {
        Some(failure) => failure,
        None => tokio::select! {
            biased;
            message = reply.recv() => return message.ok_or_else(Failure::connection_lost),
            failure = end => ended.insert(failure),
        },
    };
    reply.try_recv().ok_or_else(|| failure.clone())
}

/// Ends when no more acks are waited for. Returns the outcome of every message without an ack.
pub(super) async fn end_of_wait(
    requester: &Requester,
    connects: u64,
    ordered: Option<&str>,
    deadline: Instant,
) -> Failure {
    let lost = reconnected(requester, connects, ordered);
    tokio::time::timeout_at(deadline, lost).await.unwrap_or_else(|_| Failure::ack_timeout())
}

/// Ends when the connection was lost and is up again. `ordered` is a subject of several messages that must keep their
/// order: those that the client had queued go out at the reconnect, so one may be stored while an earlier one was lost,
/// which must then not be retried. Their acks are therefore waited for first.
async fn reconnected(requester: &Requester, connects: u64, ordered: Option<&str>) -> Failure {
    let mut status = requester.connection.status.clone();
    let back = status.wait_for(|now| now.connects > connects || now.state == State::Closed);
    let is_back = back.await.is_ok_and(|now| now.state != State::Closed);
    let Some(subject) = ordered.filter(|_| is_back) else { return Failure::connection_lost() };
    let changed = status.wait_for(|now| now.connects > connects + 1 || now.state != State::Up);
    let queue_is_sent = async {
        flush_queue(requester, subject).await;
        // Where servers must agree, acks come later than this reply.
        tokio::time::sleep(NATS_RECONNECT_GRACE).await;
    };
    tokio::select! {
        biased;
        _ = changed => Failure::connection_lost_repeatedly(),
        () = queue_is_sent => Failure::connection_lost(),
    }
}

/// Returns when the server has taken everything queued before: it replies in order, to this with an error.
async fn flush_queue(requester: &Requester, subject: &str) {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_EXPECTED_STREAM, NO_STREAM);
    match requester.send_request(subject, headers, Bytes::new()).await {
        Ok(mut reply) => drop(reply.recv().await),
        // The client has ended, which its status shows as well.
        Err(_) => std::future::pending().await,
    }
}
