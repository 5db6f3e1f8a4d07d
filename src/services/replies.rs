//! Waits for the first reply to a message (contract, section 9).
//!
//! Invariant: a waiter is registered before its request is published, so it misses no reply, even one through
//! another server.

use std::sync::Arc;

use crate::broadcast::{Broadcaster, FilterWatch, WatchEvent};
use crate::committed::Committed;
use crate::limits::{FAULT_PAUSE, MAX_PAGE_BYTES, MAX_REPLY_WAIT};
use crate::message::{Filter, Query, splice_seq};
use crate::store::Store;
use uuid::Uuid;

/// Waits for the reply to one request.
pub(super) struct ReplyWaiter {
    watch: FilterWatch,
    store: Arc<dyn Store>,
    committed: Arc<Committed>,
    request: Uuid,
}

impl ReplyWaiter {
    /// Registers a waiter for replies to a message that is published later.
    pub(super) async fn register(
        broadcaster: &Arc<Broadcaster>,
        store: Arc<dyn Store>,
        committed: Arc<Committed>,
        request: Uuid,
    ) -> Self {
        let watch = broadcaster.watch(replies_to(request)).await;
        Self { watch, store, committed, request }
    }

    /// Waits for the first reply and returns its envelope. `repeated`: the request was in the log before,
    /// so its reply may be in history.
    pub(super) async fn reply(mut self, repeated: bool) -> Vec<u8> {
        // The sequence up to which history must be searched; `None` if the watch has missed nothing.
        let mut unseen = repeated.then(|| self.watch.since());
        loop {
            let event = match unseen {
                None => self.watch.next().await,
                Some(through) => {
                    let history = in_history(&*self.store, &self.committed, self.request, through);
                    tokio::select! {
                        biased;
                        found = history => match found {
                            Some(reply) => return reply,
                            None => {
                                unseen = None;
                                continue;
                            }
                        },
                        event = self.watch.next() => event,
                    }
                }
            };
            match event {
                WatchEvent::Message { seq, body } => return envelope(seq, &body),
                WatchEvent::Missed { through } => unseen = Some(through),
            }
        }
    }
}

fn replies_to(request: Uuid) -> Filter {
    Filter { in_reply_to: vec![request], ..Filter::default() }
}

/// Searches history for the first reply up to a sequence, until the store has all messages up to there.
async fn in_history(
    store: &dyn Store,
    committed: &Committed,
    request: Uuid,
    through: u64,
) -> Option<Vec<u8>> {
    let mut query = Query::new(replies_to(request), 1, MAX_PAGE_BYTES);
    loop {
        // The search comes first: a reply that is stored is returned at once, however far behind the
        // store is.
        match store.page(&query).await {
            Ok(page) => {
                committed.raise(page.committed_through);
                if let Some(reply) = page.messages.first() {
                    return Some(envelope(reply.seq, &reply.body));
                }
                if page.next.is_some() {
                    query.after = page.next;
                    continue;
                }
                if page.committed_through >= through {
                    return None;
                }
                committed.wait_for(through, MAX_REPLY_WAIT).await;
            }
            Err(error) => {
                tracing::debug!(%error, "history cannot be searched for a reply; retrying");
                tokio::time::sleep(FAULT_PAUSE).await;
            }
        }
    }
}

fn envelope(seq: u64, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(body.len() + 32);
    splice_seq(seq, body, &mut message);
    message
}
