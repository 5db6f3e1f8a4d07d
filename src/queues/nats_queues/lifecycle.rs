//! Queues found, made and deleted.
//!
//! **There is a queue** where the store has its rules, or the stream a job of it: another NATS
//! client put that there, or a server that did not know yet that the queue was deleted. Whoever
//! comes across such jobs makes the queue, with the defaults: who leases or asks for it, and,
//! of the server that took the job in, the sweep.
//!
//! **Deleting one**, beside servers that know its rules from before: its consumers are paused, so
//! that nothing is leased between the look and the end; what is pending keeps it; then its jobs
//! go up to the sequence that was the stream's last before, its consumers, its rules. A
//! job that comes in meanwhile stays in the stream, and makes the queue again. Who makes or
//! removes consumers holds the queue in the store: nats-server takes a consumer's name away before its
//! files, and one that is made in between loses its own. Who holds it looks first whether the
//! queue is still there, so none is left with consumers and no rules, also where a server dies.
//!
//! **Another making** of a queue knows no ids of the one before: a job that was dropped with
//! its queue is no repeat when it comes again. The id that JetStream knows a job by names the making.

use super::{NatsQueues, PRIORITIES, QueueRow, Told};
use crate::bus::nats::jobs::OutgoingJob;
use crate::limits::{
    JOB_SWEEP_ROWS, LEASE_MARGIN, MAX_QUEUE_CREATE_ATTEMPTS, QUEUE_CACHE, QUEUE_PAUSE,
};
use crate::queues::{Job, QueueError};
use crate::store::work::DeadLetter;

/// By what JetStream recognises a repeat: a job's id in this making of its queue.
pub(super) fn msg_id(rules: &QueueRow, id: impl std::fmt::Display) -> String {
    let queue = &rules.name;
    match rules.incarnation {
        Some(made) => format!("{queue}/{id}/{}", made.simple()),
        None => format!("{queue}/{id}"),
    }
}

impl NatsQueues {
    /// A queue's rules; `None` when there is no such queue.
    pub(super) async fn find(&self, queue: &str) -> Result<Option<QueueRow>, QueueError> {
        if let Some(rules) = self.configs.get(queue).await? {
            return Ok(Some(rules));
        }
        self.told().remove(queue);
        if !self.jobs.has_jobs(queue).await? {
            return Ok(None);
        }
        self.configs.get_or_create(queue).await.map(Some)
    }

    /// The queue's rules, its consumers being told of them; `None` when there is no such queue.
    pub(super) async fn ready(&self, queue: &str) -> Result<Option<QueueRow>, QueueError> {
        for _ in 0..MAX_QUEUE_CREATE_ATTEMPTS {
            let Some(rules) = self.find(queue).await? else { return Ok(None) };
            if self.tell(&rules).await? {
                return Ok(Some(rules));
            }
        }
        Err(QueueError::Overloaded)
    }

    /// The same; a queue that is not there is made.
    pub(super) async fn make_ready(&self, queue: &str) -> Result<QueueRow, QueueError> {
        for _ in 0..MAX_QUEUE_CREATE_ATTEMPTS {
            let rules = self.configs.get_or_create(queue).await?;
            if self.tell(&rules).await? {
                return Ok(rules);
            }
        }
        Err(QueueError::Overloaded)
    }

    /// Tells a queue's consumers of its rules; `false` when it is no more what it was.
    async fn tell(&self, rules: &QueueRow) -> Result<bool, QueueError> {
        let queue = rules.name.as_str();
        let ack_wait = rules.longest_lease.max(rules.lease) + LEASE_MARGIN;
        let wanted: Told = (ack_wait, rules.max_deliver, rules.incarnation);
        let is_told = || self.told().get(queue) == Some(&wanted);
        if is_told() {
            return Ok(true);
        }
        let _turn = self.changes.acquire().await;
        if is_told() {
            return Ok(true);
        }
        // Nobody deletes a queue while the store is away: who cannot ask goes on.
        let held = self.store.lock_queue(queue).await;
        match self.configs.reload(queue).await {
            Ok(Some(now)) if now.incarnation != rules.incarnation => return Ok(false),
            Ok(None) => return Ok(false),
            // Another server may be deleting it.
            Ok(Some(_)) if held.is_err() => return Ok(false),
            Ok(Some(_)) | Err(QueueError::Store(_)) => {}
            Err(error) => return Err(error),
        }
        self.jobs.ensure_queue(queue, &PRIORITIES, ack_wait, rules.max_deliver).await?;
        self.told().insert(queue.to_owned(), wanted);
        drop(held);
        Ok(true)
    }

