//! First deliveries from the store: on the memory bus the whole log, on NATS the messages that the stream
//! does not have.
//!
//! Invariant: one process at a time dispatches a feed, by a claim. The top of the feed is stored before any
//! message up to it is dispatched. So if a process is killed, it is known what it may have begun: the next
//! process sets these messages aside, since the store counts their attempts exactly.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::feed_progress::FeedProgress;
use super::in_flight::{Incoming, Origin};
use super::interruption::Interruption;
use super::runtime::ConsumerRuntime;
use crate::bus::{BusError, Reader};
use crate::limits::{FAULT_PAUSE, FEED_ENTRIES, FEED_LEASE, FEED_SAVE};
use crate::message::{Record, decode, decode_body};
use crate::store::work::{Feed, FeedClaim, SetAside};
use crate::store::{Original, Store, StoreError};

/// Dispatches the feed of one generation of a consumer.
pub(super) struct StoreSource {
    pub runtime: Arc<ConsumerRuntime>,
    pub claim: FeedClaim,
    pub superseded: CancellationToken,
}

impl StoreSource {
    /// Dispatches until the feed is done or the consumer drains. Waits while another process has the claim.
    pub(super) async fn run(&self) -> Result<(), Interruption> {
        let (store, name) = (&self.runtime.store, self.runtime.name());
        let FeedClaim { generation, owner } = self.claim;
        loop {
            let claimed = store.claim_feed(name, generation, owner, FEED_LEASE).await?;
            if let Some(feed) = claimed {
                return self.feed(feed).await;
            }
            if store.consumer(name).await?.is_none_or(|now| now.feed.is_none()) {
                return Ok(());
            }
            tokio::select! {
                () = self.runtime.lifecycle.draining().cancelled() => return Ok(()),
                () = tokio::time::sleep(FEED_SAVE) => {}
            }
        }
    }

    async fn feed(&self, feed: Feed) -> Result<(), Interruption> {
        self.set_aside_doubtful(&feed).await?;
        let progress =
            Arc::new(FeedProgress::new(feed.top, feed.to, self.claim, self.superseded.clone()));
        let saver = Saver { source: self, progress: &progress, turn: Mutex::default() };
        saver.save(progress.at_rest(), FEED_LEASE).await?;
        let pages = Pages::open(&self.runtime, &feed).await?;
        let ended = tokio::select! {
            ended = self.dispatch_all(pages, &progress, &saver) => ended,
            error = saver.keep() => Err(error.into()),
            () = self.runtime.lifecycle.draining().cancelled() => Ok(()),
        };
        let lifecycle = &self.runtime.lifecycle;
        let rest = if lifecycle.draining().is_cancelled() {
            // First waits for what is in flight. Messages that are open after that have never begun.
            lifecycle.over().cancelled().await;
            progress.at_rest()
        } else {
            progress.current()
        };
        // Saved with a lease of zero, so that the next process can take over at once.
        saver.save(rest, Duration::ZERO).await?;
        ended
    }

    /// Dispatches page by page as permits become free. Returns when the whole feed is done.
    async fn dispatch_all(
        &self,
        mut pages: Pages,
        progress: &Arc<FeedProgress>,
        saver: &Saver<'_>,
    ) -> Result<(), Interruption> {
        let runtime = &self.runtime;
        while !pages.at_end() {
            let page = match pages.next(runtime).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::debug!(%error, consumer = runtime.name(), "the feed waits");
                    tokio::time::sleep(FAULT_PAUSE).await;
                    continue;
                }
            };
            let filter = &runtime.spec.filter;
            let mut wanted: VecDeque<Record> = page
                .records
                .into_iter()
                .filter(|record| filter.matches(record.subject.as_str()))
                .collect();
            progress.extend(page.through, wanted.iter().map(|record| record.seq));
            if wanted.is_empty() {
                continue;
            }
            saver.save_progress().await?;
            while !wanted.is_empty() {
                let Ok(permit) = Arc::clone(&runtime.permits).acquire_owned().await else {
                    return Ok(());
                };
                if *runtime.paused.borrow() {
                    drop(permit);
                    self.wait_for_resume(progress, &wanted, page.through).await;
                    saver.save_progress().await?;
                    continue;
                }
                let Some(record) = wanted.pop_front() else { break };
                let (attempts, origin) = (Vec::new(), Origin::Feed(Arc::clone(progress)));
                let incoming =
                    Incoming { record, attempt: 1, attempts, is_doubtful: false, origin };
                runtime.dispatch(incoming, permit);
            }
        }
        while !progress.is_finished() {
            tokio::time::sleep(FAULT_PAUSE).await;
        }
        Ok(())
    }

    /// Waits while the consumer is paused. Messages that were not dispatched do not count as in flight
    /// meanwhile.
    async fn wait_for_resume(
        &self,
        progress: &FeedProgress,
        wanted: &VecDeque<Record>,
        through: u64,
    ) {
        let Some(first) = wanted.front() else { return };
        progress.retract(first.seq);
        let mut paused = self.runtime.paused.subscribe();
        // Cannot fail: the sender lives as long as the runtime.
        let _ = paused.wait_for(|paused| !paused).await;
        progress.extend(through, wanted.iter().map(|record| record.seq));
    }

    /// Sets aside the messages that an earlier holder of the claim may have begun.
    async fn set_aside_doubtful(&self, feed: &Feed) -> Result<(), StoreError> {
        let (runtime, mut next) = (&self.runtime, feed.floor + 1);
        while next <= feed.top {
            let rows = runtime.store.originals(next, FEED_ENTRIES).await?;
            let Some(last) = rows.last().map(|row| row.stored.seq) else { return Ok(()) };
            next = last + 1;
            let doubtful: Vec<SetAside> = rows
                .into_iter()
                .filter(|row| row.stored.seq <= feed.top)
                .filter(|row| feed.done.binary_search(&row.stored.seq).is_err())
                .filter(|row| runtime.spec.filter.matches(row.subject.as_str()))
                .map(|row| self.doubtful(row))
                .collect();
            if !doubtful.is_empty() {
                tracing::info!(
                    consumer = runtime.name(),
                    messages = doubtful.len(),
                    "setting aside what a process that has ended may have begun"
                );
                runtime.store.leave_feed(runtime.name(), self.claim, &doubtful, &[]).await?;
                runtime.due.notify_one();
            }
        }
        Ok(())
    }

    fn doubtful(&self, row: Original) -> SetAside {
        let counted = self.runtime.spec.policy.doubtful(self.runtime.clock.now());
        SetAside {
            seq: row.stored.seq,
            subject: row.subject.as_str().to_owned(),
            body: row.stored.body,
            attempt: counted.as_ref().map_or(0, |counted| counted.attempt),
            attempts: counted.into_iter().collect(),
            delay: Duration::ZERO,
        }
    }
}

