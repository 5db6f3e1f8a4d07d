//! Asks the store for ids that the bus may have forgotten, without waiting for
//! a store that is away.
//!
//! Invariants: publishing is held up by the store for a moment at most, and then
//! not again until one look-up has found out that it is back. What is asked while
//! one look-up is on the way goes into the next, so that many clients cost the
//! store a few statements and not one each.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::limits::{ID_LOOKUP_BATCH, ID_LOOKUP_QUEUE, STORE_LOOKUP_PAUSE, STORE_LOOKUP_TIMEOUT};
use crate::store::{Store, StoreError};

/// The lowest sequence of each id.
type Known = HashMap<Uuid, u64>;

/// One id that somebody asks for.
struct Question {
    id: Uuid,
    answer: oneshot::Sender<Result<Option<u64>, String>>,
}

/// The ids that have a row in the store.
pub struct IdLookup {
    store: Arc<dyn Store>,
    questions: mpsc::Sender<Question>,
    /// Until when nobody asks, after a look-up failed.
    closed_until: Mutex<Option<Instant>>,
    /// Asks for many at once; ends with us.
    _asker: AbortOnDropHandle<()>,
}

impl IdLookup {
    /// Asks this store. Must be called within a runtime.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        let (questions, asked) = mpsc::channel(ID_LOOKUP_QUEUE);
        let asker = tokio::spawn(ask_together(Arc::clone(&store), asked));
        let closed_until = Mutex::default();
        Self { store, questions, closed_until, _asker: AbortOnDropHandle::new(asker) }
    }

    /// The lowest sequence of each id that has a row; empty while the store
    /// cannot be asked.
    pub async fn find(&self, ids: &[Uuid]) -> Known {
        if ids.is_empty() || !self.may_ask() {
            return HashMap::new();
        }
        let answer = async {
            match ids {
                [id] => self.find_one(*id).await,
                // A batch is one statement by itself.
                _ => self.store.find(ids).await,
            }
        };
        let answer = tokio::time::timeout(STORE_LOOKUP_TIMEOUT, answer).await;
        match answer.unwrap_or_else(|_| Err(slow())) {
            Ok(known) => {
                *self.closed_until() = None;
                known
            }
            Err(error) => {
                tracing::debug!(%error, "repeats are recognised by the bus alone");
                *self.closed_until() = Some(Instant::now() + STORE_LOOKUP_PAUSE);
                HashMap::new()
            }
        }
    }

    async fn find_one(&self, id: Uuid) -> Result<Known, StoreError> {
        let (answer, answered) = oneshot::channel();
        // Whatever became of the asker, the question is asked.
        if self.questions.send(Question { id, answer }).await.is_err() {
            return self.store.find(&[id]).await;
        }
        match answered.await {
            Ok(Ok(found)) => Ok(found.map(|first| (id, first)).into_iter().collect()),
            Ok(Err(reason)) => Err(StoreError::Unavailable(reason)),
            Err(_) => self.store.find(&[id]).await,
        }
    }

    /// Whether to ask now. After a pause one caller finds out for all.
    fn may_ask(&self) -> bool {
        let mut closed_until = self.closed_until();
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

    fn closed_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.closed_until.lock()
    }
}

fn slow() -> StoreError {
    StoreError::Unavailable("no answer in time".to_owned())
}

/// Lets everything run that can, as long as that brings more questions: who can ask now does so
/// before the statement and not while it runs. Nobody waits for anything but tasks at work.
async fn gather(asked: &mut mpsc::Receiver<Question>, together: &mut Vec<Question>) {
    while together.len() < ID_LOOKUP_BATCH {
        tokio::task::yield_now().await;
        if asked.is_empty() {
            return;
        }
        asked.recv_many(together, ID_LOOKUP_BATCH - together.len()).await;
    }
}

/// Asks for everything that was asked since the last time, until nobody can ask any more.
async fn ask_together(store: Arc<dyn Store>, mut asked: mpsc::Receiver<Question>) {
    let mut together = Vec::with_capacity(ID_LOOKUP_BATCH);
    while asked.recv_many(&mut together, ID_LOOKUP_BATCH).await > 0 {
        gather(&mut asked, &mut together).await;
        // Who asked does not wait any longer than this either.
        together.retain(|question| !question.answer.is_closed());
        if together.is_empty() {
            continue;
        }
        let ids: Vec<Uuid> = together.iter().map(|question| question.id).collect();
        let found = tokio::time::timeout(STORE_LOOKUP_TIMEOUT, store.find(&ids)).await;
        let found = found.unwrap_or_else(|_| Err(slow()));
        for Question { id, answer } in together.drain(..) {
            let one = found.as_ref().map(|known| known.get(&id).copied());
            // Whoever went away needs no answer.
            let _ = answer.send(one.map_err(ToString::to_string));
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
    async fn each_of_many_gets_its_own_answer() {
        let dir = std::env::temp_dir().join(format!("agentbus-known-{}", Uuid::new_v4()));
        let store = Arc::new(SqliteStore::open(&dir).await.expect("SQLite opens"));
        let claimed = store.claim(Uuid::now_v7(), Duration::from_secs(60), true).await;
        let lease = claimed.expect("the store answers").expect("nobody else has it");
        let mut batch = Batch::after(0);
        batch.extend((1..=100).map(entry).collect(), "log");
        write_all(&*store, &lease, &batch).await.expect("written");
        let known = IdLookup::new(store);
        let ids: Vec<Uuid> = (1..=200).map(id).collect();
        let asked = ids.chunks(1).map(|one| known.find(one));
        for (n, found) in (1..).zip(futures_util::future::join_all(asked).await) {
            let found: Vec<_> = found.into_iter().collect();
            let expected = if n <= 100 { vec![(id(n), n)] } else { Vec::new() };
            assert_eq!(found, expected);
        }
        std::fs::remove_dir_all(dir).expect("the directory goes");
    }
}
