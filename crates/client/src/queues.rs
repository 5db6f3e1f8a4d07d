//! Work queues: each job is leased to one worker at a time.

use std::time::Duration;

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;
use crate::document::{Document, list};
use crate::error::Error;
use crate::limits::LEASE_WAIT;
use crate::pages::Pages;

/// A queue: its configuration and how many jobs it holds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Queue {
    /// The queue's name.
    pub queue: String,
    /// Jobs that can be leased now.
    pub waiting: u64,
    /// Jobs that are leased now.
    pub leased: u64,
    /// Jobs that are not due yet.
    pub delayed: u64,
    /// The age of the oldest job that waits, in seconds.
    pub oldest_age_s: Option<f64>,
    /// Jobs that were given up.
    pub dead_letters: u64,
    /// How long a lease lasts, in seconds.
    pub lease_s: f64,
    /// The most attempts of a job; after the last one it becomes a dead letter.
    pub max_deliver: u64,
    /// Waits between attempts, in seconds; the last wait repeats.
    pub backoff_s: Vec<f64>,
}

/// The configuration of a queue. A field that is `None` or empty gets the server's default.
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
pub struct QueueConfig {
    /// How long a lease lasts, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_s: Option<f64>,
    /// The most attempts of a job; after the last one it becomes a dead letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_deliver: Option<u32>,
    /// Waits between attempts, in seconds; the last wait repeats.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backoff_s: Vec<f64>,
}

/// A job to enqueue.
#[derive(Clone, Debug, Serialize)]
pub struct NewJob {
    /// The job's id. A job that is enqueued again with the same id is a duplicate.
    pub id: Uuid,
    /// The type of the job, for the worker.
    #[serde(rename = "type")]
    pub type_: String,
    /// The data that the worker needs.
    pub payload: Value,
    /// `high`, `normal` or `low`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// How many seconds after enqueueing the job can be leased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_s: Option<f64>,
}

impl NewJob {
    /// A job with a new id.
    #[must_use]
    pub fn new(type_: &str, payload: Value) -> Self {
        let (id, type_) = (Uuid::now_v7(), type_.to_owned());
        Self { id, type_, payload, priority: None, delay_s: None }
    }
}

/// The acknowledgement of a job.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Enqueued {
    /// The job's id.
    pub job_id: String,
    /// The job's sequence in its queue.
    pub seq: u64,
    /// Whether the job had already been enqueued.
    pub duplicate: bool,
}

/// A leased job.
#[derive(Clone, Debug, Deserialize)]
pub struct Job {
    /// The job's id.
    pub job_id: String,
    /// The type of the job, for the worker.
    #[serde(rename = "type")]
    pub type_: String,
    /// The data that the worker needs.
    pub payload: Box<RawValue>,
    /// `high`, `normal` or `low`.
    #[serde(default)]
    pub priority: Option<String>,
    /// The number of this attempt; the first is 1.
    pub attempt: u64,
    /// When the job was enqueued (RFC 3339).
    pub enqueued_at: String,
    /// The trace of who enqueued the job (W3C Trace Context). With the feature `opentelemetry` a worker runs its handler
    /// in it.
    #[serde(default)]
    pub traceparent: Option<String>,
    /// What tracing systems add to `traceparent`.
    #[serde(default)]
    pub tracestate: Option<String>,
    /// The token that ends or extends the lease.
    pub lease_token: String,
    /// When the lease ends (RFC 3339).
    pub lease_expires_at: String,
}

impl Job {
    /// The payload as a value of this type.
    ///
    /// # Errors
    /// [`Error::Content`]: the payload does not have this form.
    pub fn payload_as<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(self.payload.get()).map_err(|error| {
            let Self { job_id, type_, .. } = self;
            Error::Content(format!("the payload of job {job_id} is not of type {type_}: {error}"))
        })
    }
}

/// What to do with a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseAction {
    /// The job is done.
    Ack,
    /// The job failed: try it again after a delay.
    Nack,
    /// The job failed for good: make it a dead letter now.
    Fail,
    /// The worker needs more time: extend the lease.
    Extend,
}

