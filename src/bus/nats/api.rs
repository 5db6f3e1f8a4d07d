//! The few questions we ask the JetStream API.
//!
//! Invariant: each is asked over the [`Requester`], with one time limit, and its
//! answer is either ours or an [`ApiError`]. Stream configurations stay JSON, so
//! that an update sends back what this program does not know.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::entry::Stored;
use super::error::{ApiError, JsError, MESSAGE_NOT_FOUND, STREAM_NOT_FOUND};
use super::requester::Requester;
use crate::bus::Bounds;
use crate::bus::durable::AckKind;
use crate::limits::{
    NATS_API_TIMEOUT, NATS_CONSUMER_IDLE, NATS_FAILOVER_AFTER, NATS_PULL_BYTES, NATS_PULL_EXPIRES,
    NATS_PULL_HEARTBEAT,
};
use crate::message::LogEntry;

/// What `STREAM.INFO` tells, as far as we care.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct StreamInfo {
    /// The whole configuration, as the server echoes it.
    pub config: Value,
    pub state: StreamState,
    /// The server's clock when it answered (since 2.10).
    #[serde(default, rename = "ts")]
    pub server_time: Option<DateTime<Utc>>,
    /// Where its copies are; nothing on a server without a cluster.
    #[serde(default)]
    pub cluster: Option<ClusterInfo>,
}

/// The copies of a stream, as one who answers for it sees them.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct ClusterInfo {
    #[serde(default)]
    leader: String,
    #[serde(default)]
    replicas: Vec<Replica>,
}

#[derive(Clone, Debug, Deserialize)]
struct Replica {
    /// Nanoseconds since it was heard.
    #[serde(default)]
    active: u64,
}

impl ClusterInfo {
    /// Whether who answers hears a majority. Cut off from the others, a former leader tells for
    /// minutes what the stream was (seen in nats-server 2.15.1).
    fn has_majority(&self) -> bool {
        let patience = u64::try_from(NATS_FAILOVER_AFTER.as_nanos()).unwrap_or(u64::MAX);
        let others = self.replicas.iter().filter(|other| other.active < patience).count();
        !self.leader.is_empty() && 2 * (others + 1) > self.replicas.len() + 1
    }
}

/// What the stream holds.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct StreamState {
    #[serde(default)]
    pub messages: u64,
    #[serde(default)]
    pub bytes: u64,
    #[serde(default)]
    pub first_seq: u64,
    #[serde(default)]
    pub last_seq: u64,
}

impl StreamState {
    /// As the contract of the bus counts them.
    pub(super) fn bounds(&self) -> Bounds {
        let first = if self.messages == 0 { self.last_seq + 1 } else { self.first_seq };
        Bounds { first, last: self.last_seq }
    }
}

/// The part of a stream's configuration that we need to understand.
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
    pub max_age: i64,
    pub max_msgs_per_subject: i64,
    pub max_msg_size: i64,
    pub duplicate_window: i64,
    pub num_replicas: i64,
    pub allow_direct: bool,
    pub allow_atomic: bool,
    pub sealed: bool,
    pub subject_transform: Option<Value>,
    pub metadata: Option<HashMap<String, String>>,
}

impl StreamInfo {
    /// The understood part of the configuration.
    pub(super) fn parsed(&self) -> Result<StreamConfig, ApiError> {
        StreamConfig::deserialize(&self.config)
            .map_err(|error| ApiError::Malformed(format!("stream configuration: {error}")))
    }
}

#[derive(Deserialize)]
struct OnlyError {
    #[serde(default)]
    error: Option<JsError>,
}

