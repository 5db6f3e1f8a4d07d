//! Translates [`DurableConfig`] and [`DurableState`] to and from JetStream.
//!
//! Invariant: a consumer's description marks it as one of agentbus and holds its generation. Unlike metadata,
//! every server version keeps the description.

use serde_json::json;

use crate::bus::durable::{DurableConfig, DurableState};
use crate::bus::nats::api::nanos;
use crate::bus::nats::consumer_api::ConsumerInfo;
use crate::bus::nats::error::ApiError;
use crate::bus::nats::requester::Requester;
use crate::limits::CONSUMER_MAX_ACK_PENDING;

/// The beginning of each consumer's description. Existing consumers have it, so it must not change.
const DESCRIPTION: &str = "agentbus, placing ";

/// Reads the state from a `CONSUMER.INFO` response.
pub(super) fn state(info: &ConsumerInfo) -> DurableState {
    let generation = info.config.description.strip_prefix(DESCRIPTION);
    DurableState {
        generation: generation.and_then(|number| number.parse().ok()),
        ack_floor: info.ack_floor.stream_seq,
        delivered: info.delivered.stream_seq,
        pending: info.num_pending,
        in_flight: info.num_ack_pending,
        redelivered: info.num_redelivered,
    }
}

/// Creates a durable consumer.
pub(super) async fn create(
    requester: &Requester,
    stream: &str,
    durable: &DurableConfig,
) -> Result<(), ApiError> {
    let mut config = json!({
        "durable_name": durable.name,
        "description": format!("{DESCRIPTION}{}", durable.generation),
        "deliver_policy": "all",
        "ack_wait": nanos(durable.ack_wait),
        "max_deliver": durable.max_deliver,
        "filter_subject": durable.filter.as_str(),
        "max_ack_pending": CONSUMER_MAX_ACK_PENDING,
    });
    if durable.from > 1 {
        config["deliver_policy"] = "by_start_sequence".into();
        config["opt_start_seq"] = durable.from.into();
    }
    requester.create_consumer(stream, &durable.name, config).await
}
