//! The requests of the JetStream API that agentbus uses.
//!
//! Invariant: every request is sent by the [`Requester`] with the same time limit, and returns a parsed reply
//! or an [`ApiError`]. Stream configurations stay JSON, so that an update keeps the members that this program
//! does not know.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::entry::Stored;
use super::error::{ApiError, JsError, MESSAGE_NOT_FOUND, STREAM_NOT_FOUND};
use super::requester::Requester;
use super::stream_config::StreamConfig;
use crate::bus::Bounds;
use crate::bus::durable::AckKind;
use crate::limits::{
    NATS_API_TIMEOUT, NATS_CONSUMER_IDLE, NATS_FAILOVER_AFTER, NATS_PULL_BYTES, NATS_PULL_EXPIRES,
    NATS_PULL_HEARTBEAT,
};
use crate::message::LogEntry;

/// The members of a `STREAM.INFO` reply that agentbus uses.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct StreamInfo {
    /// The whole configuration, as the server returned it.
    pub config: Value,
    pub state: StreamState,
    /// The server's clock when it replied (since 2.10).
    #[serde(default, rename = "ts")]
    pub server_time: Option<DateTime<Utc>>,
    /// The stream's replicas; `None` on a server without a cluster.
    #[serde(default)]
    pub cluster: Option<ClusterInfo>,
}

/// The replicas of a stream, as seen by the server that replied.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct ClusterInfo {
    #[serde(default)]
    leader: String,
    #[serde(default)]
    replicas: Vec<Replica>,
}

#[derive(Clone, Debug, Deserialize)]
struct Replica {
    /// Nanoseconds since the replica was last active.
    #[serde(default)]
    active: u64,
}

impl ClusterInfo {
    /// Whether the server that replied is connected to a majority. A former leader that is cut off from the
    /// others reports an old state for minutes (seen in nats-server 2.15.1).
    fn has_majority(&self) -> bool {
        let patience = u64::try_from(NATS_FAILOVER_AFTER.as_nanos()).unwrap_or(u64::MAX);
        let others = self.replicas.iter().filter(|other| other.active < patience).count();
        !self.leader.is_empty() && 2 * (others + 1) > self.replicas.len() + 1
    }
}

/// The state of a stream.
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
    /// The stream's bounds in the form of [`Bounds`], which also describes an empty stream.
    pub(super) fn bounds(&self) -> Bounds {
        let first = if self.messages == 0 { self.last_seq + 1 } else { self.first_seq };
        Bounds { first, last: self.last_seq }
    }
}

