//! JetStream API requests about consumers.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{ApiError, CONSUMER_NOT_FOUND, STREAM_NOT_FOUND};
use super::requester::Requester;

/// The members of a `CONSUMER.INFO` response that agentbus uses.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConsumerInfo {
    pub config: ConsumerConfig,
    pub delivered: SequencePair,
    pub ack_floor: SequencePair,
    pub num_ack_pending: u64,
    pub num_redelivered: u64,
    pub num_pending: u64,
    pub created: Option<DateTime<Utc>>,
    /// The server's time of the response (since 2.10).
    pub ts: Option<DateTime<Utc>>,
}

/// The members of a consumer's configuration that agentbus uses.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConsumerConfig {
    pub description: String,
}

/// A position of a consumer, in the consumer's and the stream's sequences.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SequencePair {
    pub stream_seq: u64,
}

impl Requester {
    /// A consumer's state; `None` if it does not exist.
    pub(super) async fn consumer_info(
        &self,
        stream: &str,
        name: &str,
    ) -> Result<Option<ConsumerInfo>, ApiError> {
        match self.call(&format!("$JS.API.CONSUMER.INFO.{stream}.{name}"), &Value::Null).await {
            Err(error) if error.is(CONSUMER_NOT_FOUND) => Ok(None),
            response => response.map(Some),
        }
    }

    /// Creates a durable consumer with explicit acks, or updates it. `target` is the consumer's name; if
    /// permissions are to depend on the filter subject, it follows after a dot. If the consumer exists with
    /// the same configuration, nothing happens.
    pub(super) async fn create_consumer(
        &self,
        stream: &str,
        target: &str,
        mut config: Value,
    ) -> Result<(), ApiError> {
        config["name"] = config["durable_name"].clone();
        config["ack_policy"] = "explicit".into();
        config["replay_policy"] = "instant".into();
        let body = json!({ "stream_name": stream, "config": config });
        let subject = format!("$JS.API.CONSUMER.CREATE.{stream}.{target}");
        self.call::<Value>(&subject, &body).await.map(drop)
    }

    /// Sends a request about a consumer, such as `DELETE` or `PAUSE`. If the consumer does not exist, nothing
    /// happens.
    pub(super) async fn request_of_consumer(
        &self,
        verb: &str,
        stream: &str,
        name: &str,
        body: &Value,
    ) -> Result<(), ApiError> {
        match self.call::<Value>(&format!("$JS.API.CONSUMER.{verb}.{stream}.{name}"), body).await {
            Err(error) if error.is(CONSUMER_NOT_FOUND) || error.is(STREAM_NOT_FOUND) => Ok(()),
            response => response.map(drop),
        }
    }
}

/// The stream sequence in a `MAX_DELIVERIES` advisory, which names the message that the server gave up.
pub(super) fn given_up_seq(advisory: &[u8]) -> Option<u64> {
    serde_json::from_slice::<SequencePair>(advisory)
        .ok()
        .map(|pair| pair.stream_seq)
        .filter(|seq| *seq > 0)
}
