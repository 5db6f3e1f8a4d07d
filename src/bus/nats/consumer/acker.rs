//! Acknowledgements of deliveries.

use std::sync::Arc;

use async_nats::{HeaderMap, Subject};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::watch;

use crate::bus::durable::{AckHandle, AckKind, Acker};
use crate::bus::nats::api::ack_body;
use crate::bus::nats::connect::Connection;
use crate::bus::nats::send_queue::SendQueue;
use crate::limits::NATS_STOP_FLUSH;

/// Sends acknowledgements over the connection of the latest deliveries. The server accepts them from any
/// connection.
pub(super) struct NatsAcker {
    /// A request that the user is permitted to send.
    request: String,
    current: watch::Sender<Option<Arc<AckConnection>>>,
}

struct AckConnection {
    connection: Connection,
    queue: SendQueue,
}

impl NatsAcker {
    /// For the consumers of a stream.
    pub(super) fn new(stream: &str) -> Self {
        Self { request: format!("$JS.API.STREAM.INFO.{stream}"), current: watch::Sender::default() }
    }

    /// Makes this the connection for acknowledgements. If it is already in use, its queue stays, so what
    /// waits there is still sent.
    pub(super) fn use_connection(&self, connection: &Connection) {
        self.current.send_if_modified(|current| {
            if current.as_ref().is_some_and(|current| current.connection.is_same(connection)) {
                return false;
            }
            let queue = SendQueue::start(connection.client.clone(), |_| {});
            *current = Some(Arc::new(AckConnection { connection: connection.clone(), queue }));
            true
        });
    }

    fn current(&self) -> Option<Arc<AckConnection>> {
        self.current.borrow().clone()
    }
}

impl AckConnection {
    async fn send(&self, subject: &str, reply: Option<Subject>, payload: Bytes) {
        let reply = reply.map(|inbox| (inbox, 0));
        self.queue.send(subject.into(), reply, HeaderMap::new(), payload).await;
    }
}

#[async_trait]
impl Acker for NatsAcker {
    async fn ack(&self, handle: &AckHandle, kind: AckKind) {
        if let Some(current) = self.current() {
            current.send(&handle.0, None, ack_body(kind)).await;
        }
    }

    /// Sends a request, whose reply shows that the server has read the acknowledgements. Without it, acknowledgements may
    /// be lost: a process that ends with unread input resets its connection.
    async fn flush(&self) {
        let Some(current) = self.current() else { return };
        let there_and_back = async {
            let client = &current.connection.client;
            let inbox = client.new_inbox();
            let mut back = client.subscribe(inbox.clone()).await.ok()?;
            current.send(&self.request, Some(inbox.into()), Bytes::new()).await;
            back.next().await
        };
        let _ = tokio::time::timeout(NATS_STOP_FLUSH, there_and_back).await;
    }
}
