//! Finds ids in the store that the bus may have forgotten, without waiting for a store that is not available.
//!
//! Invariants: the store delays publishing for at most [`STORE_LOOKUP_TIMEOUT`], and after a time-out not
//! again until one look-up has succeeded. Ids that arrive while a look-up runs share the next one, so many
//! clients cost the store a few statements and not one each.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::limits::{ID_LOOKUP_BATCH, ID_LOOKUP_QUEUE, STORE_LOOKUP_PAUSE, STORE_LOOKUP_TIMEOUT};
use crate::store::{Store, StoreError};

/// The lowest sequence of each id.
type Found = HashMap<Uuid, u64>;

/// A look-up of one id.
struct Request {
    id: Uuid,
    reply: oneshot::Sender<Result<Option<u64>, String>>,
}

/// Finds which ids the store has.
pub struct IdLookup {
    store: Arc<dyn Store>,
    requests: mpsc::Sender<Request>,
    /// After a failed look-up, the time until which none is tried.
    closed_until: Mutex<Option<Instant>>,
    /// The task that looks up many ids at once; it ends when this value is dropped.
    _batcher: AbortOnDropHandle<()>,
}

impl IdLookup {
    /// Makes a look-up in this store. Must be called within a runtime.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        let (requests, received) = mpsc::channel(ID_LOOKUP_QUEUE);
        let batcher = tokio::spawn(look_up_batches(Arc::clone(&store), received));
        let closed_until = Mutex::default();
        Self { store, requests, closed_until, _batcher: AbortOnDropHandle::new(batcher) }
    }

    /// The lowest sequence of each id that the store has; empty while the store is not available.
    pub async fn find(&self, ids: &[Uuid]) -> Found {
        if ids.is_empty() || !self.may_look_up() {
            return HashMap::new();
        }
        let look_up = async {
            match ids {
                [id] => self.find_one(*id).await,
                // Several ids are looked up in a statement of their own.
                _ => self.store.find(ids).await,
            }
        };
        let found = tokio::time::timeout(STORE_LOOKUP_TIMEOUT, look_up).await;
        match found.unwrap_or_else(|_| Err(timed_out())) {
            Ok(found) => {
                *self.closed_until.lock() = None;
                found
            }
            Err(error) => {
                tracing::debug!(%error, "duplicates are recognised by the bus alone");
                *self.closed_until.lock() = Some(Instant::now() + STORE_LOOKUP_PAUSE);
                HashMap::new()
            }
        }
    }

    async fn find_one(&self, id: Uuid) -> Result<Found, StoreError> {
        let (reply, received) = oneshot::channel();
        // If the batcher has ended, the store is queried directly.
        if self.requests.send(Request { id, reply }).await.is_err() {
            return self.store.find(&[id]).await;
        }
        match received.await {
            Ok(Ok(found)) => Ok(found.map(|first| (id, first)).into_iter().collect()),
            Ok(Err(reason)) => Err(StoreError::Unavailable(reason)),
            Err(_) => self.store.find(&[id]).await,
        }
    }

    /// Whether to look up now. After the pause that follows a failure, one caller tries on behalf of all.
    fn may_look_up(&self) -> bool {
        let mut closed_until = self.closed_until.lock();
        let now = Instant::now();
        match *closed_until {
            Some(until) if now < until => false,
            Some(_) => {
                *closed_until = Some(now + STORE_LOOKUP_PAUSE);
                true
            }
            None => true,
        }
    }
}

fn timed_out() -> StoreError {
    StoreError::Unavailable("the store did not respond in time".to_owned())
}

/// Yields as long as that brings more requests, so that tasks that are ready add theirs before the statement
/// runs. Waits for nothing but ready tasks.
async fn gather(received: &mut mpsc::Receiver<Request>, batch: &mut Vec<Request>) {
    while batch.len() < ID_LOOKUP_BATCH {
        tokio::task::yield_now().await;
        if received.is_empty() {
            return;
        }
        received.recv_many(batch, ID_LOOKUP_BATCH - batch.len()).await;
    }
}

/// Looks up the ids requested since the last statement, until the [`IdLookup`] is dropped.
async fn look_up_batches(store: Arc<dyn Store>, mut received: mpsc::Receiver<Request>) {
    let mut batch = Vec::with_capacity(ID_LOOKUP_BATCH);
    while received.recv_many(&mut batch, ID_LOOKUP_BATCH).await > 0 {
        gather(&mut received, &mut batch).await;
        // A caller that has timed out no longer needs the result.
        batch.retain(|request| !request.reply.is_closed());
        if batch.is_empty() {
            continue;
        }
        let ids: Vec<Uuid> = batch.iter().map(|request| request.id).collect();
        let found = tokio::time::timeout(STORE_LOOKUP_TIMEOUT, store.find(&ids)).await;
        let found = found.unwrap_or_else(|_| Err(timed_out()));
        for Request { id, reply } in batch.drain(..) {
            let one = found.as_ref().map(|found| found.get(&id).copied());
            let _ = reply.send(one.map_err(ToString::to_string));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::message::{HEADER_NATIVE, HEADER_NATIVE_V1, LogEntry, Subject};
    use crate::store::sqlite::SqliteStore;
    use crate::store::{Batch, LogStore as _, write_all};

    fn id(n: u64) -> Uuid {
        Uuid::from_u128(u128::from(n))
    }

    fn entry(seq: u64) -> LogEntry {
        LogEntry {
            seq,
            subject: Subject::from_log("agent.status.a.b"),
            headers: vec![(HEADER_NATIVE.to_owned(), HEADER_NATIVE_V1.to_owned())],
            payload: format!("{{\"id\":\"{}\"}}", id(seq)).into(),
            logged_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[tokio::test]
    async fn each_of_many_gets_its_own_result() {
        let dir = std::env::temp_dir().join(format!("agentbus-known-{}", Uuid::new_v4()));
        let store = Arc::new(SqliteStore::open(&dir).await.expect("SQLite opens"));
        let claimed = store.claim(Uuid::now_v7(), Duration::from_secs(60), true).await;
        let lease = claimed.expect("the store answers").expect("nobody else has it");
        let mut batch = Batch::after(0);
        batch.extend((1..=100).map(entry).collect(), "log");
        write_all(&*store, &lease, &batch).await.expect("written");
        let lookup = IdLookup::new(store);
        let ids: Vec<Uuid> = (1..=200).map(id).collect();
        let found = ids.chunks(1).map(|one| lookup.find(one));
        for (n, found) in (1..).zip(futures_util::future::join_all(found).await) {
            let found: Vec<_> = found.into_iter().collect();
            let expected = if n <= 100 { vec![(id(n), n)] } else { Vec::new() };
            assert_eq!(found, expected);
        }
        std::fs::remove_dir_all(dir).expect("the directory goes");
    }
}
