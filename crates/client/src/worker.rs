//! A worker: leases the jobs of one queue, and runs a handler for each.
//!
//! Invariant: a job is acknowledged only after its handler has succeeded. While a handler runs, its lease is extended; if
//! the lease is lost, the handler is dropped, for another worker may have the job. At least once: make the work bear a
//! repeat.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::client::Client;
use crate::error::Error;
use crate::job_error::JobError;
use crate::job_run::{Ended, JobRun, give_back};
use crate::limits::{DEFAULT_LEASE, LEASE_TIME_AGE, LEASE_WAIT, STOP_WITHIN};
use crate::notice::Notice;
use crate::queues::Job;

/// A worker of one queue. [`Worker::run`] starts it.
#[derive(Clone, Debug)]
#[must_use]
pub struct Worker {
    client: Client,
    queue: String,
    name: Option<String>,
    concurrency: usize,
    stop_within: Duration,
}

/// What a worker has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkReport {
    /// Jobs that are done.
    pub done: u64,
    /// Failed attempts that are tried again, also those that were cut short by the stop.
    pub retried: u64,
    /// Jobs that failed for good.
    pub failed: u64,
    /// Jobs whose end the server has not taken: the lease was lost, or the server was away too long.
    pub lost: u64,
}

/// How long leases of the queue last.
struct LeaseTime {
    lasts: Duration,
    known_since: Option<Instant>,
}

impl Client {
    /// A worker of this queue.
    pub fn worker(&self, queue: &str) -> Worker {
        Worker {
            client: self.clone(),
            queue: queue.to_owned(),
            name: None,
            concurrency: 1,
            stop_within: STOP_WITHIN,
        }
    }
}

impl Worker {
    /// Sets how many jobs are handled side by side; 1 unless set.
    pub fn concurrency(mut self, jobs: usize) -> Self {
        self.concurrency = jobs.max(1);
        self
    }

    /// Sets the name of the worker, which the server records with its leases. A key must be allowed to write as it.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Sets how long handlers may run on after the stop; 30 s unless set. Then they are dropped, and their jobs go back
    /// to the queue.
    pub fn stop_within(mut self, span: Duration) -> Self {
        self.stop_within = span;
        self
    }

