//! Questions and publishes with an answer, over one inbox of our own.
//!
//! async-nats keeps an entry for the client's life for every request that gets
//! no answer (nats.rs #1617), so its requests and JetStream publishes leak
//! as long as a server is frozen. Invariant: here, an entry lives no longer than
//! the [`Reply`] that waits for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, PublishErrorKind, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::connect::{Connection, State};
use super::error::ApiError;
use crate::bus::BusError;

/// Sends with a reply subject of its own and hands each answer to who waits for it.
pub(super) struct Requester {
    pub connection: Connection,
    inbox: Arc<str>,
    waiting: Arc<Waiting>,
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
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer to come. Dropped, it is not waited for any more.
pub(super) struct Reply {
    token: u64,
    waiting: Arc<Waiting>,
    receiver: oneshot::Receiver<Message>,
}

impl Reply {
    /// Waits for it; `None` when the dispatcher is gone. Cancel safe.
    pub(super) async fn arrives(&mut self) -> Option<Message> {
        (&mut self.receiver).await.ok()
    }

    /// The answer if it is here.
    pub(super) fn here(&mut self) -> Option<Message> {
        self.receiver.try_recv().ok()
    }
}

impl Drop for Reply {
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
        Ok(Self { connection, inbox, waiting, _dispatcher: AbortOnDropHandle::new(dispatcher) })
    }

    /// How many answers are waited for.
    #[cfg(test)]
    pub(super) fn awaited(&self) -> usize {
        self.waiting.entries().len()
    }

    /// Sends, once the client's queue has room. `Err`: surely not sent.
    pub(super) async fn send(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Reply, String> {
        let token = self.waiting.next_token.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.waiting.entries().insert(token, sender);
        let reply = Reply { token, waiting: self.waiting.clone(), receiver };
        let client: &Client = &self.connection.client;
        let inbox = format!("{}.{token}", self.inbox);
        client
            .publish_with_reply_and_headers(subject.to_owned(), inbox, headers, payload)
            .await
            .map_err(|error| self.why_not_sent(error.kind(), subject))?;
        Ok(reply)
    }

    /// Sends what is not answered, once the client's queue has room. `Err`: surely not sent.
    pub(super) async fn post(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<(), String> {
        let sent =
            self.connection.client.publish_with_headers(subject.to_owned(), headers, payload);
        sent.await.map_err(|error| self.why_not_sent(error.kind(), subject))
    }

    fn why_not_sent(&self, kind: PublishErrorKind, subject: &str) -> String {
        match kind {
            PublishErrorKind::MaxPayloadExceeded => {
                let longest = self.connection.client.max_payload();
                format!("longer than the server takes ({longest} bytes)")
            }
            PublishErrorKind::InvalidSubject => format!("no valid subject: {subject:?}"),
            PublishErrorKind::Send => "the NATS client has ended".to_owned(),
        }
    }

    /// Sends a question and waits for the answer.
    pub(super) async fn ask(
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
                .send(subject, HeaderMap::new(), payload)
                .await
                .map_err(ApiError::Unavailable)?;
            let gone = || ApiError::Unavailable("the NATS client has ended".to_owned());
            reply.arrives().await.ok_or_else(gone)
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
