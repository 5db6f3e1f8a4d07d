//! The durable consumers of the bus in JetStream.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::api;
use super::context::ConsumerContext;
use super::deliveries::NatsDeliveries;
use crate::bus::BusError;
use crate::bus::durable::{Acker, Deliveries, DurableConfig, DurableConsumers, DurableState};
use crate::bus::nats::config::NatsConfig;
use crate::bus::nats::requester::Requester;

/// The durable consumers of the stream.
pub struct NatsConsumers(Arc<ConsumerContext>);

impl NatsConsumers {
    pub fn new(requester: Arc<Requester>, config: NatsConfig) -> Self {
        Self(Arc::new(ConsumerContext::new(requester, config)))
    }
}

#[async_trait]
impl DurableConsumers for NatsConsumers {
    async fn state(&self, name: &str) -> Result<Option<DurableState>, BusError> {
        let info = self.0.requester.consumer_info(self.0.stream(), name).await?;
        Ok(info.as_ref().map(api::state))
    }

    async fn create(&self, config: &DurableConfig) -> Result<(), BusError> {
        Ok(api::create(&self.0.requester, self.0.stream(), config).await?)
    }

    async fn delete(&self, name: &str) -> Result<(), BusError> {
        let (requester, stream) = (&self.0.requester, self.0.stream());
        Ok(requester.request_of_consumer("DELETE", stream, name, &Value::Null).await?)
    }

    async fn deliveries(&self, name: &str) -> Result<Box<dyn Deliveries>, BusError> {
        Ok(Box::new(NatsDeliveries::new(Arc::clone(&self.0), name)))
    }

    fn acker(&self) -> Arc<dyn Acker> {
        Arc::clone(&self.0.acker) as Arc<dyn Acker>
    }
}
