//! What JetStream says of jobs that it gives up.
//!
//! The advisory is core NATS, at most once, and shared among all servers: what
//! slips by is found by [`NatsJobs::exhausted`].

use async_nats::Subscriber;
use futures_util::StreamExt as _;
use serde::Deserialize;

use super::NatsJobs;
use crate::bus::BusError;

/// Advisories as they come.
pub struct MaxDeliveriesAdvisories(Subscriber);

#[derive(Deserialize)]
struct Advisory {
    stream_seq: u64,
}

impl NatsJobs {
    /// Subscribes to them, beside the other servers.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn max_deliveries_advisories(&self) -> Result<MaxDeliveriesAdvisories, BusError> {
        let stream = &self.config.jobs_stream_name;
        let subject = format!("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{stream}.>");
        let client = &self.requester.connection.client;
        let subscribed = client.queue_subscribe(subject, "agentbus-jobs".to_owned()).await;
        subscribed.map(MaxDeliveriesAdvisories).map_err(|error| BusError(error.to_string()))
    }
}

impl MaxDeliveriesAdvisories {
    /// The sequence of the next job; waits for ever where none comes. Cancel safe.
    pub async fn next(&mut self) -> u64 {
        while let Some(message) = self.0.next().await {
            if let Ok(advisory) = serde_json::from_slice::<Advisory>(&message.payload) {
                return advisory.stream_seq;
            }
        }
        std::future::pending().await
    }
}