impl StreamInfo {
    /// The members of the configuration that agentbus uses.
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
        self.call_with(subject, HeaderMap::new(), payload, NATS_API_TIMEOUT).await
    }

    /// Sends a request and parses the JSON response, which may be an error of JetStream.
    pub(super) async fn call_with<T: DeserializeOwned>(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<T, ApiError> {
        let message = self.request(subject, headers, payload, timeout).await?;
        let malformed = |error| ApiError::Malformed(format!("{subject}: {error}"));
        let head: OnlyError = serde_json::from_slice(&message.payload).map_err(malformed)?;
        match head.error {
            Some(error) => Err(ApiError::Refused(error)),
            None => serde_json::from_slice(&message.payload).map_err(malformed),
        }
    }

    /// Configuration and state of a stream, from a leader that is connected to a majority of the replicas.
    pub(super) async fn stream_info(&self, stream: &str) -> Result<StreamInfo, ApiError> {
        let subject = format!("$JS.API.STREAM.INFO.{stream}");
        let info: StreamInfo = self.call(&subject, &Value::Null).await?;
        if info.cluster.as_ref().is_some_and(|copies| !copies.has_majority()) {
            let text = format!("the leader of stream {stream} is cut off from its other replicas");
            return Err(ApiError::Unavailable(text));
        }
        Ok(info)
    }

    /// Creates a stream. If it exists with the same configuration, nothing happens.
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

    /// Deletes a stream with its consumers. If it does not exist, nothing happens.
    pub(super) async fn delete_stream(&self, stream: &str) -> Result<(), ApiError> {
        match self.call::<Value>(&format!("$JS.API.STREAM.DELETE.{stream}"), &Value::Null).await {
            Err(error) if !error.is(STREAM_NOT_FOUND) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Removes the entries below `seq`. If the last sequence is lower than `seq - 1`, it becomes `seq - 1`.
    pub(super) async fn purge_below(&self, stream: &str, seq: u64) -> Result<(), ApiError> {
        let subject = format!("$JS.API.STREAM.PURGE.{stream}");
        self.call::<Value>(&subject, &json!({ "seq": seq })).await.map(drop)
    }

    /// Deletes one entry. Its sequence stays unused.
    pub(super) async fn delete_entry(&self, stream: &str, seq: u64) -> Result<(), ApiError> {
        self.delete(stream, &json!({ "seq": seq, "no_erase": true })).await
    }

    /// Deletes one entry and overwrites its bytes in the stream's files. Its sequence stays unused.
    pub(super) async fn erase_entry(&self, stream: &str, seq: u64) -> Result<(), ApiError> {
        self.delete(stream, &json!({ "seq": seq })).await
    }

    async fn delete(&self, stream: &str, request: &Value) -> Result<(), ApiError> {
        let subject = format!("$JS.API.STREAM.MSG.DELETE.{stream}");
        match self.call::<Value>(&subject, request).await {
            Err(error) if !error.is_missing_message() => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// The entry at `seq`, from the stream's leader. A direct get is not used: a replica that is behind may
    /// answer it, and an entry with invalid headers would break the connection.
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

    /// The first entry at or after `seq`, and whether async-nats can read a delivery of it.
    pub(super) async fn entry_checked(
        &self,
        stream: &str,
        seq: u64,
    ) -> Result<Option<(LogEntry, bool)>, ApiError> {
        let which = json!({ "seq": seq, "next_by_subj": ">" });
        let Some(stored) = self.request_stored(stream, &which).await? else { return Ok(None) };
        let readable = stored.is_readable();
        let malformed = |error| ApiError::Malformed(format!("entry {seq}: {error}"));
        Ok(Some((stored.into_raw().map_err(malformed)?, readable)))
    }

    /// The entry that a `STREAM.MSG.GET` with these request members finds.
    pub(super) async fn stored(
        &self,
        stream: &str,
        which: &Value,
    ) -> Result<Option<LogEntry>, ApiError> {
        let malformed = |error| ApiError::Malformed(format!("an entry of {stream}: {error}"));
        let stored = self.request_stored(stream, which).await?;
        stored.map(|stored| stored.into_raw().map_err(malformed)).transpose()
    }

    async fn request_stored(
        &self,
        stream: &str,
        which: &Value,
    ) -> Result<Option<Stored>, ApiError> {
        #[derive(Deserialize)]
        struct Found {
            message: Stored,
        }
        let subject = format!("$JS.API.STREAM.MSG.GET.{stream}");
        match self.call::<Found>(&subject, which).await {
            Ok(found) => Ok(Some(found.message)),
            Err(error) if error.is(MESSAGE_NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an ephemeral pull consumer without acks. It starts at `from`.
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

/// A duration in nanoseconds, the unit of the JetStream API.
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

/// The body of a pull request that stays open and makes the server send heartbeats (ADR-13).
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
    fn a_leader_is_connected_to_a_majority() {
        let copies = |cluster| serde_json::from_value::<ClusterInfo>(cluster).expect("copies");
        let (near, far) = (json!({"active": 900_000_000}), json!({"active": 60_000_000_000_u64}));
        assert!(copies(json!({"leader": "n1", "replicas": [near, far]})).has_majority());
        assert!(copies(json!({"leader": "n1"})).has_majority(), "one copy");
        assert!(!copies(json!({"leader": "n1", "replicas": [far, far]})).has_majority());
        assert!(!copies(json!({"replicas": [near, near]})).has_majority());
    }
}
