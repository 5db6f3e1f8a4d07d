//! The store's part in work queues, in SQLite.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::connection::bounded;
use super::work::NoLock;
use super::{SqliteStore, jobs, queues};
use crate::store::StoreError;
use crate::store::jobs::{
    AddedJob, ExhaustedJob, JobCounts, JobRow, JobSettled, JobSettlement, JobStore, LeasedRows,
    QueueDeletion, QueueRow, RecordedAttempt, RedriveOutcome,
};
use crate::store::work::{Attempt, RowLock};

/// Runs a write in the writer's turn.
macro_rules! write {
    ($store:ident, $connection:ident => $work:expr) => {{
        let mut turn = $store.writer.turn_timed(&$store.options).await?;
        let $connection = turn.connection();
        let done = bounded($work).await;
        turn.end(done)
    }};
}

#[async_trait]
impl JobStore for SqliteStore {
    async fn lease_secret(&self, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        let kept = write!(self, connection => queues::secret(connection, &fresh))?;
        kept.try_into()
            .map_err(|_| StoreError::Unavailable("no lease secret of 32 bytes".to_owned()))
    }

    async fn add_jobs_done(&self, more: u64) -> Result<(), StoreError> {
        write!(self, connection => queues::add_done(connection, more))
    }

    async fn jobs_done(&self) -> Result<u64, StoreError> {
        bounded(queues::done(&self.readers)).await
    }

    async fn jobs_held(&self) -> Result<u64, StoreError> {
        bounded(queues::held(&self.readers)).await
    }

    async fn queue(&self, name: &str) -> Result<Option<QueueRow>, StoreError> {
        bounded(queues::queue(&self.time, &self.readers, name)).await
    }

    async fn queues(&self, after: Option<&str>, limit: usize) -> Result<Vec<QueueRow>, StoreError> {
        bounded(queues::queues(&self.time, &self.readers, after, limit)).await
    }

    async fn put_queue(
        &self,
        row: &QueueRow,
        keep: bool,
        most: usize,
    ) -> Result<Option<bool>, StoreError> {
        write!(self, connection => queues::put(&self.time, connection, row, keep, most))
    }

    async fn lock_queue(&self, _: &str) -> Result<Box<dyn RowLock>, StoreError> {
        Ok(Box::new(NoLock))
    }

    async fn delete_queue(
        &self,
        name: &str,
        made: Option<Uuid>,
        force: bool,
    ) -> Result<QueueDeletion, StoreError> {
        // In pieces, so that others write in between.
        while force
            && write!(self, connection => queues::empty(&self.time, connection, name, made))?
        {
        }
        write!(self, connection => queues::delete(&self.time, connection, name, made, force))
    }

    async fn redrive_job(
        &self,
        letter: Uuid,
        queue: &str,
        job: &JobRow,
    ) -> Result<RedriveOutcome, StoreError> {
        write!(self, connection => jobs::redrive_job(&self.time, connection, letter, queue, job))
    }

    async fn add_jobs(
        &self,
        queue: &str,
        jobs: &[JobRow],
    ) -> Result<Option<Vec<AddedJob>>, StoreError> {
        write!(self, connection => jobs::add(&self.time, connection, queue, jobs))
    }

    async fn lease_jobs(
        &self,
        queue: &str,
        limit: usize,
        max_deliver: u32,
        lease_for: Duration,
        worker: Option<&str>,
    ) -> Result<LeasedRows, StoreError> {
        write!(self, connection =>
            jobs::lease(&self.time, connection, queue, limit, max_deliver, lease_for, worker))
    }

    async fn next_job(
        &self,
        queue: &str,
        max_deliver: u32,
    ) -> Result<Option<Duration>, StoreError> {
        bounded(jobs::next(&self.time, &self.readers, queue, max_deliver)).await
    }

    async fn settle_jobs(
        &self,
        ends: &[(u64, Uuid, JobSettlement)],
    ) -> Result<Vec<JobSettled>, StoreError> {
        write!(self, connection => jobs::end(&self.time, connection, ends))
    }

    async fn exhausted_jobs(&self, limit: usize) -> Result<Vec<ExhaustedJob>, StoreError> {
        bounded(jobs::spent(&self.time, &self.readers, limit)).await
    }

    async fn remove_exhausted_jobs(&self, seqs: &[u64]) -> Result<(), StoreError> {
        // Every second, mostly for nothing: it writes no time.
        let mut turn = self.writer.turn(&self.options).await?;
        let done = bounded(jobs::remove_exhausted_jobs(&self.time, turn.connection(), seqs)).await;
        turn.end(done)
    }

    async fn job_counts(&self, queue: &str) -> Result<(JobCounts, Option<Bytes>), StoreError> {
        bounded(queues::counts(&self.time, &self.readers, queue)).await
    }

    async fn record_attempts(
        &self,
        queue: &str,
        notes: &[RecordedAttempt],
    ) -> Result<(), StoreError> {
        write!(self, connection => queues::note(&self.time, connection, queue, notes))
    }

    async fn recorded_attempts(&self, queue: &str, seq: u64) -> Result<Vec<Attempt>, StoreError> {
        bounded(queues::noted(&self.readers, queue, seq)).await
    }

    async fn delete_attempts(&self, queue: &str, seqs: &[u64]) -> Result<(), StoreError> {
        write!(self, connection => queues::forget(connection, queue, seqs))
    }

    async fn recorded_delays(&self, queue: &str) -> Result<u64, StoreError> {
        bounded(queues::delays(&self.time, &self.readers, queue)).await
    }

    async fn exhausted_records(&self, limit: usize) -> Result<Vec<(String, u64)>, StoreError> {
        bounded(queues::spent(&self.time, &self.readers, limit)).await
    }
}