impl Requester {
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        subject: &str,
        body: &Value,
    ) -> Result<T, ApiError> {
        let payload = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let message = self.request(subject, payload, NATS_API_TIMEOUT).await?;
        let malformed = |error| ApiError::Malformed(format!("{subject}: {error}"));
        let head: OnlyError = serde_json::from_slice(&message.payload).map_err(malformed)?;
        match head.error {
            Some(error) => Err(ApiError::Refused(error)),
            None => serde_json::from_slice(&message.payload).map_err(malformed),
        }
    }

    /// What the stream is and holds, told by a leader that is one.
    pub(super) async fn stream_info(&self, stream: &str) -> Result<StreamInfo, ApiError> {
        let subject = format!("$JS.API.STREAM.INFO.{stream}");
        let info: StreamInfo = self.call(&subject, &Value::Null).await?;
        if info.cluster.as_ref().is_some_and(|copies| !copies.has_majority()) {
            let text = format!("who answers for {stream} is cut off from its other copies");
            return Err(ApiError::Unavailable(text));
        }
        Ok(info)
    }

    /// Creates a stream; the same configuration again is no error to the server.
    pub(super) async fn create_stream(
        &self,
        stream: &str,
        config: &Value,
    ) -> Result<StreamInfo, ApiError> {
        self.call(&format!("$JS.API.STREAM.CREATE.{stream}"), config).await
    }

    pub(super) async fn update_stream(
        &self,
        stream: &str,
        config: &Value,
    ) -> Result<StreamInfo, ApiError> {
        self.call(&format!("$JS.API.STREAM.UPDATE.{stream}"), config).await
    }

    /// Deletes a stream with its consumers; one that is gone already is no error.
    pub(super) async fn delete_stream(&self, stream: &str) -> Result<(), ApiError> {
        match self.call::<Value>(&format!("$JS.API.STREAM.DELETE.{stream}"), &Value::Null).await {
            Err(error) if !error.is(STREAM_NOT_FOUND) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Removes what is below `seq`, and moves an earlier end up to `seq - 1`.
    pub(super) async fn purge_below(&self, stream: &str, seq: u64) -> Result<(), ApiError> {
        let subject = format!("$JS.API.STREAM.PURGE.{stream}");
        self.call::<Value>(&subject, &json!({ "seq": seq })).await.map(drop)
    }

    /// Deletes one entry, leaving a hole.
    pub(super) async fn delete_entry(&self, stream: &str, seq: u64) -> Result<(), ApiError> {
        let subject = format!("$JS.API.STREAM.MSG.DELETE.{stream}");
        let question = json!({ "seq": seq, "no_erase": true });
        match self.call::<Value>(&subject, &question).await {
            Err(error) if !error.is(MESSAGE_NOT_FOUND) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// The entry at `seq`, asked of the stream's leader: a direct get may be answered by a replica
    /// that is behind, and an entry with odd headers would break our connection.
    pub(super) async fn entry_at(
        &self,
        stream: &str,
        seq: u64,
    ) -> Result<Option<LogEntry>, ApiError> {
        self.stored(stream, &json!({ "seq": seq })).await
    }

    /// The first entry at or after `seq`.
    pub(super) async fn entry_from(
        &self,
        stream: &str,
        seq: u64,
    ) -> Result<Option<LogEntry>, ApiError> {
        self.stored(stream, &json!({ "seq": seq, "next_by_subj": ">" })).await
    }

    /// The first entry at or after `seq`, and whether async-nats could read it in a delivery.
    pub(super) async fn entry_checked(
        &self,
        stream: &str,
        seq: u64,
    ) -> Result<Option<(LogEntry, bool)>, ApiError> {
        let stored = self.ask_stored(stream, &json!({ "seq": seq, "next_by_subj": ">" })).await?;
        let Some(stored) = stored else { return Ok(None) };
        let readable = stored.is_readable();
        let malformed = |error| ApiError::Malformed(format!("entry {seq}: {error}"));
        Ok(Some((stored.into_raw().map_err(malformed)?, readable)))
    }

    /// The entry that a `STREAM.MSG.GET` of these members finds.
    pub(super) async fn stored(
        &self,
        stream: &str,
        which: &Value,
    ) -> Result<Option<LogEntry>, ApiError> {
        let malformed = |error| ApiError::Malformed(format!("an entry of {stream}: {error}"));
        let stored = self.ask_stored(stream, which).await?;
        stored.map(|stored| stored.into_raw().map_err(malformed)).transpose()
    }

    async fn ask_stored(&self, stream: &str, which: &Value) -> Result<Option<Stored>, ApiError> {
        #[derive(Deserialize)]
        struct Answer {
            message: Stored,
        }
        let subject = format!("$JS.API.STREAM.MSG.GET.{stream}");
        match self.call::<Answer>(&subject, which).await {
            Ok(answer) => Ok(Some(answer.message)),
            Err(error) if error.is(MESSAGE_NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an ephemeral pull consumer without acks that starts at `from`.
    pub(super) async fn create_reader(
        &self,
        stream: &str,
        consumer: &str,
        from: u64,
    ) -> Result<(), ApiError> {
        let body = json!({
            "stream_name": stream,
            "config": {
                "name": consumer,
                "description": "agentbus reader",
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": from.max(1),
                "ack_policy": "none",
                "replay_policy": "instant",
                "inactive_threshold": nanos(NATS_CONSUMER_IDLE),
                "num_replicas": 1,
                "mem_storage": true,
            },
        });
        let subject = format!("$JS.API.CONSUMER.CREATE.{stream}.{consumer}");
        self.call::<Value>(&subject, &body).await.map(drop)
    }
}

/// A duration as the API writes it.
pub(super) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// The payload of an ack (ADR-8, ADR-13).
pub(super) fn ack_body(kind: AckKind) -> Bytes {
    match kind {
        AckKind::Ack => Bytes::from_static(b"+ACK"),
        AckKind::Progress => Bytes::from_static(b"+WPI"),
        AckKind::Nak(delay) if delay.is_zero() => Bytes::from_static(b"-NAK"),
        AckKind::Nak(delay) => Bytes::from(format!("-NAK {}", json!({ "delay": nanos(delay) }))),
    }
}

/// The question of a pull that stays open and shows a sign of life (ADR-13).
pub(super) fn pull_body(batch: usize) -> Bytes {
    let body = json!({
        "batch": batch,
        "max_bytes": NATS_PULL_BYTES,
        "expires": nanos(NATS_PULL_EXPIRES),
        "idle_heartbeat": nanos(NATS_PULL_HEARTBEAT),
    });
    Bytes::from(body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_hears_a_majority() {
        let copies = |cluster| serde_json::from_value::<ClusterInfo>(cluster).expect("copies");
        let (near, far) = (json!({"active": 900_000_000}), json!({"active": 60_000_000_000_u64}));
        assert!(copies(json!({"leader": "n1", "replicas": [near, far]})).has_majority());
        assert!(copies(json!({"leader": "n1"})).has_majority(), "one copy");
        assert!(!copies(json!({"leader": "n1", "replicas": [far, far]})).has_majority());
        assert!(!copies(json!({"replicas": [near, near]})).has_majority());
    }
}
