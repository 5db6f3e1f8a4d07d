//! What we ask the JetStream API about durable consumers.
//!
//! Invariant: a consumer's description tells that it is ours, and which placing of it
//! this is. Unlike metadata, that works on every server.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::bus::durable::{DurableConfig, DurableState};
use crate::bus::nats::api::nanos;
use crate::bus::nats::error::{ApiError, CONSUMER_NOT_FOUND};
use crate::bus::nats::requester::Requester;
use crate::limits::CONSUMER_MAX_ACK_PENDING;

const DESCRIPTION: &str = "agentbus, placing ";

/// What `CONSUMER.INFO` tells, as far as we care.
#[derive(Debug, Deserialize)]
pub(super) struct ConsumerInfo {
    config: Config,
    delivered: Position,
    ack_floor: Position,
    #[serde(default)]
    num_ack_pending: u64,
    #[serde(default)]
    num_redelivered: u64,
    #[serde(default)]
    num_pending: u64,
}

#[derive(Debug, Deserialize)]
struct Config {
    #[serde(default)]
    description: String,
}

#[derive(Debug, Deserialize)]
struct Position {
    stream_seq: u64,
}

impl ConsumerInfo {
    pub(super) fn state(&self) -> DurableState {
        let placing = self.config.description.strip_prefix(DESCRIPTION);
        DurableState {
            generation: placing.and_then(|number| number.parse().ok()),
            ack_floor: self.ack_floor.stream_seq,
            delivered: self.delivered.stream_seq,
            pending: self.num_pending,
            in_flight: self.num_ack_pending,
            redelivered: self.num_redelivered,
        }
    }
}

impl Requester {
    pub(super) async fn consumer_info(
        &self,
        stream: &str,
        name: &str,
    ) -> Result<Option<ConsumerInfo>, ApiError> {
        match self.call(&format!("$JS.API.CONSUMER.INFO.{stream}.{name}"), &Value::Null).await {
            Err(error) if error.is(CONSUMER_NOT_FOUND) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// The same configuration again is no error to the server.
    pub(super) async fn create_durable(
        &self,
        stream: &str,
        durable: &DurableConfig,
    ) -> Result<(), ApiError> {
        let name = &durable.name;
        let mut config = json!({
            "durable_name": name,
            "name": name,
            "description": format!("{DESCRIPTION}{}", durable.generation),
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": nanos(durable.ack_wait),
            "max_deliver": durable.max_deliver,
            "filter_subject": durable.filter.as_str(),
            "replay_policy": "instant",
            "max_ack_pending": CONSUMER_MAX_ACK_PENDING,
        });
        if durable.from > 1 {
            config["deliver_policy"] = "by_start_sequence".into();
            config["opt_start_seq"] = durable.from.into();
        }
        let body = json!({ "stream_name": stream, "config": config });
        self.call::<Value>(&format!("$JS.API.CONSUMER.CREATE.{stream}.{name}"), &body)
            .await
            .map(drop)
    }

    /// That there is none is no error.
    pub(super) async fn delete_consumer(&self, stream: &str, name: &str) -> Result<(), ApiError> {
        let subject = format!("$JS.API.CONSUMER.DELETE.{stream}.{name}");
        match self.call::<Value>(&subject, &Value::Null).await {
            Err(error) if error.is(CONSUMER_NOT_FOUND) => Ok(()),
            answer => answer.map(drop),
        }
    }
}
