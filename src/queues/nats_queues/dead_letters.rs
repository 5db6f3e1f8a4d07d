//! Jobs that JetStream gave up: kept as dead letters, then removed.

use std::sync::Arc;

use chrono::DateTime;
use tokio_util::sync::CancellationToken;

use super::{NatsQueues, PRIORITIES, leasing};
use crate::bus::nats::jobs::LeaseState;
use crate::limits::{JOB_SWEEP, JOB_SWEEP_QUEUES, JOB_SWEEP_ROWS, LEASE_MARGIN};
use crate::message::LogEntry;
use crate::queues::dead_letter::{RAN_OUT, exhausted_reason, job_dead_letter};
use crate::queues::{QueueConfig, QueueError};
use crate::store::jobs::RecordedAttempt;
use crate::store::work::Attempt;

impl NatsQueues {
    /// Buries exhausted jobs until cancelled: those that advisories tell of at once, the
    /// others when the sweep comes by.
    pub async fn sweep(self: Arc<Self>, cancel: CancellationToken) {
        let swept = async {
            let mut told = None;
            let mut after: Option<String> = None;
            let mut well = true;
            loop {
                if told.is_none() {
                    told = self.jobs.max_deliveries_advisories().await.ok();
                }
                let advised = async {
                    match &mut told {
                        Some(told) => told.next().await,
                        None => std::future::pending().await,
                    }
                };
                let done = tokio::select! {
                    seq = advised => self.bury_exhausted(seq).await,
                    () = tokio::time::sleep(JOB_SWEEP) => self.sweep_some(&mut after).await,
                };
                if let Err(error) = &done
                    && well
                {
                    tracing::warn!(%error, "exhausted jobs wait to be buried");
                }
                well = done.is_ok();
            }
        };
        cancel.run_until_cancelled(swept).await;
    }

    /// Buries what is noted as over, and looks at some queues for what nobody told of.
    async fn sweep_some(&self, after: &mut Option<String>) -> Result<(), QueueError> {
        for (queue, seq) in self.store.exhausted_records(JOB_SWEEP_ROWS).await? {
            self.bury_noted(&queue, seq).await?;
        }
        let queues = self.store.queues(after.as_deref(), JOB_SWEEP_QUEUES).await?;
        *after =
            queues.last().filter(|_| queues.len() == JOB_SWEEP_QUEUES).map(|row| row.name.clone());
        for row in queues {
            // Also tells the consumers of rules that have changed by now.
            if self.ready(&row.name).await?.is_some() {
                self.bury_settled(&row.name).await?;
            }
        }
        self.look_after_taken().await
    }

    /// Buries what a queue's consumers have given up for certain.
    pub(super) async fn bury_settled(&self, queue: &str) -> Result<(), QueueError> {
        for priority in PRIORITIES {
            for _ in 0..JOB_SWEEP_ROWS {
                match self.jobs.exhausted(queue, priority).await? {
                    Some(raw) => self.bury_raw(&raw).await?,
                    None => break,
                }
            }
        }
        Ok(())
    }

    /// Buries a job whose last lease is over by what the store knows, unless it was extended.
    pub(super) async fn bury_noted(&self, queue: &str, seq: u64) -> Result<(), QueueError> {
        let now = self.clock.now();
        let record = self.jobs.latest_record(seq).await?;
        if let Some(LeaseState::Extended(until)) = record.map(|record| record.state) {
            let until = DateTime::from_timestamp_micros(until).unwrap_or(now);
            let over = (until - now).to_std().unwrap_or_default() + LEASE_MARGIN;
            if until + (LEASE_MARGIN) > now {
                let noted = self.store.recorded_attempts(queue, seq).await?;
                let last = noted.into_iter().next_back();
                let note = last.map(|attempt| RecordedAttempt {
                    seq,
                    attempt: Attempt { at: until, ..attempt },
                    delay: over,
                    guess: true,
                });
                self.note(queue, note.as_slice()).await;
                return Ok(());
            }
        }
        self.bury_exhausted(seq).await?;
        // Also where the job was gone already.
        Ok(self.store.delete_attempts(queue, &[seq]).await?)
    }

    async fn bury_exhausted(&self, seq: u64) -> Result<(), QueueError> {
        match self.jobs.entry(seq).await? {
            Some(raw) => self.bury_raw(&raw).await,
            None => Ok(()),
        }
    }

    async fn bury_raw(&self, raw: &LogEntry) -> Result<(), QueueError> {
        let record = self.jobs.latest_record(raw.seq).await?;
        let acked = record.filter(|record| record.state == LeaseState::Acked);
        let same = |id| leasing::read(raw).is_ok_and(|job| job.id == id);
        if !acked.is_some_and(|record| same(record.job)) {
            let rules = self.configs.get(leasing::queue_of(raw)).await?;
            let default = || QueueConfig::default().max_deliver;
            let attempts = rules.map_or_else(default, |rules| rules.max_deliver);
            self.bury(raw, attempts, None, exhausted_reason(attempts)).await?;
        }
        Ok(self.jobs.remove(raw.seq).await?)
    }

    /// Keeps the dead letter of a job, with what is known of its attempts.
    pub(super) async fn bury(
        &self,
        raw: &LogEntry,
        attempts: u32,
        last: Option<Attempt>,
        reason: String,
    ) -> Result<(), QueueError> {
        let queue = leasing::queue_of(raw);
        let noted = self.store.recorded_attempts(queue, raw.seq).await?;
        let job = leasing::read(raw).unwrap_or_else(|_| leasing::odd(raw));
        let died_at = self.clock.now();
        let known = |number| {
            let told = last.iter().chain(&noted).find(|attempt| attempt.attempt == number);
            told.cloned().unwrap_or_else(|| Attempt {
                attempt: number,
                at: died_at,
                error: RAN_OUT.to_owned(),
            })
        };
        let attempts: Vec<Attempt> = (1..=attempts).map(known).collect();
        let letter = job_dead_letter(queue, raw.seq, job.body, attempts, reason, died_at);
        self.store.add_dead_letters(&[letter]).await?;
        self.store.delete_attempts(queue, &[raw.seq]).await?;
        metrics::counter!("agentbus_jobs_dead_total").increment(1);
        Ok(())
    }
}
