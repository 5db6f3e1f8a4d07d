//! The configuration of a stream: the members that agentbus uses, and what it keeps in the metadata.
//!
//! While a lost tail is written back, the stream is closed for publishing: its only subjects are private
//! ones, which it maps to the real subjects. Invariant: the metadata of a closed stream holds its original
//! subjects, so any server can open it again.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Metadata key for the stream's epoch.
pub(super) const EPOCH: &str = "agentbus_epoch";
/// Metadata key for the original subjects and subject transform of a closed stream.
const CLOSED: &str = "agentbus_write_back";
/// First nats-server that keeps metadata.
pub(super) const METADATA_SINCE: (u64, u64) = (2, 10);
/// First nats-server with atomic batches.
pub(super) const ATOMIC_SINCE: (u64, u64) = (2, 12);

/// The largest message in bytes, headers included: 1 MiB, which is also the server's default.
pub(super) const MAX_MSG_SIZE: i64 = 1_048_576;

/// The members of a stream's configuration that agentbus uses.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct StreamConfig {
    pub name: String,
    pub subjects: Vec<String>,
    pub retention: String,
    pub storage: String,
    pub discard: String,
    pub max_msgs: i64,
    pub max_bytes: i64,
    /// Nanoseconds.
    pub max_age: i64,
    pub max_msgs_per_subject: i64,
    pub max_msg_size: i64,
    /// Nanoseconds.
    pub duplicate_window: i64,
    pub num_replicas: i64,
    pub allow_direct: bool,
    pub allow_atomic: bool,
    pub sealed: bool,
    pub subject_transform: Option<Value>,
    /// The stream that this one mirrors.
    pub mirror: Option<Value>,
    /// The streams that this one copies messages from.
    pub sources: Option<Vec<Value>>,
    pub metadata: Option<HashMap<String, String>>,
}

impl StreamConfig {
    /// The epoch in the stream's metadata.
    pub(super) fn epoch(&self) -> Option<Uuid> {
        self.metadata.as_ref()?.get(EPOCH)?.parse().ok()
    }

    /// How long the stream recognises a repeated id.
    pub(super) fn duplicate_window(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.duplicate_window).unwrap_or(0))
    }

    /// Whether the stream is closed for publishing.
    pub(super) fn is_closed(&self) -> bool {
        self.metadata.as_ref().is_some_and(|metadata| metadata.contains_key(CLOSED))
    }
}

/// The prefix of the private subjects of a closed stream, with its final `.`.
pub(super) fn closed_prefix(stream: &str) -> String {
    format!("_agentbus_write_back.{stream}.")
}

/// The configuration of a stream that is closed for publishing.
pub(super) fn closed(config: &Value, stream: &str) -> Value {
    let mut closed = config.clone();
    let private = format!("{}>", closed_prefix(stream));
    let before = json!({
        "subjects": config["subjects"],
        "subject_transform": config.get("subject_transform"),
    });
    if !closed["metadata"].is_object() {
        closed["metadata"] = Value::Object(Map::new());
    }
    closed["metadata"][CLOSED] = before.to_string().into();
    closed["subjects"] = json!([private]);
    closed["subject_transform"] = json!({ "src": private, "dest": ">" });
    closed
}

/// The original configuration of a closed stream. A stream that is not closed keeps its configuration.
pub(super) fn opened(config: &Value) -> Value {
    let mut open = config.clone();
    let Some(before) = config["metadata"][CLOSED].as_str() else { return open };
    let before: Value = serde_json::from_str(before).unwrap_or_default();
    open["subjects"] = before["subjects"].clone();
    if let Some(config) = open.as_object_mut() {
        match &before["subject_transform"] {
            Value::Null => config.remove("subject_transform"),
            transform => config.insert("subject_transform".to_owned(), transform.clone()),
        };
    }
    if let Some(metadata) = open["metadata"].as_object_mut() {
        metadata.remove(CLOSED);
    }
    open
}

/// The configuration with `epoch` in place of its epoch, if it has one.
pub(super) fn with_epoch(config: &Value, epoch: Uuid) -> Value {
    let mut renewed = config.clone();
    if config["metadata"][EPOCH].is_string() {
        renewed["metadata"][EPOCH] = epoch.to_string().into();
    }
    renewed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_opened_as_it_was() {
        for config in [
            json!({"subjects": ["a.>", "b"], "metadata": {"x": "y"}, "max_age": 5}),
            json!({"subjects": ["a.>"], "metadata": {}, "subject_transform": {"src": "a.>", "dest": "b.>"}}),
        ] {
            let closed = closed(&config, "s");
            assert_eq!(closed["subjects"], json!(["_agentbus_write_back.s.>"]));
            assert_eq!(opened(&closed), config);
        }
    }
}
