//! DurableConfig pull consumers of the stream.
//!
//! Invariant: deliveries and answers go over a connection of their own, which an
//! entry that async-nats cannot read may break without harm to publishing or
//! live streams. A message is answered explicitly, by a plain publish; an answer
//! that gets lost means another delivery.

mod api;
mod deliveries;
mod session;

use std::sync::Arc;

use async_nats::{Client, HeaderMap, Subject};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::{OnceCell, watch};

use super::api::ack_body;
use super::config::NatsConfig;
use super::connect::Connection;
use super::read_connection::ReadConnection;
use super::requester::Requester;
use super::send_queue::{OutboundMessage, SendQueue};
use crate::bus::BusError;
use crate::bus::durable::{
    AckHandle, AckKind, Acker, Deliveries, DurableConfig, DurableConsumers, DurableState,
};
use crate::limits::NATS_STOP_FLUSH;
use deliveries::NatsDeliveries;

/// Purpose of the connection, as logs and the server's monitoring show it.
const PURPOSE: &str = "process";

/// What all durable consumers of one bus share.
pub(super) struct NatsConsumers {
    requester: Arc<Requester>,
    config: NatsConfig,
    /// Opened by the first who takes messages.
    link: OnceCell<ReadConnection>,
    answering: Arc<NatsAcker>,
}

impl NatsConsumers {
    pub(super) fn new(requester: Arc<Requester>, config: NatsConfig) -> Self {
        let answering = Arc::default();
        Self { requester, config, link: OnceCell::new(), answering }
    }

    fn stream(&self) -> &str {
        &self.config.stream_name
    }

    async fn link(&self) -> Result<&ReadConnection, BusError> {
        self.link.get_or_try_init(|| ReadConnection::open(&self.config, PURPOSE)).await
    }
}

#[async_trait]
impl DurableConsumers for Arc<NatsConsumers> {
    async fn state(&self, name: &str) -> Result<Option<DurableState>, BusError> {
        let info = self.requester.consumer_info(self.stream(), name).await?;
        Ok(info.map(|info| info.state()))
    }

    async fn create(&self, durable: &DurableConfig) -> Result<(), BusError> {
        Ok(self.requester.create_durable(self.stream(), durable).await?)
    }

    async fn delete(&self, name: &str) -> Result<(), BusError> {
        Ok(self.requester.delete_consumer(self.stream(), name).await?)
    }

    async fn deliveries(&self, name: &str) -> Result<Box<dyn Deliveries>, BusError> {
        Ok(Box::new(NatsDeliveries::new(Arc::clone(self), name)))
    }

    fn acker(&self) -> Arc<dyn Acker> {
        Arc::clone(&self.answering) as Arc<dyn Acker>
    }
}

/// Acker over the connection that deliveries came by last: any may.
#[derive(Default)]
struct NatsAcker(watch::Sender<Option<Arc<Way>>>);

/// The way that answers take.
struct Way {
    connection: Connection,
    outbox: SendQueue,
}

impl NatsAcker {
    /// From now on over this connection, whose outbox stays where it is the same: what waits there is sent.
    fn go_by(&self, connection: &Connection) {
        self.0.send_if_modified(|way| {
            if way.as_ref().is_some_and(|way| way.connection.is_same(connection)) {
                return false;
            }
            let outbox = SendQueue::start(connection.client.clone(), |_| {});
            *way = Some(Arc::new(Way { connection: connection.clone(), outbox }));
            true
        });
    }

    fn way(&self) -> Option<Arc<Way>> {
        self.0.borrow().clone()
    }
}

impl Way {
    async fn send(&self, subject: Subject, payload: Bytes) {
        let message = OutboundMessage { subject, reply: None, headers: HeaderMap::new(), payload };
        self.outbox.put(message).await;
    }

    fn client(&self) -> &Client {
        &self.connection.client
    }
}

#[async_trait]
impl Acker for NatsAcker {
    async fn ack(&self, ack_handle: &AckHandle, kind: AckKind) {
        let body = ack_body(kind);
        if let Some(way) = self.way() {
            // A client that has ended answers nothing more: the message comes again.
            way.send(ack_handle.0.as_str().into(), body).await;
        }
    }

    /// By an own message, which comes back behind the answers: a process that ends
    /// with something unread resets its connection, and takes along what is on the way.
    async fn flush(&self) {
        let Some(way) = self.way() else { return };
        let there_and_back = async {
            let inbox = way.client().new_inbox();
            let mut back = way.client().subscribe(inbox.clone()).await.ok()?;
            way.send(inbox.into(), Bytes::new()).await;
            back.next().await
        };
        let _ = tokio::time::timeout(NATS_STOP_FLUSH, there_and_back).await;
    }
}