/// Saves the feed's progress, and renews the claim also when nothing has changed.
struct Saver<'a> {
    source: &'a StoreSource,
    progress: &'a FeedProgress,
    /// Locked while saving, so that an earlier state is not stored after a later one.
    turn: Mutex<()>,
}

impl Saver<'_> {
    async fn save(&self, feed: Feed, lease_for: Duration) -> Result<(), StoreError> {
        let StoreSource { runtime, claim: FeedClaim { generation, owner }, .. } = self.source;
        runtime.store.save_feed(runtime.name(), *generation, *owner, lease_for, &feed).await
    }

    /// Saves the progress. Waits and retries while the store does not answer. That is safe, because a takeover of
    /// the claim needs the store too.
    async fn save_progress(&self) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        while let Some(feed) = self.progress.take_changed() {
            match self.save(feed, FEED_LEASE).await {
                Err(StoreError::Unavailable(_)) => {
                    self.progress.mark_changed();
                    tokio::time::sleep(FAULT_PAUSE).await;
                }
                saved => return saved,
            }
        }
        Ok(())
    }

    /// Saves progress and renews the claim regularly. Returns when that fails.
    async fn keep(&self) -> StoreError {
        let StoreSource { runtime, claim: FeedClaim { generation, owner }, .. } = self.source;
        loop {
            tokio::time::sleep(FEED_SAVE).await;
            if let Err(error) = self.save_progress().await {
                return error;
            }
            match runtime.store.claim_feed(runtime.name(), *generation, *owner, FEED_LEASE).await {
                Ok(Some(_)) | Err(StoreError::Unavailable(_)) => {}
                Ok(None) => return StoreError::Fenced,
                Err(error) => return error,
            }
        }
    }
}

/// The messages of the feed, in order.
enum Pages {
    /// Read from the bus, which has all of them (memory bus).
    Log(Box<dyn Reader>),
    /// Read from the store: the rows from `next` up to `to`.
    Rows { next: u64, to: u64 },
}

struct Page {
    records: Vec<Record>,
    /// The position up to which the page was read.
    through: u64,
}

impl Pages {
    async fn open(runtime: &ConsumerRuntime, feed: &Feed) -> Result<Self, BusError> {
        Ok(match feed.to {
            None => Self::Log(runtime.bus.reader(feed.top + 1).await?),
            Some(to) => Self::Rows { next: feed.top + 1, to },
        })
    }

    fn at_end(&self) -> bool {
        matches!(self, Self::Rows { next, to } if next > to)
    }

    async fn next(&mut self, runtime: &ConsumerRuntime) -> Result<Page, Interruption> {
        match self {
            Self::Log(reader) => {
                let (entries, log) = (reader.next().await?, runtime.bus.log_name());
                let through = entries.last().map_or(0, |raw| raw.seq);
                let records = entries.into_iter().map(|raw| decode(raw, log)).collect();
                Ok(Page { records, through })
            }
            Self::Rows { next, to } => {
                let page = rows(&*runtime.store, *next, *to).await?;
                *next = page.through + 1;
                Ok(page)
            }
        }
    }
}

/// The rows from `next` on. Waits until the store has them.
async fn rows(store: &dyn Store, next: u64, to: u64) -> Result<Page, StoreError> {
    loop {
        // Read before the rows: rows up to this position are not added later.
        let committed = store.log_state().await?.committed_through;
        let mut rows = store.originals(next, FEED_ENTRIES).await?;
        rows.retain(|row| row.stored.seq <= to);
        let through = match rows.last() {
            Some(last) => last.stored.seq,
            None if committed >= to => to,
            None => {
                tokio::time::sleep(FAULT_PAUSE).await;
                continue;
            }
        };
        let record = |row: Original| {
            let Original { stored, subject, logged_at, trace, .. } = row;
            Record { trace, ..decode_body(stored.seq, subject, stored.body, logged_at) }
        };
        return Ok(Page { records: rows.into_iter().map(record).collect(), through });
    }
}