/// Details of a [`LeaseAction`].
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
pub struct LeaseOptions {
    /// Why the job failed, for [`LeaseAction::Nack`] and [`LeaseAction::Fail`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds before the next attempt, for [`LeaseAction::Nack`]; `None` for the queue's backoff.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_s: Option<f64>,
    /// How many seconds from now the lease lasts, for [`LeaseAction::Extend`]; `None` for the queue's own
    /// time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_s: Option<f64>,
}

impl Client {
    /// All queues, by name.
    #[must_use]
    pub fn queues(&self) -> Pages<Queue> {
        self.pages("/v1/queues", "queues", Vec::new(), None)
    }

    /// One queue.
    ///
    /// # Errors
    /// There is no queue with this name, or the server refuses or cannot be reached.
    pub async fn queue(&self, name: &str) -> Result<Document<Queue>, Error> {
        self.call(self.get(&path(name), &[])).await.map(Document::new)
    }

    /// Creates a queue or replaces its configuration.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn set_queue(&self, name: &str, config: &QueueConfig) -> Result<(), Error> {
        self.call(self.request(Method::PUT, &path(name), &[]).json(config)).await.map(drop)
    }

    /// Deletes an empty queue; with `force`, also a queue with waiting or delayed jobs, and these jobs. Dead
    /// letters stay.
    ///
    /// # Errors
    /// There is no queue with this name, it has leased jobs, or the server refuses or cannot be reached.
    pub async fn delete_queue(&self, name: &str, force: bool) -> Result<(), Error> {
        let query = [("force", force.to_string())];
        self.call_ending(self.request(Method::DELETE, &path(name), &query), 404).await.map(drop)
    }

    /// Puts a job into a queue. Creates the queue if it does not exist.
    ///
    /// # Errors
    /// The server refuses or cannot be reached. After a transient error the job may be in the queue. Enqueue
    /// it again with the same id: the queue will have it once.
    pub async fn enqueue(&self, queue: &str, job: &NewJob) -> Result<Document<Enqueued>, Error> {
        let request = self.post(&format!("{}/jobs", path(queue)), job);
        self.call(request).await.map(Document::new)
    }

    /// Leases up to `max` jobs. Waits up to `wait` for the first one; returns an empty list if there was
    /// none. `worker` is the worker's name, which the server records with the lease.
    ///
    /// # Errors
    /// The server refuses or cannot be reached. Jobs in a response that was lost are redelivered when their
    /// leases end.
    pub async fn lease(
        &self,
        queue: &str,
        max: u64,
        wait: Duration,
        worker: Option<&str>,
    ) -> Result<Vec<Document<Job>>, Error> {
        let path = format!("{}/lease", path(queue));
        let mut left = wait;
        loop {
            let part = left.min(LEASE_WAIT);
            left -= part;
            let mut body = json!({ "max": max, "wait_s": part.as_secs_f64() });
            if let Some(worker) = worker {
                body["worker"] = worker.into();
            }
            let body = self.call_waiting(self.post(&path, &body), part).await?;
            if !body.is_empty() {
                return list(&body, "jobs");
            }
            if left.is_zero() {
                return Ok(Vec::new());
            }
        }
    }

    /// Ends or extends a lease. Returns the server's response. If the response to an end is lost and the next one says
    /// that the lease has ended, it counts as ended by this call.
    ///
    /// # Errors
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost): the lease ran out or was already ended. Otherwise the server refuses or cannot be
    /// reached.
    pub async fn settle(
        &self,
        lease_token: &str,
        action: LeaseAction,
        options: &LeaseOptions,
    ) -> Result<Document<Value>, Error> {
        let name = match action {
            LeaseAction::Ack => "ack",
            LeaseAction::Nack => "nack",
            LeaseAction::Fail => "fail",
            LeaseAction::Extend => "extend",
        };
        let request = self.post(&format!("/v1/leases/{lease_token}/{name}"), options);
        match action {
            LeaseAction::Extend => self.call(request).await,
            _ => self.call_ending(request, 410).await,
        }
        .map(Document::new)
    }
}

fn path(queue: &str) -> String {
    format!("/v1/queues/{queue}")
}
