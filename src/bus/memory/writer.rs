//! The one writer of the memory bus: sequences, group commit, repeats.
//!
//! Invariant: a sequence is given to one content only. An append whose outcome
//! is unknown is settled by the journal's last sequence before anything else is
//! written, so nobody is told a lie in either direction.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Job, JournalError, Shared};
use crate::bus::{Ack, PublishError, Unless};
use crate::clock::Clock;
use crate::limits::{
    COMMIT_RETRY, GROUP_COMMIT_BYTES, GROUP_COMMIT_MESSAGES, JOURNAL_PROBE, PUBLISH_DEADLINE,
};
use crate::message::{
    HEADER_MSG_ID, HEADER_NATIVE, HEADER_NATIVE_V1, Outgoing, Raw, truncate_to_micros,
};

/// Runs until it is cancelled or loses the journal.
pub struct Writer {
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<Job>,
    clock: Clock,
}

/// One group commit while it is made.
#[derive(Default)]
struct Group {
    entries: Vec<Raw>,
    /// Sequences of the ids in `entries`.
    given: HashMap<Uuid, u64>,
    /// For each message in the order of the jobs.
    placed: Vec<Placed>,
}

/// What a group does with one message.
#[derive(Clone, Copy)]
enum Placed {
    /// It stands here; perhaps it stood here before.
    At { seq: u64, duplicate: bool },
    /// Its condition does not hold.
    Overtaken,
    /// Whether its condition holds cannot be told.
    Untold,
}

