//! Questions and publishes with an answer, over one inbox of our own.
//!
//! async-nats keeps an entry for the client's life for every request that gets
//! no answer (nats.rs #1617), so its requests and JetStream publishes leak
//! as long as a server is frozen. Invariant: here, an entry lives no longer than
//! the [`PendingReply`] that waits for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{HeaderMap, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::connect::{Connection, State};
use super::error::ApiError;
use super::send_queue::{OutboundMessage, SendQueue};
use crate::bus::BusError;

/// Sends with a reply subject of its own and hands each answer to who waits for it.
pub(super) struct Requester {
    pub connection: Connection,
    inbox: Arc<str>,
    waiting: Arc<Waiting>,
    outbox: SendQueue,
    /// Ends with the requester.
    _dispatcher: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Waiting {
    next_token: AtomicU64,
    entries: Mutex<HashMap<u64, oneshot::Sender<Message>>>,
}

impl Waiting {
    fn entries(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Message>>> {
        self.entries.lock()
    }
}

/// An answer to come. Dropped, it is not waited for any more.
pub(super) struct PendingReply {
    token: u64,
    waiting: Arc<Waiting>,
    receiver: oneshot::Receiver<Message>,
}

impl PendingReply {
    /// Waits for it; `None` when the dispatcher is gone. Cancel safe.
    pub(super) async fn recv(&mut self) -> Option<Message> {
        (&mut self.receiver).await.ok()
    }

    /// The answer if it is here.
    pub(super) fn try_recv(&mut self) -> Option<Message> {
        self.receiver.try_recv().ok()
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        if !self.receiver.is_terminated() {
            self.waiting.entries().remove(&self.token);
        }
    }
}

impl Requester {
    /// Subscribes to the inbox.
    pub(super) async fn start(connection: Connection) -> Result<Self, BusError> {
        let inbox: Arc<str> = connection.client.new_inbox().into();
        let subscriber = connection
            .client
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(|error| BusError(format!("inbox: {error}")))?;
        let waiting = Arc::new(Waiting::default());
        let dispatcher = tokio::spawn(dispatch(subscriber, inbox.len() + 1, waiting.clone()));
        let answers = waiting.clone();
        let unsent = move |token| drop(answers.entries().remove(&token));
        let outbox = SendQueue::start(connection.client.clone(), unsent);
        let _dispatcher = AbortOnDropHandle::new(dispatcher);
        Ok(Self { connection, inbox, waiting, outbox, _dispatcher })
    }

    /// How many answers are waited for.
    #[cfg(test)]
    pub(super) fn awaited(&self) -> usize {
        self.waiting.entries().len()
    }

    /// Sends, once there is room in the queues before the client. `Err`: surely not sent.
    pub(super) async fn send_request(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<PendingReply, String> {
        self.check_size(&headers, &payload)?;
        let token = self.waiting.next_token.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.waiting.entries().insert(token, sender);
        let reply = PendingReply { token, waiting: self.waiting.clone(), receiver };
        let inbox = format!("{}.{token}", self.inbox).into();
        let (subject, to) = (subject.to_owned().into(), Some((inbox, token)));
        self.outbox.put(OutboundMessage { subject, reply: to, headers, payload }).await;
        Ok(reply)
    }

    /// Sends what is not answered, once there is room. `Err`: surely not sent.
    pub(super) async fn publish(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<(), String> {
        self.check_size(&headers, &payload)?;
        let subject = subject.to_owned().into();
        self.outbox.put(OutboundMessage { subject, reply: None, headers, payload }).await;
        Ok(())
    }

    /// The client would refuse it when its sender is told nothing any more.
    fn check_size(&self, headers: &HeaderMap, payload: &Bytes) -> Result<(), String> {
        let longest = self.connection.client.max_payload();
        if wire_length(headers) + payload.len() > longest {
            return Err(format!("longer than the server takes ({longest} bytes)"));
        }
        Ok(())
    }

    /// Sends a question and waits for the answer.
    pub(super) async fn request(
        &self,
        subject: &str,
        payload: Bytes,
        patience: Duration,
    ) -> Result<Message, ApiError> {
        // What is queued now would go out after a reconnect, when nobody waits for it.
        if self.connection.status().state != State::Up {
            return Err(ApiError::Unavailable("not connected to NATS".to_owned()));
        }
        let answer = async {
            let mut reply = self
                .send_request(subject, HeaderMap::new(), payload)
                .await
                .map_err(ApiError::Unavailable)?;
            let gone = || ApiError::Unavailable("the NATS client has ended".to_owned());
            reply.recv().await.ok_or_else(gone)
        };
        let message = tokio::time::timeout(patience, answer).await.map_err(|_| {
            ApiError::Unavailable(format!(
                "no answer from JetStream within {patience:?} ({subject})"
            ))
        })??;
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(ApiError::Unavailable(format!("JetStream is not there ({subject})")));
        }
        Ok(message)
    }
}

/// Bytes of headers as they are sent (ADR-4); no byte without any.
fn wire_length(headers: &HeaderMap) -> usize {
    if headers.is_empty() {
        return 0;
    }
    let line = |name: &str, value: &str| name.len() + ": ".len() + value.len() + "\r\n".len();
    let lines = headers.iter().flat_map(|(name, values)| {
        values.iter().map(move |value| line(name.as_ref(), value.as_str()))
    });
    "NATS/1.0\r\n".len() + lines.sum::<usize>() + "\r\n".len()
}

/// Hands answers on until the client has ended; then who waits learns that nothing comes.
async fn dispatch(mut subscriber: Subscriber, prefix: usize, waiting: Arc<Waiting>) {
    while let Some(message) = subscriber.next().await {
        let token = message.subject.get(prefix..).and_then(|text| text.parse::<u64>().ok());
        let sender = token.and_then(|token| waiting.entries().remove(&token));
        if let Some(sender) = sender {
            // Not waited for any more: nothing to do.
            let _ = sender.send(message);
        }
    }
    waiting.entries().clear();
}
