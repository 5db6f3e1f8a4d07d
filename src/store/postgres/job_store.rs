//! The store's part in work queues, in PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::connection::on_pool;
use super::work::consumers;
use super::{PostgresStore, jobs, queues};
use crate::limits::STORE_WRITE_TIMEOUT;
use crate::store::StoreError;
use crate::store::jobs::{
    AddedJob, ExhaustedJob, JobCounts, JobRow, JobSettled, JobSettlement, JobStore, LeasedRows,
    QueueDeletion, QueueRow, RecordedAttempt, RedriveOutcome,
};
use crate::store::work::{Attempt, RowLock};

#[async_trait]
impl JobStore for PostgresStore {
    async fn lease_secret(&self, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        let kept = self.job_work(queues::secret(&self.jobs, &fresh)).await?;
        kept.try_into()
            .map_err(|_| StoreError::Unavailable("no lease secret of 32 bytes".to_owned()))
    }

    async fn add_jobs_done(&self, more: u64) -> Result<(), StoreError> {
        self.job_work(queues::add_done(&self.jobs, more)).await
    }

    async fn jobs_done(&self) -> Result<u64, StoreError> {
        self.job_work(queues::done(&self.jobs)).await
    }

    async fn jobs_held(&self) -> Result<u64, StoreError> {
        self.job_work(queues::held(&self.jobs)).await
    }

    async fn queue(&self, name: &str) -> Result<Option<QueueRow>, StoreError> {
        self.job_work(queues::queue(&self.jobs, name)).await
    }

    async fn queues(&self, after: Option<&str>, limit: usize) -> Result<Vec<QueueRow>, StoreError> {
        self.job_work(queues::queues(&self.jobs, after, limit)).await
    }

    async fn put_queue(
        &self,
        row: &QueueRow,
        keep: bool,
        most: usize,
    ) -> Result<Option<bool>, StoreError> {
        self.job_work(queues::put(&self.jobs, row, keep, most)).await
    }

    async fn lock_queue(&self, name: &str) -> Result<Box<dyn RowLock>, StoreError> {
        // Not of the connections for jobs: who holds it asks by those.
        let held = on_pool(&self.workers, STORE_WRITE_TIMEOUT, || {
            consumers::lock_queue(&self.workers, name)
        });
        Ok(Box::new(held.await?))
    }

    async fn delete_queue(
        &self,
        name: &str,
        made: Option<Uuid>,
        force: bool,
    ) -> Result<QueueDeletion, StoreError> {
        // In pieces, so that none takes longer than a statement may.
        while force && self.job_work(queues::empty(&self.jobs, name, made)).await? {}
        self.job_work(queues::delete(&self.jobs, name, made, force)).await
    }

    async fn redrive_job(
        &self,
        letter: Uuid,
        queue: &str,
        job: &JobRow,
    ) -> Result<RedriveOutcome, StoreError> {
        self.job_work(jobs::redrive_job(&self.jobs, letter, queue, job)).await
    }

    async fn add_jobs(
        &self,
        queue: &str,
        jobs: &[JobRow],
    ) -> Result<Option<Vec<AddedJob>>, StoreError> {
        self.job_work(jobs::add(&self.jobs, queue, jobs)).await
    }

    async fn lease_jobs(
        &self,
        queue: &str,
        limit: usize,
        max_deliver: u32,
        lease_for: Duration,
        worker: Option<&str>,
    ) -> Result<LeasedRows, StoreError> {
        self.job_work(jobs::lease(&self.jobs, queue, limit, max_deliver, lease_for, worker)).await
    }

    async fn next_job(
        &self,
        queue: &str,
        max_deliver: u32,
    ) -> Result<Option<Duration>, StoreError> {
        self.job_work(jobs::next(&self.jobs, queue, max_deliver)).await
    }

    async fn settle_jobs(
        &self,
        ends: &[(u64, Uuid, JobSettlement)],
    ) -> Result<Vec<JobSettled>, StoreError> {
        self.job_work(jobs::end(&self.jobs, ends)).await
    }

    async fn exhausted_jobs(&self, limit: usize) -> Result<Vec<ExhaustedJob>, StoreError> {
        self.job_work(jobs::spent(&self.jobs, limit)).await
    }

    async fn remove_exhausted_jobs(&self, seqs: &[u64]) -> Result<(), StoreError> {
        self.job_work(jobs::remove_exhausted_jobs(&self.jobs, seqs)).await
    }

    async fn job_counts(&self, queue: &str) -> Result<(JobCounts, Option<Bytes>), StoreError> {
        self.job_work(queues::counts(&self.jobs, queue)).await
    }

    async fn record_attempts(
        &self,
        queue: &str,
        notes: &[RecordedAttempt],
    ) -> Result<(), StoreError> {
        self.job_work(queues::note(&self.jobs, queue, notes)).await
    }

    async fn recorded_attempts(&self, queue: &str, seq: u64) -> Result<Vec<Attempt>, StoreError> {
        self.job_work(queues::noted(&self.jobs, queue, seq)).await
    }

    async fn delete_attempts(&self, queue: &str, seqs: &[u64]) -> Result<(), StoreError> {
        self.job_work(queues::forget(&self.jobs, queue, seqs)).await
    }

    async fn recorded_delays(&self, queue: &str) -> Result<u64, StoreError> {
        self.job_work(queues::delays(&self.jobs, queue)).await
    }

    async fn exhausted_records(&self, limit: usize) -> Result<Vec<(String, u64)>, StoreError> {
        self.job_work(queues::spent(&self.jobs, limit)).await
    }
}
