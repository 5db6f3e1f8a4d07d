//! The two streams of the work queues: found, or made as they should be.
//!
//! Invariant: a stream that is there is never changed. What it lacks switches a
//! feature off (delays), or is an error where jobs could be lost.

use std::time::Duration;

use serde_json::{Value, json};

use super::NatsJobs;
use crate::bus::BusError;
use crate::bus::nats::api::{StreamInfo, nanos};
use crate::bus::nats::error::{STREAM_NAME_IN_USE, STREAM_NOT_FOUND};
use crate::bus::nats::stream;
use crate::limits::MAX_LEASE_S;

/// First server that forgets a message at its own time.
const TTL_SINCE: (u64, u64) = (2, 11);
/// First server with message schedules.
const SCHEDULES_SINCE: (u64, u64) = (2, 12);
/// Bytes of a job, headers included (the server's own default).
const MAX_JOB_BYTES: i64 = 1_048_576;

/// What the streams can.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    /// Whether jobs can be delayed; if not, why.
    pub delays: Result<(), String>,
    /// Whether a lease's record is forgotten at its own time.
    pub ttl: bool,
}

/// What is known of the streams.
#[derive(Debug, Default)]
pub(super) enum Known {
    /// They were not looked for yet.
    #[default]
    Nothing,
    /// They are there.
    Found(Streams),
    /// They were, and one may be gone: the next call looks.
    InDoubt,
}

impl NatsJobs {
    /// Finds or makes the streams, once.
    pub(super) async fn streams(&self) -> Result<Streams, BusError> {
        let mut known = self.streams.lock().await;
        if let Known::Found(streams) = &*known {
            return Ok(streams.clone());
        }
        let version = self.requester.connection.server_version();
        let again = matches!(*known, Known::InDoubt);
        let wish = self.jobs_wish(version);
        let jobs = self.found_or_made(&self.config.jobs_stream_name, &wish, again).await?;
        check(&self.config.jobs_stream_name, &jobs.config)?;
        let wish = self.leases_wish(version);
        let leases = self.found_or_made(&self.config.leases_stream_name, &wish, again).await?;
        let streams = Streams {
            delays: delays(&self.config.jobs_stream_name, &jobs.config, version),
            ttl: leases.config["allow_msg_ttl"] == true,
        };
        if let Err(reason) = &streams.delays {
            tracing::warn!("{reason}");
        }
        *known = Known::Found(streams.clone());
        Ok(streams)
    }

    /// `again`: it was there before, so one that is gone was deleted.
    async fn found_or_made(
        &self,
        stream: &str,
        wish: &Value,
        again: bool,
    ) -> Result<StreamInfo, BusError> {
        match self.requester.stream_info(stream).await {
            Err(error) if error.is(STREAM_NOT_FOUND) && again => {
                stream::wait_until_removed(stream).await
            }
            Err(error) if error.is(STREAM_NOT_FOUND) => {}
            answer => return Ok(answer?),
        }
        match self.requester.create_stream(stream, wish).await {
            // Another server was quicker, with other settings: theirs is the stream.
            Err(error) if error.is(STREAM_NAME_IN_USE) => {
                Ok(self.requester.stream_info(stream).await?)
            }
            made => {
                let made = made?;
                tracing::info!(stream, "created the stream");
                Ok(made)
            }
        }
    }

    fn jobs_wish(&self, version: (u64, u64)) -> Value {
        let mut wish = json!({
            "name": self.config.jobs_stream_name,
            "description": "work queues of agentbus",
            "subjects": ["jobs.*.high", "jobs.*.normal", "jobs.*.low", "jobs.*.*.later.*"],
            "retention": "workqueue",
            "storage": "file",
            "discard": "old",
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "max_msgs_per_subject": -1,
            "max_msg_size": MAX_JOB_BYTES,
            "duplicate_window": nanos(self.config.duplicate_window),
            "num_replicas": self.config.replicas,
        });
        if version >= SCHEDULES_SINCE {
            wish["allow_msg_schedules"] = true.into();
        }
        wish
    }

    fn leases_wish(&self, version: (u64, u64)) -> Value {
        // Longer than any lease is remembered: where records have no time of their own.
        let longest = Duration::from_secs(2 * MAX_LEASE_S);
        let mut wish = json!({
            "name": self.config.leases_stream_name,
            "description": "how leases of agentbus ended",
            "subjects": ["leases.>"],
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": nanos(longest),
            "max_msgs_per_subject": 1,
            "num_replicas": self.config.replicas,
        });
        if version >= TTL_SINCE {
            wish["allow_msg_ttl"] = true.into();
        }
        wish
    }
}

/// An error where the stream is no home for jobs.
fn check(stream: &str, config: &Value) -> Result<(), BusError> {
    let lost = |what: &str| Err(BusError(format!("stream {stream} {what}")));
    if config["retention"] != "workqueue" {
        return lost("has no work-queue retention: jobs would stay after they are done");
    }
    let drops = ["max_msgs", "max_bytes", "max_age", "max_msgs_per_subject"];
    let limited = drops.into_iter().find(|limit| config[*limit].as_i64().unwrap_or(0) > 0);
    if let Some(limit) = limited.filter(|_| config["discard"] != "new") {
        return lost(&format!("has {limit} and discards old messages: jobs would vanish"));
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
            "jobs cannot be delayed: stream {stream} was made without allow_msg_schedules"
        ));
    }
    Ok(())
}
