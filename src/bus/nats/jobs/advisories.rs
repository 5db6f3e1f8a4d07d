//! Advisories about jobs that JetStream gives up.
//!
//! Advisories are core NATS messages, so each is delivered at most once, and to one server only.
//! [`NatsJobs::given_up`] finds the jobs whose advisory was lost.

use async_nats::Subscriber;
use futures_util::StreamExt as _;

use super::client::NatsJobs;
use crate::bus::BusError;
use crate::bus::nats::consumer_api::given_up_seq;

/// A subscription to `MAX_DELIVERIES` advisories.
pub struct MaxDeliveriesAdvisories(Subscriber);

impl NatsJobs {
    /// Subscribes to the advisories in one queue group with the other servers.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn max_deliveries_advisories(&self) -> Result<MaxDeliveriesAdvisories, BusError> {
        let stream = self.jobs_stream();
        let subject = format!("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{stream}.>");
        let client = &self.requester.connection.client;
        let subscribed = client.queue_subscribe(subject, "agentbus-jobs".to_owned()).await;
        subscribed.map(MaxDeliveriesAdvisories).map_err(|error| BusError(error.to_string()))
    }
}

impl MaxDeliveriesAdvisories {
    /// Waits for the next advisory and returns the sequence of the job that JetStream gave up. Cancel safe.
    pub async fn next(&mut self) -> u64 {
        while let Some(message) = self.0.next().await {
            if let Some(seq) = given_up_seq(&message.payload) {
                return seq;
            }
        }
        std::future::pending().await
    }
}
