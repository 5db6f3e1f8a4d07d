//! The writer of the memory bus: assigns sequences, commits groups, recognises repeated ids.
//!
//! Invariant: each sequence is assigned to one content only. When the outcome of an append is unknown, the
//! writer reads the journal's last sequence before it writes anything else. So no publisher gets a wrong
//! result, neither for a lost message nor for a stored one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::call::{Call, Outcome};
use super::journal::JournalError;
use super::shared::Shared;
use crate::bus::{Ack, Precondition, PublishError};
use crate::clock::Clock;
use crate::limits::{
    COMMIT_DEADLINE, COMMIT_RETRY, GROUP_COMMIT_BYTES, GROUP_COMMIT_MESSAGES, JOURNAL_PROBE,
};
use crate::message::{
    HEADER_MSG_ID, HEADER_NATIVE, HEADER_NATIVE_V1, LogEntry, Outgoing, truncate_to_micros,
};

/// Runs until it is cancelled or loses the journal.
pub struct Writer {
    shared: Arc<Shared>,
    calls: mpsc::Receiver<Call>,
    clock: Clock,
}

/// The messages of one group commit.
#[derive(Default)]
struct Group {
    entries: Vec<LogEntry>,
    /// The sequence of each id in `entries`.
    assigned: HashMap<Uuid, u64>,
    /// One placement for each message, in the order of the calls.
    placements: Vec<Placement>,
}

/// What a group commit does with one message.
#[derive(Clone, Copy)]
enum Placement {
    /// The message has this sequence. A duplicate had it before.
    At { seq: u64, duplicate: bool },
    /// The message's condition does not hold.
    ConditionFailed,
    /// Whether the message's condition holds is unknown.
    ConditionUnknown,
}

/// Why a group, or its last entries, were not written.
struct Failure {
    error: JournalError,
    /// Entries up to this sequence are certainly in the journal.
    through: u64,
    /// Whether later entries may be in the journal too.
    in_doubt: bool,
}

impl Failure {
    /// A failure after which certainly no entry beyond `through` was written.
    fn certain(error: &str, through: u64) -> Self {
        Self { error: JournalError::Unavailable(error.to_owned()), through, in_doubt: false }
    }

    fn publish_error(&self) -> PublishError {
        let error = self.error.to_string();
        if self.in_doubt { PublishError::Unknown(error) } else { PublishError::NotSent(error) }
    }
}

