//! One run of one job: its handler, the extensions of its lease, and its end.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::client::Client;
use crate::job_error::JobError;
use crate::kind::ErrorKind;
use crate::limits::{REASON_BYTES, SHORTEST_EXTENSION};
use crate::notice::Notice;
use crate::queues::{Job, LeaseAction, LeaseOptions};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The job is acknowledged.
    Done,
    /// The job went back to its queue.
    Retried,
    /// The job is a dead letter.
    Failed,
    /// The server has not taken the end.
    Lost,
}

/// A job and what its run needs.
pub(crate) struct JobRun {
    pub client: Client,
    pub job: Job,
    /// How long its lease lasts.
    pub lasts: Duration,
    /// Becomes true when handlers are to be dropped.
    pub is_cut: watch::Receiver<bool>,
}

/// Aborts the task of a handler when its run is dropped.
struct Aborts(AbortHandle);

impl Drop for Aborts {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl JobRun {
    /// Runs the handler's future, and tells the server how it ended.
    pub async fn run(
        mut self,
        work: impl Future<Output = Result<(), JobError>> + Send + 'static,
    ) -> Ended {
        #[cfg(feature = "opentelemetry")]
        let work = crate::trace::continued(&self.job, work);
        // A task of its own, so that a panic is an error.
        let mut task = tokio::spawn(work);
        let aborts = Aborts(task.abort_handle());
        let is_cut = &mut self.is_cut;
        let result = tokio::select! {
            biased;
            done = &mut task => done.unwrap_or_else(|_| Err(JobError::retry("the handler panicked"))),
            () = keep(&self.client, &self.job, self.lasts) => {
                self.client.notify(&Notice::LeaseLost(&self.job.job_id));
                return Ended::Lost;
            }
            _ = is_cut.wait_for(|is_cut| *is_cut) => {
                let reason = "the worker stopped before the job was done";
                Err(JobError::retry_after(reason, Duration::ZERO))
            }
        };
        drop(aborts);
        self.settle(result).await
    }

    async fn settle(&self, result: Result<(), JobError>) -> Ended {
        let (action, ended, options) = match result {
            Ok(()) => (LeaseAction::Ack, Ended::Done, LeaseOptions::default()),
            Err(error) => {
                self.client.notify(&Notice::JobFailed(&self.job.job_id, &error.reason));
                let reason = Some(cut(&error.reason, REASON_BYTES).to_owned());
                let delay_s = error.delay.map(|delay| delay.as_secs_f64());
                if error.is_permanent() {
                    let options = LeaseOptions { reason, ..LeaseOptions::default() };
                    (LeaseAction::Fail, Ended::Failed, options)
                } else {
                    let options = LeaseOptions { reason, delay_s, ..LeaseOptions::default() };
                    (LeaseAction::Nack, Ended::Retried, options)
                }
            }
        };
        match self.client.settle(&self.job.lease_token, action, &options).await {
            Ok(_) => ended,
            Err(error) => {
                if error.kind() == ErrorKind::LeaseLost {
                    self.client.notify(&Notice::LeaseLost(&self.job.job_id));
                } else {
                    self.client.notify(&Notice::JobFailed(&self.job.job_id, &error.to_string()));
                }
                Ended::Lost
            }
        }
    }
}

/// Extends the lease of a job each third of its time. Ends when the lease is lost.
async fn keep(client: &Client, job: &Job, lasts: Duration) {
    let every = (lasts / 3).max(SHORTEST_EXTENSION);
    loop {
        tokio::time::sleep(every).await;
        let extended =
            client.settle(&job.lease_token, LeaseAction::Extend, &LeaseOptions::default()).await;
        if extended.is_err_and(|error| error.kind() == ErrorKind::LeaseLost) {
            return;
        }
    }
}

/// Returns jobs to their queue, for other workers to take at once.
pub(crate) async fn give_back(client: &Client, jobs: &[Job]) {
    let reason = Some("the worker is stopping".to_owned());
    let options = LeaseOptions { reason, delay_s: Some(0.0), lease_s: None };
    for job in jobs {
        // If this fails, the job comes back at the end of its lease.
        let _ = client.settle(&job.lease_token, LeaseAction::Nack, &options).await;
    }
}

/// The first bytes of a text, whole characters.
fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("abc", 5), "abc");
        assert_eq!(cut("a\u{e9}b", 2), "a");
        assert_eq!(cut("a\u{e9}b", 3), "a\u{e9}");
    }
}
