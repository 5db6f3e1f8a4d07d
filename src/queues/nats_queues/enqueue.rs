//! Puts jobs into JetStream: new ones, and those redriven from dead letters.

use super::entry::msg_id;
use super::queues::NatsQueues;
use crate::bus::Ack;
use crate::bus::nats::jobs::OutgoingJob;
use crate::queues::{Enqueued, Job, NewJob, QueueError, content};
use crate::store::jobs::QueueRow;
use crate::store::work::DeadLetter;

impl NatsQueues {
    /// Enqueues jobs. `encoded` has the encodings in the same order. Returns one result for each.
    pub(super) async fn enqueue_all(
        &self,
        queue: &str,
        new: &[NewJob],
        encoded: &[Job],
    ) -> Result<Vec<Result<Enqueued, QueueError>>, QueueError> {
        let row = self.create_ready(queue).await?;
        let delays = self.jobs.delays().await?;
        let pairs = || new.iter().zip(encoded);
        let refusals: Vec<Option<QueueError>> =
            pairs().map(|(new, job)| refusal(new, job, &delays)).collect();
        let outgoing: Vec<OutgoingJob> = pairs()
            .zip(&refusals)
            .filter(|(_, refusal)| refusal.is_none())
            .map(|((new, job), _)| self.outgoing(&row, new, job))
            .collect();
        let mut acks = self.publish(&outgoing).await.into_iter();
        // `row` may come from the cache, and the queue may have been deleted since.
        self.unverified.lock().insert(queue.to_owned(), tokio::time::Instant::now());
        let mut results = Vec::with_capacity(encoded.len());
        for ((new, job), refusal) in pairs().zip(refusals) {
            results.push(match refusal {
                Some(refusal) => Err(refusal),
                None => match acks.next() {
                    Some(Ok(ack)) => self.enqueued(&row, new, job, ack).await,
                    Some(Err(source)) => Err(QueueError::Bus { id: job.id, source }),
                    None => Err(QueueError::Overloaded),
                },
            });
        }
        Ok(results)
    }

    /// Builds the message to publish for a new job.
    fn outgoing(&self, row: &QueueRow, new: &NewJob, job: &Job) -> OutgoingJob {
        let msg_id = msg_id(row, job.id);
        let body = job.body.clone();
        let due = OutgoingJob {
            id_is_clients: new.id.is_some(),
            trace: new.trace.clone(),
            ..OutgoingJob::new(&row.name, job.priority.as_str(), msg_id, body)
        };
        if new.delay.is_zero() { due } else { due.delayed(self.clock.now() + new.delay) }
    }

    /// The result for a job that JetStream acknowledged.
    async fn enqueued(
        &self,
        row: &QueueRow,
        new: &NewJob,
        job: &Job,
        mut ack: Ack,
    ) -> Result<Enqueued, QueueError> {
        let (id, mut incarnation) = (job.id, row.incarnation);
        while ack.duplicate {
            if let Some(first) = self.jobs.entry(ack.seq).await? {
                if content(&first.payload) != job.content() {
                    return Err(QueueError::Conflict { id, seq: ack.seq });
                }
                break;
            }
            // The stream no longer has the first job, so the contents cannot be compared: the same id counts
            // as the same job. But if the queue was deleted with that job and created again, this is a new
            // job.
            self.configs.reload(&row.name).await?;
            let now = self.create_ready(&row.name).await?;
            if now.incarnation == incarnation {
                break;
            }
            incarnation = now.incarnation;
            let sent = self.publish(&[self.outgoing(&now, new, job)]).await.pop();
            ack = sent
                .ok_or(QueueError::Overloaded)?
                .map_err(|source| QueueError::Bus { id, source })?;
        }
        Ok(Enqueued { id, seq: ack.seq, duplicate: ack.duplicate })
    }

    /// Publishes the job of a dead letter, then discards the dead letter. Returns whether the dead letter
    /// still existed.
    pub(super) async fn redrive_job(&self, letter: &DeadLetter) -> Result<bool, QueueError> {
        let job = Job::decode(&letter.body).map_err(|_| QueueError::Undecodable)?;
        // `letter` may have been read long ago, and the stream recognises duplicates only within a window.
        if self.store.dead_letter(letter.id).await?.is_none() {
            return Ok(false);
        }
        let row = self.create_ready(&letter.source).await?;
        // Neither the job's own id, which the stream may still know, nor an id that a client can choose.
        let msg_id = format!("redrive/{}", msg_id(&row, letter.id));
        let outgoing = OutgoingJob::new(&letter.source, job.priority.as_str(), msg_id, job.body);
        let ack = self.publish(std::slice::from_ref(&outgoing)).await.pop();
        let ack = ack.ok_or(QueueError::Overloaded)?;
        let ack = ack.map_err(|source| QueueError::Bus { id: job.id, source })?;
        // A duplicate means that an earlier redrive published the job, unless another NATS client used this
        // id. If the stream no longer has that entry, the redriven job has been done.
        if ack.duplicate
            && let Some(first) = self.jobs.entry(ack.seq).await?
            && (first.payload != outgoing.body || first.subject.as_str() != outgoing.subject)
        {
            return Err(QueueError::Conflict { id: job.id, seq: ack.seq });
        }
        self.wake(&letter.source);
        Ok(self.store.discard_dead_letter(letter.id).await?)
    }
}

/// Why a job cannot be published; `None` if it can.
fn refusal(new: &NewJob, job: &Job, delays: &Result<(), String>) -> Option<QueueError> {
    if let Some(bytes) = job.excess() {
        return Some(QueueError::TooLarge { bytes });
    }
    let reason = delays.as_ref().err().filter(|_| !new.delay.is_zero())?;
    Some(QueueError::NoDelay(reason.clone()))
}
