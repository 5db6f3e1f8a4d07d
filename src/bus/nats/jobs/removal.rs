//! Removes a queue from JetStream: pauses its deliveries, then removes its jobs and its consumers.
//!
//! Invariant: a job that arrived after the sequence that the caller names is not removed. The caller removes
//! consumers only after it has seen that no delivery is pending.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::client::NatsJobs;
use crate::bus::BusError;

/// The first server version that can pause a consumer.
const PAUSE_SINCE: (u64, u64) = (2, 11);

impl NatsJobs {
    /// Pauses a queue's deliveries until a time; `None` resumes them. While paused, pulls return no jobs.
    /// Does nothing on a server before 2.11, which cannot pause.
    ///
    /// # Errors
    /// JetStream cannot be reached, or refuses.
    pub async fn pause(&self, queue: &str, until: Option<DateTime<Utc>>) -> Result<(), BusError> {
        if self.requester.connection.server_version() < PAUSE_SINCE {
            return Ok(());
        }
        let text = |until: DateTime<Utc>| until.to_rfc3339_opts(SecondsFormat::Micros, true);
        let body = until.map_or(json!({}), |until| json!({ "pause_until": text(until) }));
        self.request_of_each("PAUSE", queue, &body).await
    }

    /// Removes a queue's consumers.
    ///
    /// # Errors
    /// JetStream cannot be reached, or refuses.
    pub async fn remove_consumers(&self, queue: &str) -> Result<(), BusError> {
        self.request_of_each("DELETE", queue, &Value::Null).await
    }

    /// The last sequence of the jobs stream, of all queues.
    ///
    /// # Errors
    /// JetStream cannot be reached.
    pub async fn last_seq(&self) -> Result<u64, BusError> {
        self.streams().await?;
        Ok(self.requester.stream_info(self.jobs_stream()).await?.state.last_seq)
    }

    /// Whether the stream holds a job of a queue, due or scheduled.
    ///
    /// # Errors
    /// JetStream cannot be reached.
    pub async fn has_jobs(&self, queue: &str) -> Result<bool, BusError> {
        self.streams().await?;
        let which = json!({ "seq": 1, "next_by_subj": format!("jobs.{queue}.>") });
        Ok(self.requester.stored(self.jobs_stream(), &which).await?.is_some())
    }

    /// Removes a queue's jobs, due or scheduled, up to and including the sequence `last`.
    ///
    /// # Errors
    /// JetStream cannot be reached, or refuses.
    pub async fn purge(&self, queue: &str, last: u64) -> Result<(), BusError> {
        let request = format!("$JS.API.STREAM.PURGE.{}", self.jobs_stream());
        let body = json!({ "filter": format!("jobs.{queue}.>"), "seq": last + 1 });
        self.requester.call::<Value>(&request, &body).await?;
        Ok(())
    }
}
