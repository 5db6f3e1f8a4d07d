//! A queue's way out of JetStream: its deliveries stopped, its jobs and its consumers removed.
//!
//! Invariant: nothing is removed that came in after the sequence that the caller names, and a
//! consumer goes only when the caller has seen that nothing is pending there.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::NatsJobs;
use super::api::consumer;
use crate::bus::BusError;
use crate::bus::nats::error::{CONSUMER_NOT_FOUND, STREAM_NOT_FOUND};

/// First server that can pause a consumer.
const PAUSE_SINCE: (u64, u64) = (2, 11);

impl NatsJobs {
    /// Holds back a queue's deliveries: what is asked for meanwhile is not handed out. It ends by
    /// itself after a while, or at once with `None`. A server before 2.11 cannot.
    ///
    /// # Errors
    /// JetStream cannot be asked, or refuses.
    pub async fn pause(
        &self,
        queue: &str,
        priorities: &[&str],
        until: Option<DateTime<Utc>>,
    ) -> Result<(), BusError> {
        if self.requester.connection.server_version() < PAUSE_SINCE {
            return Ok(());
        }
        let body = until.map_or(
            json!({}),
            |until| json!({ "pause_until": until.to_rfc3339_opts(SecondsFormat::Micros, true) }),
        );
        self.of_each("PAUSE", queue, priorities, &body).await
    }

    /// Removes a queue's consumers.
    ///
    /// # Errors
    /// JetStream cannot be asked, or refuses.
    pub async fn remove_consumers(&self, queue: &str, priorities: &[&str]) -> Result<(), BusError> {
        self.of_each("DELETE", queue, priorities, &Value::Null).await
    }

    /// Asks something of each consumer that is there.
    async fn of_each(
        &self,
        what: &str,
        queue: &str,
        priorities: &[&str],
        body: &Value,
    ) -> Result<(), BusError> {
        let stream = &self.config.jobs_stream_name;
        for priority in priorities {
            let ask = format!("$JS.API.CONSUMER.{what}.{stream}.{}", consumer(queue, priority));
            match self.requester.call::<Value>(&ask, body).await {
                Ok(_) => {}
                Err(error) if error.is(CONSUMER_NOT_FOUND) || error.is(STREAM_NOT_FOUND) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The last sequence that the stream has given.
    ///
    /// # Errors
    /// JetStream cannot be asked.
    pub async fn last_seq(&self) -> Result<u64, BusError> {
        self.streams().await?;
        Ok(self.requester.stream_info(&self.config.jobs_stream_name).await?.state.last_seq)
    }

    /// Whether the stream holds a job of a queue, or will when its time has come.
    ///
    /// # Errors
    /// JetStream cannot be asked.
    pub async fn has_jobs(&self, queue: &str) -> Result<bool, BusError> {
        self.streams().await?;
        let which = json!({ "seq": 1, "next_by_subj": format!("jobs.{queue}.>") });
        Ok(self.requester.stored(&self.config.jobs_stream_name, &which).await?.is_some())
    }

    /// Removes a queue's jobs, those that wait for their time among them, up to a sequence.
    ///
    /// # Errors
    /// JetStream cannot be asked, or refuses.
    pub async fn purge(&self, queue: &str, last: u64) -> Result<(), BusError> {
        let ask = format!("$JS.API.STREAM.PURGE.{}", self.config.jobs_stream_name);
        let body = json!({ "filter": format!("jobs.{queue}.>"), "seq": last + 1 });
        self.requester.call::<Value>(&ask, &body).await?;
        Ok(())
    }
}