/// What became of an append in doubt.
enum Settled {
    /// So many of its entries, from the first on, are in the journal.
    Written(usize),
    /// Other entries stand where they should be.
    Overtaken,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, jobs: mpsc::Receiver<Job>, clock: Clock) -> Self {
        Self { shared, jobs, clock }
    }

    /// Writes until cancelled; what was queued by then is still written.
    ///
    /// # Errors
    /// [`JournalError::Lost`] when another process took the journal over.
    pub async fn run(mut self, cancel: CancellationToken) -> Result<(), JournalError> {
        loop {
            let faulty = self.shared.fault.borrow().is_some();
            let first = tokio::select! {
                biased;
                job = self.jobs.recv() => job,
                () = tokio::time::sleep(JOURNAL_PROBE), if faulty => {
                    self.probe().await;
                    continue;
                }
                () = cancel.cancelled() => {
                    self.jobs.close();
                    self.jobs.recv().await
                }
            };
            let Some(first) = first else { return Ok(()) };
            let jobs = self.gather(first);
            self.shared.busy.store(true, Ordering::Relaxed);
            let committed = self.commit(jobs).await;
            self.shared.busy.store(false, Ordering::Relaxed);
            committed?;
        }
    }

    /// Looks whether the journal is back, so that a server that nobody writes to
    /// any more becomes ready again.
    async fn probe(&self) {
        let last = self.shared.journal.last().await;
        if let Ok(last) = last
            && self.catch_up(last).await.is_ok()
        {
            tracing::info!("the journal is back");
            set(&self.shared.fault, None);
        }
    }

    /// Takes along what queued up meanwhile.
    fn gather(&mut self, first: Job) -> Vec<Job> {
        let size = |job: &Job| job.messages.iter().map(|m| m.body.len()).sum::<usize>();
        let (mut count, mut bytes) = (first.messages.len(), size(&first));
        let mut jobs = vec![first];
        while count < GROUP_COMMIT_MESSAGES && bytes < GROUP_COMMIT_BYTES {
            let Ok(job) = self.jobs.try_recv() else { break };
            count += job.messages.len();
            bytes += size(&job);
            jobs.push(job);
        }
        jobs
    }

    async fn commit(&self, jobs: Vec<Job>) -> Result<(), JournalError> {
        let deadline = Instant::now() + PUBLISH_DEADLINE;
        match self.write(&jobs, deadline).await {
            Ok(placed) => answer(jobs, &placed),
            Err((JournalError::Lost, _)) => {
                set(&self.shared.fault, Some(JournalError::Lost.to_string()));
                return Err(JournalError::Lost);
            }
            Err((error, outcome_known)) => {
                tracing::warn!(%error, "a group of messages was not committed");
                set(&self.shared.fault, Some(error.to_string()));
                refuse(jobs, &error, outcome_known);
            }
        }
        Ok(())
    }

    /// Places, appends, publishes to readers. The flag of an error says
    /// whether it is certain that nothing was written.
    async fn write(
        &self,
        jobs: &[Job],
        deadline: Instant,
    ) -> Result<Vec<Placed>, (JournalError, bool)> {
        let faulty = self.shared.fault.borrow().is_some();
        let last = if faulty {
            // The last append may have happened after all.
            let last = self.shared.journal.last().await.map_err(|e| (e, true))?;
            self.catch_up(last).await.map_err(|e| (e, true))?;
            last
        } else {
            *self.shared.last.borrow()
        };
        let group = self.place(jobs, last).await.map_err(|e| (e, true))?;
        if !group.entries.is_empty() {
            self.append(last, &group.entries, deadline).await?;
            self.show(group.entries);
        }
        set(&self.shared.fault, None);
        Ok(group.placed)
    }

    /// Gives each message its sequence, or finds the one its id has.
    async fn place(&self, jobs: &[Job], last: u64) -> Result<Group, JournalError> {
        let messages = || jobs.iter().flat_map(|job| &job.messages);
        let asked: Vec<Uuid> = messages().filter(|m| m.id_is_clients).map(|m| m.id).collect();
        let known = if asked.is_empty() {
            HashMap::new()
        } else {
            self.shared.journal.find(&asked).await?
        };
        let mut group = Group::default();
        let mut next = last + 1;
        let conditional = jobs.iter().flat_map(|job| job.messages.iter().map(|m| (m, &job.unless)));
        for (message, unless) in conditional {
            let earlier = known.get(&message.id).or_else(|| group.given.get(&message.id));
            if let Some(&seq) = earlier {
                group.placed.push(Placed::At { seq, duplicate: true });
                continue;
            }
            if let Some(refused) = unless.as_ref().and_then(|u| self.refused(u, last, &group)) {
                group.placed.push(refused);
                continue;
            }
            group.entries.push(self.entry(next, message));
            group.given.insert(message.id, next);
            group.placed.push(Placed::At { seq: next, duplicate: false });
            next += 1;
        }
        Ok(group)
    }

    /// Why a condition does not let a message into the group, after `last` and what
    /// the group has already.
    fn refused(&self, unless: &Unless, last: u64, group: &Group) -> Option<Placed> {
        let newer = |raw: &Raw| unless.subjects.matches(raw.subject.as_str());
        let committed = if last <= unless.known_through {
            Some(false)
        } else {
            self.shared.tail.any_after(unless.known_through, newer)
        };
        match committed {
            None => Some(Placed::Untold),
            Some(true) => Some(Placed::Overtaken),
            Some(false) => group.entries.iter().any(newer).then_some(Placed::Overtaken),
        }
    }

    fn entry(&self, seq: u64, message: &Outgoing) -> Raw {
        Raw {
            seq,
            subject: message.subject.clone(),
            headers: vec![
                (HEADER_NATIVE.to_owned(), HEADER_NATIVE_V1.to_owned()),
                (HEADER_MSG_ID.to_owned(), message.id.to_string()),
            ],
            payload: message.body.clone(),
            logged_at: truncate_to_micros(self.clock.now()),
        }
    }

    /// Appends, repeating until it is done or the deadline is past. Nothing is
    /// repeated before the outcome of the last attempt is settled.
    async fn append(
        &self,
        mut last: u64,
        mut entries: &[Raw],
        deadline: Instant,
    ) -> Result<(), (JournalError, bool)> {
        let mut in_doubt = false;
        while !entries.is_empty() {
            let attempt = if in_doubt {
                self.written(last, entries).await
            } else {
                let appended = self.shared.journal.append(last, entries.to_vec()).await;
                appended.map(|()| Settled::Written(entries.len()))
            };
            match attempt {
                Ok(Settled::Written(count)) => {
                    in_doubt = false;
                    last += count as u64;
                    entries = &entries[count..];
                    if count > 0 {
                        continue;
                    }
                }
                Ok(Settled::Overtaken) => {
                    let late = "an earlier write landed late; nothing of this one was written";
                    return Err((JournalError::Unavailable(late.to_owned()), true));
                }
                Err(JournalError::Lost) => return Err((JournalError::Lost, false)),
                Err(error) => {
                    set(&self.shared.fault, Some(error.to_string()));
                    if Instant::now() >= deadline {
                        return Err((error, false));
                    }
                    in_doubt = true;
                }
            }
            if !in_doubt && Instant::now() >= deadline {
                let late = "the journal took nothing in time".to_owned();
                return Err((JournalError::Unavailable(late), true));
            }
            tokio::time::sleep(COMMIT_RETRY).await;
        }
        Ok(())
    }

    /// How many of these entries stand in the journal after `last`.
    async fn written(&self, last: u64, entries: &[Raw]) -> Result<Settled, JournalError> {
        if self.shared.journal.last().await? == last {
            return Ok(Settled::Written(0));
        }
        let found = self.shared.journal.read(last + 1, entries.len()).await?;
        let ours = found.iter().zip(entries).all(|(a, b)| a.seq == b.seq && a.headers == b.headers);
        Ok(if ours { Settled::Written(found.len()) } else { Settled::Overtaken })
    }

    /// Shows readers what an append wrote whose answer was lost.
    async fn catch_up(&self, last: u64) -> Result<(), JournalError> {
        loop {
            let shown = *self.shared.last.borrow();
            if shown >= last {
                return Ok(());
            }
            let found = self.shared.journal.read(shown + 1, GROUP_COMMIT_MESSAGES).await?;
            if found.is_empty() {
                return Ok(());
            }
            self.show(found);
        }
    }

    fn show(&self, entries: Vec<Raw>) {
        if let Some(newest) = entries.last().map(|raw| raw.seq) {
            self.shared.tail.push(entries);
            self.shared.last.send_replace(newest);
        }
    }
}

fn set(fault: &watch::Sender<Option<String>>, value: Option<String>) {
    fault.send_if_modified(|now| {
        let changed = *now != value;
        *now = value;
        changed
    });
}

/// Whoever no longer waits has a retry with the same id.
fn answer(jobs: Vec<Job>, placed: &[Placed]) {
    let mut placed = placed.iter();
    for job in jobs {
        let acks = placed
            .by_ref()
            .take(job.messages.len())
            .map(|placed| match *placed {
                Placed::At { seq, duplicate } => Ok(Some(Ack { seq, duplicate, committed: true })),
                Placed::Overtaken => Ok(None),
                Placed::Untold => {
                    let text = "what came meanwhile is no longer in memory";
                    Err(PublishError::NotSent(text.to_owned()))
                }
            })
            .collect();
        let _ = job.reply.send(acks);
    }
}

fn refuse(jobs: Vec<Job>, error: &JournalError, outcome_known: bool) {
    let error = if outcome_known {
        PublishError::NotSent(error.to_string())
    } else {
        PublishError::Unknown(error.to_string())
    };
    for job in jobs {
        let _ = job.reply.send(vec![Err(error.clone()); job.messages.len()]);
    }
}
