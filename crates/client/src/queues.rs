//! Work queues: each job is leased to one worker at a time.

use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;
use crate::document::{Document, list};
use crate::error::Error;
use crate::limits::LEASE_WAIT;
use crate::pages::Pages;

/// A queue: its configuration and what it holds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Queue {
    /// Its name.
    pub queue: String,
    /// Jobs that can be leased.
    pub waiting: u64,
    /// Jobs that are leased.
    pub leased: u64,
    /// Jobs whose time has not come.
    pub delayed: u64,
    /// Age of the oldest waiting job, in seconds.
    pub oldest_age_s: Option<f64>,
    /// Jobs given up.
    pub dead_letters: u64,
    /// How long a lease lasts, in seconds.
    pub lease_s: f64,
    /// Attempts before a job is a dead letter.
    pub max_deliver: u64,
    /// Waits between attempts, in seconds; the last one repeats.
    pub backoff_s: Vec<f64>,
}

/// The configuration of a queue; what is `None` or empty has the server's default.
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
pub struct QueueConfig {
    /// How long a lease lasts, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_s: Option<f64>,
    /// Attempts before a job is a dead letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_deliver: Option<u32>,
    /// Waits between attempts, in seconds; the last one repeats.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backoff_s: Vec<f64>,
}

/// A job to enqueue.
#[derive(Clone, Debug, Serialize)]
pub struct NewJob {
    /// Identifies the job: enqueued again, it is the same one.
    pub id: Uuid,
    /// What kind of job it is.
    #[serde(rename = "type")]
    pub type_: String,
    /// What the worker needs.
    pub payload: Value,
    /// `high`, `normal` or `low`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// Seconds before it can be leased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_s: Option<f64>,
}

impl NewJob {
    /// A job with a fresh id.
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
    /// Its id.
    pub job_id: String,
    /// Its sequence in its queue.
    pub seq: u64,
}

/// A leased job.
#[derive(Clone, Debug, Deserialize)]
pub struct Job {
    /// Its id.
    pub job_id: String,
    /// What kind of job it is.
    #[serde(rename = "type")]
    pub type_: String,
    /// What the worker needs.
    pub payload: Box<RawValue>,
    /// Which attempt this is, from 1.
    pub attempt: u64,
    /// When it was enqueued (RFC 3339).
    pub enqueued_at: String,
    /// Ends or extends the lease.
    pub lease_token: String,
    /// When the lease ends (RFC 3339).
    pub lease_expires_at: String,
}

/// What to do with a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseAction {
    /// The job is done.
    Ack,
    /// The job is redelivered, after the given delay or the queue's backoff.
    Nack,
    /// The job is a dead letter now.
    Fail,
    /// The lease lasts longer.
    Extend,
}

/// Details of a [`LeaseAction`].
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
pub struct LeaseOptions {
    /// Why, for [`LeaseAction::Nack`] and [`LeaseAction::Fail`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds before redelivery, for [`LeaseAction::Nack`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_s: Option<f64>,
    /// Seconds from now that the lease lasts, for [`LeaseAction::Extend`]; `None` is the queue's own.
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
    /// There is none, the server refuses or cannot be reached.
    pub async fn queue(&self, name: &str) -> Result<Document<Queue>, Error> {
        self.call(self.get(&path(name), &[])).await.map(Document::new)
    }

    /// Makes a queue, or replaces its configuration.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn set_queue(&self, name: &str, config: &QueueConfig) -> Result<(), Error> {
        self.call(self.request(Method::PUT, &path(name), &[]).json(config)).await.map(drop)
    }

    /// Deletes an empty queue; with `force` also one whose jobs wait or are delayed, with those jobs. Dead letters
    /// stay.
    ///
    /// # Errors
    /// There is none, it holds leased jobs, the server refuses or cannot be reached.
    pub async fn delete_queue(&self, name: &str, force: bool) -> Result<(), Error> {
        let query = [("force", force.to_string())];
        self.call(self.request(Method::DELETE, &path(name), &query)).await.map(drop)
    }

    /// Puts a job into a queue, which is made if there is none.
    ///
    /// # Errors
    /// The server refuses or cannot be reached. After a transient error it may be in the queue: enqueue it again,
    /// with the same id, to be sure of one.
    pub async fn enqueue(&self, queue: &str, job: &NewJob) -> Result<Document<Enqueued>, Error> {
        let request = self.post(&format!("{}/jobs", path(queue)), job);
        self.call(request).await.map(Document::new)
    }

    /// Leases up to `max` jobs; waits up to `wait` for the first. Empty if there was none. `worker` is the name
    /// that the lease is recorded under.
    ///
    /// # Errors
    /// The server refuses or cannot be reached. Jobs whose response was lost are redelivered when their leases end.
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
            let body = self.call(self.post(&path, &body)).await?;
            if !body.is_empty() {
                return list(&body, "jobs");
            }
            if left.is_zero() {
                return Ok(Vec::new());
            }
        }
    }

    /// Ends a lease or extends it; the response of the server.
    ///
    /// # Errors
    /// Code `lease_lost`: it has ended or was settled. Else the server refuses or cannot be reached.
    pub async fn settle(
        &self,
        lease_token: &str,
        action: LeaseAction,
        options: &LeaseOptions,
    ) -> Result<Document<Value>, Error> {
        let action = match action {
            LeaseAction::Ack => "ack",
            LeaseAction::Nack => "nack",
            LeaseAction::Fail => "fail",
            LeaseAction::Extend => "extend",
        };
        let request = self.post(&format!("/v1/leases/{lease_token}/{action}"), options);
        self.call(request).await.map(Document::new)
    }
}

fn path(queue: &str) -> String {
    format!("/v1/queues/{queue}")
}
