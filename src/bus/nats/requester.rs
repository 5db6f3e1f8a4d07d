//! Requests, and publishes with an acknowledgement, over one inbox.
//!
//! async-nats keeps an entry for every request without a reply until the client ends (nats.rs #1617). So its
//! requests and JetStream publishes leak memory while a server is frozen. Invariant: here, an entry lives no
//! longer than the [`PendingReply`] that waits for it. What the server denies ends the wait at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{HeaderMap, Message, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::{broadcast, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::connect::{Connection, State};
use super::denial::{Action, Denial};
use super::error::ApiError;
use super::send_queue::SendQueue;
use crate::bus::BusError;

/// Sends requests, each with its own reply subject, and passes each reply to the task that waits for it.
pub(super) struct Requester {
    pub connection: Connection,
    inbox: Arc<str>,
    pending: Arc<Pending>,
    queue: SendQueue,
    /// The tasks that pass on replies, and what is denied. They end with the requester.
    _tasks: [AbortOnDropHandle<()>; 2],
}

/// A reply, or why none can come.
type Reply = Result<Message, Denial>;

/// The awaited replies, by token.
#[derive(Default)]
struct Pending {
    next_token: AtomicU64,
    entries: Mutex<HashMap<u64, (Subject, oneshot::Sender<Reply>)>>,
    /// The denial of the inbox, and on which of the connections: after a reconnect the user may have the permission.
    denied_inbox: Mutex<Option<(u64, Denial)>>,
}

/// A reply that is awaited until this is dropped.
pub(super) struct PendingReply {
    token: u64,
    pending: Arc<Pending>,
    receiver: oneshot::Receiver<Reply>,
}

impl PendingReply {
    /// Waits for the reply; `None` if it can no longer come. Cancel safe.
    pub(super) async fn recv(&mut self) -> Option<Reply> {
        (&mut self.receiver).await.ok()
    }

    /// The reply, if it has already arrived.
    pub(super) fn try_recv(&mut self) -> Option<Reply> {
        self.receiver.try_recv().ok()
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        if !self.receiver.is_terminated() {
            self.pending.entries.lock().remove(&self.token);
        }
    }
}

impl Requester {
    /// Subscribes to the inbox.
    pub(super) async fn start(connection: Connection) -> Result<Self, BusError> {
        let inbox: Arc<str> = connection.client.new_inbox().into();
        let denials = connection.denials();
        let subscriber = connection
            .client
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(|error| BusError(format!("inbox: {error}")))?;
        let pending = Arc::new(Pending::default());
        let dispatching = tokio::spawn(dispatch(subscriber, inbox.len() + 1, pending.clone()));
        let denying =
            tokio::spawn(deny(denials, connection.clone(), inbox.clone(), pending.clone()));
        let unsent = pending.clone();
        let on_unsent = move |token| drop(unsent.entries.lock().remove(&token));
        let queue = SendQueue::start(connection.client.clone(), on_unsent);
        let _tasks = [dispatching, denying].map(AbortOnDropHandle::new);
        Ok(Self { connection, inbox, pending, queue, _tasks })
    }

    /// How many replies are awaited.
    pub(super) fn awaited(&self) -> usize {
        self.pending.entries.lock().len()
    }

    /// Sends a request, once the send queue has capacity. `Err`: it was certainly not sent.
    pub(super) async fn send_request(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<PendingReply, String> {
        self.check_size(&headers, &payload)?;
        if let Some(denial) = self.denied_inbox() {
            return Err(denial.to_string());
        }
        let token = self.pending.next_token.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        let subject = Subject::from(subject);
        self.pending.entries.lock().insert(token, (subject.clone(), sender));
        let reply = PendingReply { token, pending: self.pending.clone(), receiver };
        let inbox = format!("{}.{token}", self.inbox).into();
        self.queue.send(subject, Some((inbox, token)), headers, payload).await;
        Ok(reply)
    }

    /// Sends a message without a reply, once the send queue has capacity. `Err`: it was certainly not sent.
    pub(super) async fn publish(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<(), String> {
        self.check_size(&headers, &payload)?;
        self.queue.send(subject.into(), None, headers, payload).await;
        Ok(())
    }

    /// Why no reply can come on this connection, if its user may not subscribe to the inbox.
    fn denied_inbox(&self) -> Option<Denial> {
        let connects = self.connection.status().connects;
        let denied = self.pending.denied_inbox.lock();
        denied.as_ref().filter(|(denied, _)| *denied == connects).map(|(_, denial)| denial.clone())
    }

    /// Refuses a message that is too large. The client checks that too, but only when it can no longer report
    /// it to the sender.
    fn check_size(&self, headers: &HeaderMap, payload: &Bytes) -> Result<(), String> {
        let longest = self.connection.client.max_payload();
        if wire_length(headers) + payload.len() > longest {
            return Err(format!("longer than the server takes ({longest} bytes)"));
        }
        Ok(())
    }

    /// Sends a request and waits for the reply.
    pub(super) async fn request(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Message, ApiError> {
        // The client would queue the request and send it after the reconnect, when nothing waits for its
        // reply any more.
        if self.connection.status().state != State::Up {
            return Err(ApiError::Unavailable("not connected to NATS".to_owned()));
        }
        if let Some(denial) = self.denied_inbox() {
            return Err(ApiError::Denied(denial));
        }
        let response = async {
            let sent = self.send_request(subject, headers, payload).await;
            let ended = || ApiError::Unavailable("the NATS client has ended".to_owned());
            sent.map_err(ApiError::Unavailable)?.recv().await.ok_or_else(ended)
        };
        let late = |_| {
            let text = format!("no answer from JetStream within {timeout:?} ({subject})");
            ApiError::Unavailable(text)
        };
        let reply = tokio::time::timeout(timeout, response).await.map_err(late)??;
        let message = reply.map_err(ApiError::Denied)?;
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(ApiError::Unavailable(format!("JetStream does not respond ({subject})")));
        }
        Ok(message)
    }
}

/// The length of headers in the protocol (ADR-4), in bytes; 0 without headers.
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

/// Passes replies on until the client has ended. Then the awaited replies can no longer come.
async fn dispatch(mut subscriber: Subscriber, prefix: usize, pending: Arc<Pending>) {
    while let Some(message) = subscriber.next().await {
        let token = message.subject.get(prefix..).and_then(|text| text.parse::<u64>().ok());
        let entry = token.and_then(|token| pending.entries.lock().remove(&token));
        if let Some((_, sender)) = entry {
            // The receiver may have been dropped meanwhile.
            let _ = sender.send(Ok(message));
        }
    }
    pending.entries.lock().clear();
}

/// Ends the waits for replies that cannot come, since the request or the inbox is denied.
async fn deny(
    mut denials: broadcast::Receiver<Denial>,
    connection: Connection,
    inbox: Arc<str>,
    pending: Arc<Pending>,
) {
    loop {
        let denial = match denials.recv().await {
            Ok(denial) => denial,
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let is_inbox = denial.action == Action::Subscribe
            && denial.subject.strip_suffix(".*") == Some(&*inbox);
        if is_inbox {
            *pending.denied_inbox.lock() = Some((connection.status().connects, denial.clone()));
        }
        let is_denied = |subject: &Subject| {
            is_inbox || (denial.action == Action::Publish && subject.as_str() == denial.subject)
        };
        let mut entries = pending.entries.lock();
        for (_, (_, sender)) in entries.extract_if(|_, (subject, _)| is_denied(subject)) {
            let _ = sender.send(Err(denial.clone()));
        }
    }
}