    /// Deletes a queue; whether there was one.
    pub(super) async fn delete_queue(&self, queue: &str, force: bool) -> Result<bool, QueueError> {
        if self.find(queue).await?.is_none() {
            return Ok(false);
        }
        self.bury_given_up(queue).await?;
        let _turn = self.changes.acquire().await;
        let held = self.store.lock_queue(queue).await?;
        self.jobs.pause(queue, &PRIORITIES, Some(self.clock.now() + QUEUE_PAUSE)).await?;
        let deleted = self.delete_paused(queue, force).await;
        if !matches!(deleted, Ok(true))
            && let Err(error) = self.jobs.pause(queue, &PRIORITIES, None).await
        {
            tracing::debug!(queue, %error, "a queue's jobs are held back for a while");
        }
        drop(held);
        deleted
    }

    async fn delete_paused(&self, queue: &str, force: bool) -> Result<bool, QueueError> {
        // In this order: what has a sequence up to the last is no job of another making.
        let last = self.jobs.last_seq().await?;
        let Some(row) = self.configs.reload(queue).await? else { return Ok(false) };
        let held = self.jobs.counts(queue, &PRIORITIES).await?;
        if held.pending > self.store.recorded_delays(queue).await? {
            return Err(QueueError::QueueLeased);
        }
        if force {
            self.jobs.purge(queue, last).await?;
        } else if self.jobs.has_jobs(queue).await? {
            return Err(QueueError::QueueNotEmpty);
        }
        self.jobs.remove_consumers(queue, &PRIORITIES).await?;
        self.told().remove(queue);
        let deleted = self.store.delete_queue(queue, row.incarnation, force).await?;
        self.configs.remove(queue);
        // The memory bus may have left jobs in the store, before the switch.
        QueueError::unless_deleted(deleted)
    }

    /// Buries what JetStream gave up of a queue's jobs, so that it is not taken for one that waits.
    async fn bury_given_up(&self, queue: &str) -> Result<(), QueueError> {
        for (noted, seq) in self.store.exhausted_records(JOB_SWEEP_ROWS).await? {
            if noted == queue {
                self.bury_noted(queue, seq).await?;
            }
        }
        self.bury_settled(queue).await
    }

    /// Remembers that a job came in under rules that may have been old.
    pub(super) fn took_in(&self, queue: &str) {
        self.taken().insert(queue.to_owned(), tokio::time::Instant::now());
    }

    /// Makes sure that queues which took jobs in are still there, once nobody asks any more.
    pub(super) async fn look_after_taken(&self) -> Result<(), QueueError> {
        let taken: Vec<_> = self.taken().iter().map(|(queue, at)| (queue.clone(), *at)).collect();
        for (queue, at) in taken {
            let learned = self.configs.read_at(&queue);
            if learned.is_some_and(|learned| learned <= at && learned.elapsed() < QUEUE_CACHE) {
                continue;
            }
            if learned.is_none_or(|learned| learned <= at) {
                self.find(&queue).await?;
            }
            let mut taken = self.taken();
            if taken.get(&queue) == Some(&at) {
                taken.remove(&queue);
            }
        }
        Ok(())
    }

    /// Publishes a letter's job, then discards the letter.
    pub(super) async fn redrive(&self, letter: &DeadLetter) -> Result<bool, QueueError> {
        let job = Job::decode(&letter.body).map_err(|_| QueueError::Undecodable)?;
        // It may have been read long ago, and the stream remembers ids for a while only.
        if self.store.dead_letter(letter.id).await?.is_none() {
            return Ok(false);
        }
        let rules = self.make_ready(&letter.source).await?;
        let outgoing = OutgoingJob {
            queue: letter.source.clone(),
            priority: job.priority.as_str(),
            // Not the job's own id, which the stream may still know, nor one that a client can choose.
            msg_id: format!("redrive/{}", msg_id(&rules, letter.id)),
            id_is_clients: true,
            due: None,
            subject: String::new(),
            body: job.body,
        }
        .addressed();
        let mut acks = self.send(std::slice::from_ref(&outgoing)).await;
        let ack = acks.pop().ok_or(QueueError::Overloaded)?;
        let ack = ack.map_err(|source| QueueError::Bus { id: job.id, source })?;
        // A repeat is one of ours, unless another NATS client used this id. One that is gone is done.
        if ack.duplicate
            && let Some(first) = self.jobs.entry(ack.seq).await?
            && (first.payload != outgoing.body || first.subject.as_str() != outgoing.subject)
        {
            return Err(QueueError::Conflict { id: job.id, seq: ack.seq });
        }
        self.ring(&letter.source);
        Ok(self.store.discard_dead_letter(letter.id).await?)
    }
}