/// The outcome of an append whose result was lost, found by reading the journal.
enum Settled {
    /// So many of the append's entries, counted from the first, are in the journal.
    Written(usize),
    /// The journal has other entries at the sequences of the append.
    Overtaken,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, calls: mpsc::Receiver<Call>, clock: Clock) -> Self {
        Self { shared, calls, clock }
    }

    /// Writes until cancelled, and then the calls that are queued at that moment.
    ///
    /// # Errors
    /// [`JournalError::Lost`] when another process has taken the journal over.
    pub async fn run(mut self, cancel: CancellationToken) -> Result<(), JournalError> {
        loop {
            let faulty = self.shared.fault.borrow().is_some();
            let first = tokio::select! {
                biased;
                call = self.calls.recv() => call,
                () = tokio::time::sleep(JOURNAL_PROBE), if faulty => {
                    self.probe().await;
                    continue;
                }
                () = cancel.cancelled() => {
                    self.calls.close();
                    self.calls.recv().await
                }
            };
            let Some(first) = first else { return Ok(()) };
            let calls = self.gather(first);
            if calls.is_empty() {
                continue;
            }
            self.shared.busy.store(true, Ordering::Relaxed);
            let committed = self.commit(calls).await;
            self.shared.busy.store(false, Ordering::Relaxed);
            committed?;
        }
    }

    /// Checks whether the journal is back, so that the bus becomes healthy again without a publish.
    async fn probe(&self) {
        let last = self.shared.journal.last().await;
        if let Ok(last) = last
            && self.catch_up(last).await.is_ok()
        {
            tracing::info!("the journal is back");
            set(&self.shared.fault, None);
        }
    }

    /// Collects the calls that were queued during the last commit. Abandoned calls are dropped: their clients
    /// got no result and retry with the same id.
    fn gather(&mut self, first: Call) -> Vec<Call> {
        let (mut count, mut bytes) = (0, 0);
        let mut calls = Vec::new();
        let mut next = Some(first);
        while let Some(call) = next {
            if !call.is_abandoned() {
                count += call.messages.len();
                bytes += call.messages.iter().map(|m| m.body.len()).sum::<usize>();
                calls.push(call);
            }
            let full = count >= GROUP_COMMIT_MESSAGES || bytes >= GROUP_COMMIT_BYTES;
            next = if full { None } else { self.calls.try_recv().ok() };
        }
        calls
    }

    async fn commit(&self, calls: Vec<Call>) -> Result<(), JournalError> {
        let deadline = Instant::now() + COMMIT_DEADLINE;
        let (placements, failure) = self.write(&calls, deadline).await;
        let fault = failure.as_ref().map(|failure| failure.error.to_string());
        set(&self.shared.fault, fault);
        match failure {
            Some(Failure { error: JournalError::Lost, .. }) => return Err(JournalError::Lost),
            Some(failure) => {
                tracing::warn!(error = %failure.error, "a group of messages was not committed");
                report(calls, &placements, Some(&failure));
            }
            None => report(calls, &placements, None),
        }
        Ok(())
    }

    /// Assigns sequences, appends, and shows readers the entries that were written. Assigns nothing while the
    /// log's last sequence is unknown.
    async fn write(&self, calls: &[Call], deadline: Instant) -> (Vec<Placement>, Option<Failure>) {
        let prepared = async {
            let last = self.last().await?;
            Ok((last, self.place(calls, last).await?))
        };
        let (last, mut group) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => {
                return (Vec::new(), Some(Failure { error, through: 0, in_doubt: false }));
            }
        };
        let (through, failure) = match self.append(last, &group.entries, deadline).await {
            Ok(()) => (u64::MAX, None),
            Err(failure) => (failure.through, Some(failure)),
        };
        group.entries.retain(|entry| entry.seq <= through);
        self.show(group.entries);
        (group.placements, failure)
    }

    /// The last sequence assigned. Asks the journal if the outcome of the last append is unknown.
    async fn last(&self) -> Result<u64, JournalError> {
        if self.shared.fault.borrow().is_none() {
            return Ok(*self.shared.last.borrow());
        }
        // The last append may have been written although it reported an error.
        let last = self.shared.journal.last().await?;
        self.catch_up(last).await?;
        Ok(last)
    }

    /// Assigns a sequence to each message, or finds the sequence that its id already has.
    async fn place(&self, calls: &[Call], last: u64) -> Result<Group, JournalError> {
        let messages = || calls.iter().flat_map(|call| &call.messages);
        let clients_ids: Vec<Uuid> = messages().filter(|m| m.id_is_clients).map(|m| m.id).collect();
        let known = if clients_ids.is_empty() {
            HashMap::new()
        } else {
            self.shared.journal.find(&clients_ids).await?
        };
        let mut group = Group::default();
        let mut next = last + 1;
        let conditional =
            calls.iter().flat_map(|call| call.messages.iter().map(|m| (m, &call.condition)));
        for (message, condition) in conditional {
            let earlier = known.get(&message.id).or_else(|| group.assigned.get(&message.id));
            if let Some(&seq) = earlier {
                group.placements.push(Placement::At { seq, duplicate: true });
                continue;
            }
            if let Some(refused) =
                condition.as_ref().and_then(|u| self.failed_condition(u, last, &group))
            {
                group.placements.push(refused);
                continue;
            }
            group.entries.push(self.entry(next, message));
            group.assigned.insert(message.id, next);
            group.placements.push(Placement::At { seq: next, duplicate: false });
            next += 1;
        }
        Ok(group)
    }

    /// The placement of a message whose condition does not hold, or may not hold, after sequence `last` and
    /// the entries of the group.
    fn failed_condition(
        &self,
        condition: &Precondition,
        last: u64,
        group: &Group,
    ) -> Option<Placement> {
        let newer = |raw: &LogEntry| condition.subjects.matches(raw.subject.as_str());
        let committed = if last <= condition.known_through {
            Some(false)
        } else {
            self.shared.tail.any_after(condition.known_through, newer)
        };
        match committed {
            None => Some(Placement::ConditionUnknown),
            Some(true) => Some(Placement::ConditionFailed),
            Some(false) => group.entries.iter().any(newer).then_some(Placement::ConditionFailed),
        }
    }

    fn entry(&self, seq: u64, message: &Outgoing) -> LogEntry {
        let mut headers = vec![
            (HEADER_NATIVE.to_owned(), HEADER_NATIVE_V1.to_owned()),
            (HEADER_MSG_ID.to_owned(), message.id.to_string()),
        ];
        if let Some(trace) = &message.trace {
            headers
                .extend(trace.headers().map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        LogEntry {
            seq,
            subject: message.subject.clone(),
            headers,
            payload: message.body.clone(),
            logged_at: truncate_to_micros(self.clock.now()),
        }
    }

    /// Appends, and retries until the deadline. Before each retry it finds out whether the last attempt was
    /// written.
    async fn append(
        &self,
        mut through: u64,
        mut entries: &[LogEntry],
        deadline: Instant,
    ) -> Result<(), Failure> {
        let mut in_doubt = false;
        while !entries.is_empty() {
            let attempt = if in_doubt {
                self.written(through, entries).await
            } else {
                let appended = self.shared.journal.append(through, entries.to_vec()).await;
                appended.map(|()| Settled::Written(entries.len()))
            };
            match attempt {
                Ok(Settled::Written(count)) => {
                    in_doubt = false;
                    through += count as u64;
                    entries = &entries[count..];
                    if count > 0 {
                        continue;
                    }
                }
                Ok(Settled::Overtaken) => {
                    return Err(Failure::certain("an earlier write completed late", through));
                }
                Err(error @ JournalError::Lost) => {
                    return Err(Failure { error, through, in_doubt: true });
                }
                Err(error) => {
                    set(&self.shared.fault, Some(error.to_string()));
                    in_doubt = true;
                    if Instant::now() >= deadline {
                        return Err(Failure { error, through, in_doubt });
                    }
                }
            }
            if !in_doubt && Instant::now() >= deadline {
                return Err(Failure::certain("the journal wrote nothing in time", through));
            }
            tokio::time::sleep(COMMIT_RETRY).await;
        }
        Ok(())
    }

    /// How many of these entries the journal has after sequence `last`.
    async fn written(&self, last: u64, entries: &[LogEntry]) -> Result<Settled, JournalError> {
        if self.shared.journal.last().await? == last {
            return Ok(Settled::Written(0));
        }
        let found = self.shared.journal.read(last + 1, entries.len()).await?;
        let is_ours = |(a, b): &(&LogEntry, &LogEntry)| a.seq == b.seq && a.headers == b.headers;
        let ours = found.iter().zip(entries).take_while(is_ours).count();
        let overtaken = ours == 0 && !found.is_empty();
        Ok(if overtaken { Settled::Overtaken } else { Settled::Written(ours) })
    }

    /// Shows readers the entries of an append whose result was lost.
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

    fn show(&self, entries: Vec<LogEntry>) {
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

/// Reports the outcomes to the calls. A caller that no longer waits retries with the same id.
fn report(calls: Vec<Call>, placements: &[Placement], failure: Option<&Failure>) {
    let mut placements = placements.iter().copied();
    for call in calls {
        let outcomes =
            (0..call.messages.len()).map(|_| outcome(placements.next(), failure)).collect();
        let _ = call.reply.send(outcomes);
    }
}

/// The outcome of one message. It has no placement if the group failed before the message got one.
fn outcome(placement: Option<Placement>, failure: Option<&Failure>) -> Outcome {
    let through = failure.map_or(u64::MAX, |failure| failure.through);
    match (placement, failure) {
        (Some(Placement::At { seq, duplicate }), _) if seq <= through => {
            Ok(Some(Ack { seq, duplicate, committed: true }))
        }
        (_, Some(failure)) => Err(failure.publish_error()),
        (Some(Placement::ConditionFailed), None) => Ok(None),
        (_, None) => {
            Err(PublishError::NotSent("newer messages are no longer in memory to check".to_owned()))
        }
    }
}
