//! A log on the memory bus with its ring, for tests.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Broadcaster, RingReader};
use crate::bus::Bus;
use crate::bus::memory::MemoryBus;
use crate::clock::Clock;
use crate::committed::Committed;
use crate::message::{Draft, Filter, Outgoing};
use crate::projector::StoreJournal;
use crate::store::Store;
use crate::store::sqlite::SqliteStore;

/// A log on the memory bus, and its ring, which is filled from [`Log::fill_ring`] on.
pub(crate) struct Log {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) broadcaster: Arc<Broadcaster>,
    end: CancellationToken,
    dir: PathBuf,
}

impl Log {
    /// Starts with a ring of this many entries.
    pub(crate) async fn start(ring: usize) -> Self {
        let dir = std::env::temp_dir().join(format!("agentbus-log-{}", Uuid::new_v4()));
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir).await.expect("opens"));
        let claimed = store.claim(Uuid::now_v7(), Duration::from_secs(60), true).await;
        let lease = claimed.expect("the store answers").expect("no other server has it");
        let (committed, end) = (Arc::new(Committed::default()), CancellationToken::new());
        let (its_store, its_mark) = (Arc::clone(&store), Arc::clone(&committed));
        let journal = StoreJournal::new(its_store, lease, its_mark, "log");
        let opened = MemoryBus::open(Arc::new(journal), Clock::system()).await;
        let (bus, writer) = opened.expect("opens");
        tokio::spawn(writer.run(end.clone()));
        let bus: Arc<dyn Bus> = Arc::new(bus);
        let broadcaster =
            Broadcaster::new(Arc::clone(&bus), store, committed, Arc::default(), ring);
        Self { bus, broadcaster: Arc::new(broadcaster), end, dir }
    }

    /// Publishes this many messages from `a`.
    pub(crate) async fn publish(&self, count: usize) {
        self.publish_each(count, "a", "x").await;
    }

    /// Publishes this many messages.
    pub(crate) async fn publish_each(&self, count: usize, sender: &str, content: &str) {
        let body = serde_json::json!({"kind": "message", "type": "tick", "sender_id": sender, "content": content});
        let draft = Draft::parse(body.to_string().as_bytes()).expect("a message");
        let encode = || Outgoing::encode(&draft, Uuid::now_v7(), Clock::system().now());
        let messages = std::iter::repeat_with(encode).take(count).collect();
        for outcome in self.bus.publish(messages).await {
            outcome.expect("published");
        }
    }

    /// Starts to fill the ring if needed, and waits until it has the whole log.
    pub(crate) async fn fill_ring(&self) {
        if self.broadcaster.head().is_none() {
            tokio::spawn(Arc::clone(&self.broadcaster).run(self.end.clone()));
            drop(self.broadcaster.watch(Filter::default()).await);
        }
        let last = self.bus.identity().await.expect("answers").bounds.last;
        let mut ring = RingReader::new(Arc::clone(&self.broadcaster));
        let reached = async {
            if last > 0 {
                ring.wait_beyond(last - 1).await
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reached).await.expect("read");
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.end.cancel();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
