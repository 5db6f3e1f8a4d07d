//! The consumers of a queue, one per priority.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::client::NatsJobs;
use super::outgoing::{PRIORITIES, subject};
use crate::bus::BusError;
use crate::bus::nats::api::nanos;
use crate::bus::nats::consumer_api::ConsumerInfo;
use crate::bus::nats::error::STREAM_NOT_FOUND;
use crate::message::LogEntry;

/// An offset beyond the last subject. With it, `STREAM.INFO` counts the subjects without listing them.
const BEYOND_LAST_SUBJECT: u64 = 1 << 30;

/// A queue's jobs, counted by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Never delivered.
    pub waiting: u64,
    /// Delivered, and neither acknowledged nor given up: leased, or nacked with a delay that still runs.
    pub pending: u64,
    /// Delayed since they were enqueued.
    pub scheduled: u64,
}

/// The name of the durable consumer for a queue's jobs of one priority.
pub(super) fn consumer(queue: &str, priority: &str) -> String {
    format!("{queue}-{priority}")
}

impl NatsJobs {
    /// Creates a queue's consumers or updates their configuration.
    ///
    /// # Errors
    /// JetStream cannot be reached, or refuses.
    pub async fn ensure_queue(
        &self,
        queue: &str,
        ack_wait: Duration,
        max_deliver: u32,
    ) -> Result<(), BusError> {
        self.streams().await?;
        for priority in PRIORITIES {
            let (name, subject) = (consumer(queue, priority), subject(queue, priority));
            let config = json!({
                "durable_name": name,
                "description": "work queue of agentbus",
                "filter_subject": subject,
                "deliver_policy": "all",
                "ack_wait": nanos(ack_wait),
                "max_deliver": max_deliver,
                "max_ack_pending": -1,
            });
            let target = format!("{name}.{subject}");
            self.requester.create_consumer(self.jobs_stream(), &target, config).await?;
        }
        Ok(())
    }

    async fn info(&self, queue: &str, priority: &str) -> Result<Option<ConsumerInfo>, BusError> {
        let name = consumer(queue, priority);
        Ok(self.requester.consumer_info(self.jobs_stream(), &name).await?)
    }

    /// Whether a consumer does not exist, or has existed for less than `within`, so that it was missing
    /// before.
    pub(super) async fn was_deleted(
        &self,
        queue: &str,
        priority: &str,
        within: Duration,
    ) -> Result<bool, BusError> {
        let Some(info) = self.info(queue, priority).await? else { return Ok(true) };
        let age = info.ts.zip(info.created).map(|(now, created)| now - created);
        Ok(age.is_some_and(|age| age.to_std().unwrap_or_default() < within))
    }

    /// Counts a queue's jobs.
    ///
    /// # Errors
    /// JetStream cannot be reached.
    pub async fn counts(&self, queue: &str) -> Result<QueueCounts, BusError> {
        #[derive(Deserialize)]
        struct Subjects {
            #[serde(default)]
            total: u64,
        }
        self.streams().await?;
        let mut counts = QueueCounts::default();
        for priority in PRIORITIES {
            if let Some(info) = self.info(queue, priority).await? {
                counts.waiting += info.num_pending;
                counts.pending += info.num_ack_pending;
            }
        }
        let scheduled = format!("jobs.{queue}.*.later.*");
        let body = json!({ "subjects_filter": scheduled, "offset": BEYOND_LAST_SUBJECT });
        let request = format!("$JS.API.STREAM.INFO.{}", self.jobs_stream());
        counts.scheduled = self.requester.call::<Subjects>(&request, &body).await?.total;
        Ok(counts)
    }

    /// How many jobs the stream holds, of all queues: each message is one job, due or scheduled.
    ///
    /// # Errors
    /// JetStream cannot be reached.
    pub async fn total_jobs(&self) -> Result<u64, BusError> {
        match self.requester.stream_info(self.jobs_stream()).await {
            Ok(info) => Ok(info.state.messages),
            // The stream is created when a queue first needs it.
            Err(error) if error.is(STREAM_NOT_FOUND) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// The oldest due job of this priority in the queue.
    ///
    /// # Errors
    /// JetStream cannot be reached.
    pub async fn oldest(&self, queue: &str, priority: &str) -> Result<Option<LogEntry>, BusError> {
        let which = json!({ "seq": 1, "next_by_subj": subject(queue, priority) });
        Ok(self.requester.stored(self.jobs_stream(), &which).await?)
    }

    /// A job of this priority that JetStream has certainly given up: it was delivered, it is still in the
    /// stream, and its sequence is at or below the consumer's ack floor.
    ///
    /// # Errors
    /// JetStream cannot be reached.
    pub async fn given_up(
        &self,
        queue: &str,
        priority: &str,
    ) -> Result<Option<LogEntry>, BusError> {
        let Some(info) = self.info(queue, priority).await? else { return Ok(None) };
        // The ack floor passes a job that was given up only at the next ack. But while no delivery is
        // pending, everything that was delivered is settled.
        let settled = if info.num_ack_pending == 0 { info.delivered.stream_seq } else { 0 };
        let floor = info.ack_floor.stream_seq.max(settled);
        if floor == 0 {
            return Ok(None);
        }
        let oldest = self.oldest(queue, priority).await?;
        Ok(oldest.filter(|job| job.seq <= floor))
    }

    /// Sends a request about each of a queue's consumers. Those that do not exist are skipped.
    pub(super) async fn request_of_each(
        &self,
        verb: &str,
        queue: &str,
        body: &Value,
    ) -> Result<(), BusError> {
        for priority in PRIORITIES {
            let name = consumer(queue, priority);
            self.requester.request_of_consumer(verb, self.jobs_stream(), &name, body).await?;
        }
        Ok(())
    }
}
