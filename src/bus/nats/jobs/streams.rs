//! Finds or creates the two streams of the work queues.
//!
//! Invariant: an existing stream is never changed. If it lacks something, a feature is switched off (delays),
//! or, where jobs could be lost, that is an error.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::{NatsJobs, StreamFeatures, StreamsState};
use crate::bus::BusError;
use crate::bus::nats::api::{StreamInfo, nanos};
use crate::bus::nats::error::{STREAM_NAME_IN_USE, STREAM_NOT_FOUND};
use crate::bus::nats::stream;
use crate::bus::nats::stream_config::MAX_MSG_SIZE;
use crate::limits::MAX_LEASE_S;

/// The first server version with a time to live per message.
const TTL_SINCE: (u64, u64) = (2, 11);
/// The first server version with message schedules.
const SCHEDULES_SINCE: (u64, u64) = (2, 12);

impl NatsJobs {
    /// Whether jobs can be delayed; `Err` with the reason if not.
    ///
    /// # Errors
    /// The streams can be neither found nor created.
    pub async fn delays(&self) -> Result<Result<(), String>, BusError> {
        Ok(self.streams().await?.delays)
    }

    /// Finds or creates the streams, at the first call.
    pub(super) async fn streams(&self) -> Result<StreamFeatures, BusError> {
        let mut known = self.streams.lock().await;
        if let StreamsState::Found(streams) = &*known {
            return Ok(streams.clone());
        }
        let version = self.requester.connection.server_version();
        let was_there = matches!(*known, StreamsState::Doubtful);
        let wanted = self.jobs_config(version);
        let jobs = self.find_or_create(&self.config.jobs_stream_name, &wanted, was_there).await?;
        check(&self.config.jobs_stream_name, &jobs.config)?;
        let wanted = self.leases_config(version);
        let leases =
            self.find_or_create(&self.config.leases_stream_name, &wanted, was_there).await?;
        let streams = StreamFeatures {
            delays: delays(&self.config.jobs_stream_name, &jobs.config, version),
            ttl: leases.config["allow_msg_ttl"] == true,
        };
        if let Err(reason) = &streams.delays {
            tracing::warn!("{reason}");
        }
        *known = StreamsState::Found(streams.clone());
        Ok(streams)
    }

    /// `was_there` says that the stream existed before: if it does not exist now, it was deleted.
    async fn find_or_create(
        &self,
        stream: &str,
        wanted: &Value,
        was_there: bool,
    ) -> Result<StreamInfo, BusError> {
        match self.requester.stream_info(stream).await {
            Err(error) if error.is(STREAM_NOT_FOUND) && was_there => {
                stream::wait_until_removed(stream).await
            }
            Err(error) if error.is(STREAM_NOT_FOUND) => {}
            response => return Ok(response?),
        }
        match self.requester.create_stream(stream, wanted).await {
            // Another server has just created it with other settings. Its settings stay.
            Err(error) if error.is(STREAM_NAME_IN_USE) => {
                Ok(self.requester.stream_info(stream).await?)
            }
            created => {
                let created = created?;
                tracing::info!(stream, "created the stream");
                Ok(created)
            }
        }
    }

    /// Sets no limits of number, size or age, since a limit could remove jobs.
    fn jobs_config(&self, version: (u64, u64)) -> Value {
        let mut config = json!({
            "name": self.config.jobs_stream_name,
            "description": "work queues of agentbus",
            "subjects": ["jobs.*.high", "jobs.*.normal", "jobs.*.low", "jobs.*.*.later.*"],
            "retention": "workqueue",
            "storage": "file",
            "discard": "old",
            "max_msg_size": MAX_MSG_SIZE,
            "duplicate_window": nanos(self.config.duplicate_window),
            "num_replicas": self.config.replicas,
        });
        // An older server with `strict: true` refuses members that it does not know.
        if version >= SCHEDULES_SINCE {
            config["allow_msg_schedules"] = true.into();
        }
        config
    }

    fn leases_config(&self, version: (u64, u64)) -> Value {
        let mut config = json!({
            "name": self.config.leases_stream_name,
            "description": "how leases of agentbus ended",
            "subjects": ["leases.>"],
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            // Longer than any lease can last. It matters where records have no time to live of their own.
            "max_age": nanos(Duration::from_secs(2 * MAX_LEASE_S)),
            "max_msgs_per_subject": 1,
            "num_replicas": self.config.replicas,
        });
        if version >= TTL_SINCE {
            config["allow_msg_ttl"] = true.into();
        }
        config
    }
}

/// An error if the stream could lose jobs, or keep them after they are done.
fn check(stream: &str, config: &Value) -> Result<(), BusError> {
    let refused = |what: &str| Err(BusError(format!("stream {stream} {what}")));
    if config["retention"] != "workqueue" {
        return refused("has no work-queue retention: jobs would stay after they are done");
    }
    let drops = ["max_msgs", "max_bytes", "max_age", "max_msgs_per_subject"];
    let limited = drops.into_iter().find(|limit| config[*limit].as_i64().unwrap_or(0) > 0);
    if let Some(limit) = limited.filter(|_| config["discard"] != "new") {
        return refused(&format!("has {limit} and discards old messages: jobs would vanish"));
    }
    Ok(())
}

fn delays(stream: &str, config: &Value, version: (u64, u64)) -> Result<(), String> {
    if version < SCHEDULES_SINCE {
        let (major, minor) = version;
        return Err(format!(
            "jobs cannot be delayed: NATS {major}.{minor} has no message schedules (2.12 and later)"
        ));
    }
    if config["allow_msg_schedules"] != true {
        return Err(format!(
            "jobs cannot be delayed: stream {stream} was created without allow_msg_schedules"
        ));
    }
    Ok(())
}