    /// Handles jobs until `stop` completes. Then no job is leased any more, and the handlers that run may end (see
    /// [`Worker::stop_within`]). It waits for the server through any outage once it has reached it.
    ///
    /// If the handler succeeds, the job is acknowledged. If it fails, it is tried again or becomes a dead letter, as
    /// [`JobError`] says; a panic is an error too.
    ///
    /// # Errors
    /// The server refuses leases (such as [`Forbidden`](crate::ErrorKind::Forbidden)), or was never reached in the time
    /// for which the client retries. Handlers that run are ended as after a stop.
    pub async fn run<F, R>(
        self,
        handler: F,
        stop: impl Future<Output = ()>,
    ) -> Result<WorkReport, Error>
    where
        F: Fn(Job) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), JobError>> + Send + 'static,
    {
        let (cut, is_cut) = watch::channel(false);
        let mut running = Running { jobs: JoinSet::new(), report: WorkReport::default() };
        let worked = self.lease_and_run(Arc::new(handler), stop, &mut running, &is_cut).await;
        running.finish(self.stop_within, &cut).await;
        worked.map(|()| running.report)
    }

    async fn lease_and_run<F, R>(
        &self,
        handler: Arc<F>,
        stop: impl Future<Output = ()>,
        running: &mut Running,
        is_cut: &watch::Receiver<bool>,
    ) -> Result<(), Error>
    where
        F: Fn(Job) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), JobError>> + Send + 'static,
    {
        let mut stop = pin!(stop);
        let mut lease_time = LeaseTime { lasts: DEFAULT_LEASE, known_since: None };
        let mut backoff: Option<Backoff> = None;
        loop {
            let free = self.concurrency - running.jobs.len();
            if free == 0 {
                tokio::select! {
                    biased;
                    () = &mut stop => return Ok(()),
                    () = running.next() => continue,
                }
            }
            let mut lease = pin!(self.lease(free));
            let mut is_stopping = false;
            // The request is not cancelled by a stop: jobs in its response would wait for the end of their leases.
            let leased = loop {
                tokio::select! {
                    biased;
                    () = &mut stop, if !is_stopping => is_stopping = true,
                    leased = &mut lease => break leased,
                    () = running.next(), if !running.jobs.is_empty() => {}
                }
            };
            match leased {
                Ok(jobs) if is_stopping => {
                    give_back(&self.client, &jobs).await;
                    return Ok(());
                }
                Ok(jobs) => {
                    if backoff.replace(Backoff::new(Duration::MAX)).is_none() {
                        self.client.check_version().await;
                    }
                    if !jobs.is_empty() {
                        lease_time.learn(&self.client, &self.queue).await;
                    }
                    for job in jobs {
                        let work = handler(job.clone());
                        let (client, lasts) = (self.client.clone(), lease_time.lasts);
                        let run = JobRun { client, job, lasts, is_cut: is_cut.clone() };
                        running.jobs.spawn(run.run(work));
                    }
                }
                Err(_) if is_stopping => return Ok(()),
                // A client that was never answered gives up, as it does everywhere.
                Err(error) if error.is_transient() => match &mut backoff {
                    None => return Err(error),
                    Some(backoff) => {
                        let wait = backoff.next_wait(error.retry_after()).unwrap_or(LEASE_WAIT);
                        tokio::select! {
                            () = &mut stop => return Ok(()),
                            () = tokio::time::sleep(wait) => {}
                        }
                    }
                },
                Err(error) => return Err(error),
            }
        }
    }

    async fn lease(&self, max: usize) -> Result<Vec<Job>, Error> {
        let name = self.name.as_deref();
        let max = u64::try_from(max).unwrap_or(u64::MAX).min(1_000);
        let jobs = self.client.lease(&self.queue, max, LEASE_WAIT, name).await?;
        jobs.iter().map(|job| job.parse()).collect()
    }
}

/// The jobs that are being handled.
struct Running {
    jobs: JoinSet<Ended>,
    report: WorkReport,
}

impl Running {
    /// Waits for the end of one job.
    async fn next(&mut self) {
        if let Some(ended) = self.jobs.join_next().await {
            let counter = match ended {
                Ok(Ended::Done) => &mut self.report.done,
                Ok(Ended::Retried) => &mut self.report.retried,
                Ok(Ended::Failed) => &mut self.report.failed,
                Ok(Ended::Lost) | Err(_) => &mut self.report.lost,
            };
            *counter += 1;
        }
    }

    /// Waits for the end of all jobs. After `within`, their handlers are dropped.
    async fn finish(&mut self, within: Duration, cut: &watch::Sender<bool>) {
        let all = async {
            while !self.jobs.is_empty() {
                self.next().await;
            }
        };
        let in_time = tokio::time::timeout(within, all).await;
        if in_time.is_err() {
            cut.send_replace(true);
            while !self.jobs.is_empty() {
                self.next().await;
            }
        }
    }
}

impl LeaseTime {
    /// Asks the server how long leases last, unless it did so a moment ago: the settings of a queue can change.
    async fn learn(&mut self, client: &Client, queue: &str) {
        if self.known_since.is_some_and(|since| since.elapsed() < LEASE_TIME_AGE) {
            return;
        }
        let queue = client.queue(queue).await.and_then(|queue| queue.parse());
        let seconds = queue.as_ref().map_or(f64::NAN, |queue| queue.lease_s);
        if let Ok(lasts) = Duration::try_from_secs_f64(seconds) {
            *self = Self { lasts, known_since: Some(Instant::now()) };
        } else if let Err(error) = &queue {
            client.notify(&Notice::Retrying(error));
        }
    }
}
