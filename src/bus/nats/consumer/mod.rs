//! Durable pull consumers of the stream.
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
use serde_json::json;
use tokio::sync::{OnceCell, watch};

use super::api::nanos;
use super::config::NatsConfig;
use super::connect::Connection;
use super::outbox::{Outbound, Outbox};
use super::reader::ReadLink;
use super::requester::Requester;
use crate::bus::BusError;
use crate::bus::durable::{Answer, Answers, Deliveries, Durable, DurableState, Durables, Receipt};
use crate::limits::{NATS_NAK_DELAY, NATS_STOP_FLUSH};
use deliveries::Puller;

/// Purpose of the connection, as logs and the server's monitoring show it.
const PURPOSE: &str = "process";

/// What all durable consumers of one bus share.
pub(super) struct Consumers {
    requester: Arc<Requester>,
    config: NatsConfig,
    /// Opened by the first who takes messages.
    link: OnceCell<ReadLink>,
    answering: Arc<Answering>,
}

impl Consumers {
    pub(super) fn new(requester: Arc<Requester>, config: NatsConfig) -> Self {
        let answering = Arc::default();
        Self { requester, config, link: OnceCell::new(), answering }
    }

    fn stream(&self) -> &str {
        &self.config.stream_name
    }

    async fn link(&self) -> Result<&ReadLink, BusError> {
        self.link.get_or_try_init(|| ReadLink::open(&self.config, PURPOSE)).await
    }
}

#[async_trait]
impl Durables for Arc<Consumers> {
    async fn state(&self, name: &str) -> Result<Option<DurableState>, BusError> {
        let info = self.requester.consumer_info(self.stream(), name).await?;
        Ok(info.map(|info| info.state()))
    }

    async fn create(&self, durable: &Durable) -> Result<(), BusError> {
        Ok(self.requester.create_durable(self.stream(), durable).await?)
    }

    async fn delete(&self, name: &str) -> Result<(), BusError> {
        Ok(self.requester.delete_consumer(self.stream(), name).await?)
    }

    async fn deliveries(&self, name: &str) -> Result<Box<dyn Deliveries>, BusError> {
        Ok(Box::new(Puller::new(Arc::clone(self), name)))
    }

    fn answers(&self) -> Arc<dyn Answers> {
        Arc::clone(&self.answering) as Arc<dyn Answers>
    }
}

/// Answers over the connection that deliveries came by last: any may.
#[derive(Default)]
struct Answering(watch::Sender<Option<Arc<Way>>>);

/// The way that answers take.
struct Way {
    connection: Connection,
    outbox: Outbox,
}

impl Answering {
    /// From now on over this connection, whose outbox stays where it is the same: what waits there is sent.
    fn go_by(&self, connection: &Connection) {
        self.0.send_if_modified(|way| {
            if way.as_ref().is_some_and(|way| way.connection.is_same(connection)) {
                return false;
            }
            let outbox = Outbox::start(connection.client.clone(), |_| {});
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
        let message = Outbound { subject, reply: None, headers: HeaderMap::new(), payload };
        self.outbox.put(message).await;
    }

    fn client(&self) -> &Client {
        &self.connection.client
    }
}

#[async_trait]
impl Answers for Answering {
    async fn answer(&self, receipt: &Receipt, answer: Answer) {
        let body = match answer {
            Answer::Ack => Bytes::from_static(b"+ACK"),
            Answer::Progress => Bytes::from_static(b"+WPI"),
            // At once it would go to a pull of the very process that gives it back.
            Answer::GiveBack => {
                let delay = nanos(NATS_NAK_DELAY);
                Bytes::from(format!("-NAK {}", json!({ "delay": delay })))
            }
        };
        if let Some(way) = self.way() {
            // A client that has ended answers nothing more: the message comes again.
            way.send(receipt.0.as_str().into(), body).await;
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
