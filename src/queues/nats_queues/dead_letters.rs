//! Makes dead letters of jobs that JetStream gave up, then removes them from the stream.

use std::sync::Arc;

use chrono::DateTime;
use tokio_util::sync::CancellationToken;

use super::entry::{queue_of, read, unreadable};
use super::queues::NatsQueues;
use crate::bus::nats::jobs::{LeaseState, PRIORITIES};
use crate::limits::{JOB_SWEEP, JOB_SWEEP_QUEUES, JOB_SWEEP_ROWS, LEASE_MARGIN};
use crate::message::LogEntry;
use crate::queues::dead_letter::{RAN_OUT, exhausted_reason, job_dead_letter};
use crate::queues::{QueueConfig, QueueError};
use crate::store::jobs::RecordedAttempt;
use crate::store::work::Attempt;

impl NatsQueues {
    /// Makes dead letters of exhausted jobs until cancelled: those that an advisory names at once, the others
    /// at the next sweep.
    pub async fn sweep(self: Arc<Self>, cancel: CancellationToken) {
        let sweep = async {
            let mut advisories = None;
            let mut after: Option<String> = None;
            let mut healthy = true;
            loop {
                if advisories.is_none() {
                    advisories = self.jobs.max_deliveries_advisories().await.ok();
                }
                let advised = async {
                    match &mut advisories {
                        Some(advisories) => advisories.next().await,
                        None => std::future::pending().await,
                    }
                };
                let result = tokio::select! {
                    seq = advised => self.give_up(seq).await,
                    () = tokio::time::sleep(JOB_SWEEP) => self.sweep_some(&mut after).await,
                };
                if let Err(error) = &result
                    && healthy
                {
                    tracing::warn!(%error, "exhausted jobs are not yet dead letters; retrying");
                }
                healthy = result.is_ok();
            }
        };
        cancel.run_until_cancelled(sweep).await;
    }

    /// Gives up the jobs whose last recorded lease has ended. Then checks some queues for jobs that JetStream
    /// gave up and whose advisory was lost.
    async fn sweep_some(&self, after: &mut Option<String>) -> Result<(), QueueError> {
        for (queue, seq) in self.store.exhausted_records(JOB_SWEEP_ROWS).await? {
            self.give_up_expired(&queue, seq).await?;
        }
        let queues = self.store.queues(after.as_deref(), JOB_SWEEP_QUEUES).await?;
        *after =
            queues.last().filter(|_| queues.len() == JOB_SWEEP_QUEUES).map(|row| row.name.clone());
        for row in queues {
            // This also updates the consumers if the queue's configuration has changed.
            if self.ready(&row.name).await?.is_some() {
                self.give_up_exhausted(&row.name).await?;
            }
        }
        self.verify_queues().await
    }

    /// Makes dead letters of the jobs that JetStream has certainly given up in this queue.
    pub(super) async fn give_up_exhausted(&self, queue: &str) -> Result<(), QueueError> {
        for priority in PRIORITIES {
            for _ in 0..JOB_SWEEP_ROWS {
                match self.jobs.given_up(queue, priority).await? {
                    Some(raw) => self.give_up_entry(&raw).await?,
                    None => break,
                }
            }
        }
        Ok(())
    }

    /// Gives up a job whose last lease has ended according to the store. If the ledger has an extension that
    /// is still active, records the end of that instead.
    pub(super) async fn give_up_expired(&self, queue: &str, seq: u64) -> Result<(), QueueError> {
        let now = self.clock.now();
        let record = self.jobs.latest_record(seq).await?;
        if let Some(LeaseState::Extended(until)) = record.map(|record| record.state) {
            let until = DateTime::from_timestamp_micros(until).unwrap_or(now);
            if until + LEASE_MARGIN > now {
                let delay = (until - now).to_std().unwrap_or_default() + LEASE_MARGIN;
                let last = self.store.recorded_attempts(queue, seq).await?.into_iter().next_back();
                let extended = last.map(|attempt| {
                    let attempt = Attempt { at: until, ..attempt };
                    RecordedAttempt { seq, attempt, delay, guess: true }
                });
                self.record(queue, extended.as_slice()).await;
                return Ok(());
            }
        }
        self.give_up(seq).await?;
        // Needed even if the job was no longer in the stream.
        Ok(self.store.delete_attempts(queue, &[seq]).await?)
    }

    async fn give_up(&self, seq: u64) -> Result<(), QueueError> {
        match self.jobs.entry(seq).await? {
            Some(raw) => self.give_up_entry(&raw).await,
            None => Ok(()),
        }
    }

    async fn give_up_entry(&self, raw: &LogEntry) -> Result<(), QueueError> {
        let record = self.jobs.latest_record(raw.seq).await?;
        let acked = record.filter(|record| record.state == LeaseState::Acked);
        let is_of_job = |id| read(raw).is_ok_and(|job| job.id == id);
        if !acked.is_some_and(|record| is_of_job(record.job)) {
            let row = self.configs.get(queue_of(raw)).await?;
            let default = || QueueConfig::default().max_deliver;
            let attempts = row.map_or_else(default, |row| row.max_deliver);
            self.add_dead_letter(raw, attempts, None, exhausted_reason(attempts)).await?;
        }
        Ok(self.jobs.remove(raw.seq).await?)
    }

    /// Stores the dead letter of a job with all its attempts: `last`, those recorded in the store, and an
    /// expired lease for each of the others.
    pub(super) async fn add_dead_letter(
        &self,
        raw: &LogEntry,
        attempts: u32,
        last: Option<Attempt>,
        reason: String,
    ) -> Result<(), QueueError> {
        let queue = queue_of(raw);
        let recorded = self.store.recorded_attempts(queue, raw.seq).await?;
        let job = read(raw).unwrap_or_else(|_| unreadable(raw));
        let died_at = self.clock.now();
        let attempt = |number| {
            let known = last.iter().chain(&recorded).find(|attempt| attempt.attempt == number);
            let expired = || Attempt { attempt: number, at: died_at, error: RAN_OUT.to_owned() };
            known.cloned().unwrap_or_else(expired)
        };
        let attempts: Vec<Attempt> = (1..=attempts).map(attempt).collect();
        let letter = job_dead_letter(queue, raw.seq, job.body, attempts, reason, died_at);
        self.store.add_dead_letters(&[letter]).await?;
        self.store.delete_attempts(queue, &[raw.seq]).await?;
        metrics::counter!("agentbus_jobs_dead_total").increment(1);
        Ok(())
    }
}
