//! Consumers of a queue, asked and told.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::outgoing::subject;
use super::{NatsJobs, QueueCounts};
use crate::bus::BusError;
use crate::bus::nats::api::nanos;
use crate::bus::nats::error::{ApiError, CONSUMER_NOT_FOUND, MESSAGE_NOT_FOUND, STREAM_NOT_FOUND};
use crate::message::LogEntry;

/// The part of `CONSUMER.INFO` that we need.
#[derive(Clone, Debug, Default, Deserialize)]
struct ConsumerInfo {
    #[serde(default)]
    ack_floor: Position,
    #[serde(default)]
    delivered: Position,
    #[serde(default)]
    num_ack_pending: u64,
    #[serde(default)]
    num_pending: u64,
    #[serde(default)]
    created: Option<DateTime<Utc>>,
    /// The server's clock when it answered (since 2.10).
    #[serde(default)]
    ts: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Position {
    #[serde(default)]
    stream_seq: u64,
}

/// The durable consumer of a queue's jobs of one priority.
pub(super) fn consumer(queue: &str, priority: &str) -> String {
    format!("{queue}-{priority}")
}

impl NatsJobs {
    /// Makes a queue's consumers, or gives them these rules.
    ///
    /// # Errors
    /// JetStream cannot be asked, or refuses.
    pub async fn ensure_queue(
        &self,
        queue: &str,
        priorities: &[&str],
        ack_wait: Duration,
        max_deliver: u32,
    ) -> Result<(), BusError> {
        self.streams().await?;
        let stream = &self.config.jobs_stream_name;
        for priority in priorities {
            let name = consumer(queue, priority);
            let body = json!({
                "stream_name": stream,
                "config": {
                    "name": name,
                    "durable_name": name,
                    "description": "work queue of agentbus",
                    "filter_subject": subject(queue, priority),
                    "deliver_policy": "all",
                    "ack_policy": "explicit",
                    "ack_wait": nanos(ack_wait),
                    "max_deliver": max_deliver,
                    "max_ack_pending": -1,
                    "replay_policy": "instant",
                },
            });
            let create =
                format!("$JS.API.CONSUMER.CREATE.{stream}.{name}.{}", subject(queue, priority));
            self.requester.call::<Value>(&create, &body).await?;
        }
        Ok(())
    }

    async fn consumer_info(
        &self,
        queue: &str,
        priority: &str,
    ) -> Result<Option<ConsumerInfo>, BusError> {
        let stream = &self.config.jobs_stream_name;
        let ask = format!("$JS.API.CONSUMER.INFO.{stream}.{}", consumer(queue, priority));
        match self.requester.call(&ask, &Value::Null).await {
            Ok(info) => Ok(Some(info)),
            Err(error) if error.is(CONSUMER_NOT_FOUND) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a consumer is gone, or was made anew within the time that has passed.
    pub(super) async fn was_deleted(
        &self,
        queue: &str,
        priority: &str,
        within: Duration,
    ) -> Result<bool, BusError> {
        let Some(info) = self.consumer_info(queue, priority).await? else { return Ok(true) };
        let age = info.ts.zip(info.created).map(|(now, created)| now - created);
        Ok(age.is_some_and(|age| age.to_std().unwrap_or_default() < within))
    }

    /// What a queue holds.
    ///
    /// # Errors
    /// JetStream cannot be asked.
    pub async fn counts(&self, queue: &str, priorities: &[&str]) -> Result<QueueCounts, BusError> {
        self.streams().await?;
        let mut held = QueueCounts::default();
        for priority in priorities {
            if let Some(info) = self.consumer_info(queue, priority).await? {
                held.waiting += info.num_pending;
                held.pending += info.num_ack_pending;
            }
        }
        held.scheduled = self.scheduled(queue).await?;
        Ok(held)
    }

    /// How many jobs the stream holds, whatever their queue: each message is one, due or scheduled.
    ///
    /// # Errors
    /// JetStream cannot be asked.
    pub async fn total_jobs(&self) -> Result<u64, BusError> {
        match self.requester.stream_info(&self.config.jobs_stream_name).await {
            Ok(info) => Ok(info.state.messages),
            // It is made when a queue first needs it.
            Err(error) if error.is(STREAM_NOT_FOUND) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    async fn scheduled(&self, queue: &str) -> Result<u64, BusError> {
        #[derive(Deserialize)]
        struct Total {
            #[serde(default)]
            total: u64,
        }
        // Counts subjects without naming them: from far behind the last.
        const BEYOND: u64 = 1 << 30;
        let stream = &self.config.jobs_stream_name;
        let body =
            json!({ "subjects_filter": format!("jobs.{queue}.*.later.*"), "offset": BEYOND });
        let ask = format!("$JS.API.STREAM.INFO.{stream}");
        Ok(self.requester.call::<Total>(&ask, &body).await?.total)
    }

    /// The oldest job of a priority that the stream holds, from a sequence on.
    ///
    /// # Errors
    /// JetStream cannot be asked.
    pub async fn oldest(
        &self,
        queue: &str,
        priority: &str,
        from: u64,
    ) -> Result<Option<LogEntry>, BusError> {
        let which = json!({ "seq": from, "next_by_subj": subject(queue, priority) });
        Ok(self.requester.stored(&self.config.jobs_stream_name, &which).await?)
    }

    /// A job that is exhausted for certain: below the consumer's ack floor, or anywhere while
    /// nothing is pending, what was handed out and is still there was given up by JetStream.
    ///
    /// # Errors
    /// JetStream cannot be asked.
    pub async fn exhausted(
        &self,
        queue: &str,
        priority: &str,
    ) -> Result<Option<LogEntry>, BusError> {
        let Some(info) = self.consumer_info(queue, priority).await? else { return Ok(None) };
        // The floor does not pass the last job given up before something else is acked: where
        // nothing is pending at all, all that was ever handed out is settled.
        let settled = if info.num_ack_pending == 0 { info.delivered.stream_seq } else { 0 };
        let floor = info.ack_floor.stream_seq.max(settled);
        if floor == 0 {
            return Ok(None);
        }
        let first = self.oldest(queue, priority, 1).await?;
        Ok(first.filter(|entry| entry.seq <= floor))
    }

    /// Removes a job from the stream, done or not.
    ///
    /// # Errors
    /// JetStream cannot be asked.
    pub async fn remove(&self, seq: u64) -> Result<(), BusError> {
        let subject = format!("$JS.API.STREAM.MSG.DELETE.{}", self.config.jobs_stream_name);
        let body = json!({ "seq": seq, "no_erase": true });
        match self.requester.call::<Value>(&subject, &body).await {
            Ok(_) => Ok(()),
            Err(error) if gone(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a removal failed because there is nothing to remove.
fn gone(error: &ApiError) -> bool {
    error.is(MESSAGE_NOT_FOUND)
        || matches!(error, ApiError::Refused(refusal) if refusal.description.contains("no message found"))
}
