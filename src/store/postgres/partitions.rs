//! Partitions of `messages`, made by the writer as sequences reach them.
//!
//! Invariant: made for the sequences at hand and one ahead, never for a whole
//! range, since sequences may jump by 2^32. A partition is created beside the
//! table and attached, which stops no reader (`CREATE … PARTITION OF` would wait
//! for all of them, and make all others wait).
//!
//! Its indices do not look for equal keys before a page is split: every key ends
//! in a sequence, so there are none to be found, and the search is work for nothing.
//! PostgreSQL does not let the partitioned index say so itself.

use std::collections::BTreeSet;
use std::fmt::Display;

use parking_lot::Mutex;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPool;

use super::connection::bounded;
use crate::limits::{PARTITION_SEQS, STORE_WRITE_TIMEOUT};
use crate::store::{StoreError, Write};

/// The partitions known to exist.
#[derive(Default)]
pub(super) struct Partitions {
    known: Mutex<BTreeSet<u64>>,
}

impl Partitions {
    /// Sees to it that the rows have somewhere to go.
    pub async fn ensure(&self, pool: &PgPool, write: &Write<'_>) -> Result<(), StoreError> {
        let needed: BTreeSet<u64> =
            write.records.iter().map(|record| record.seq / PARTITION_SEQS).collect();
        for index in &needed {
            self.make(pool, *index).await?;
        }
        let Some(next) = needed.last().map(|last| last + 1) else { return Ok(()) };
        if let Err(error) = self.make(pool, next).await {
            tracing::warn!(%error, "could not make a partition ahead; will try again");
        }
        Ok(())
    }

    /// Forgets what exists, after an error that may mean it is gone.
    pub fn forget(&self) {
        self.known().clear();
    }

    async fn make(&self, pool: &PgPool, index: u64) -> Result<(), StoreError> {
        if self.known().contains(&index) {
            return Ok(());
        }
        let sql = AssertSqlSafe(create_partition_sql(index));
        bounded(STORE_WRITE_TIMEOUT, sqlx::raw_sql(sql).execute(pool)).await?;
        self.known().insert(index);
        Ok(())
    }

    fn known(&self) -> parking_lot::MutexGuard<'_, BTreeSet<u64>> {
        // A set of numbers is whole even if its last holder panicked.
        self.known.lock()
    }
}

/// The table of the partition that begins at this multiple of [`PARTITION_SEQS`].
pub(super) fn name(index: impl Display) -> String {
    format!("messages_p{index}")
}

/// One block, one transaction: two servers that make the same partition take turns.
#[must_use]
pub fn create_partition_sql(index: u64) -> String {
    let (from, to) = (index * PARTITION_SEQS, (index + 1) * PARTITION_SEQS);
    let name = name(index);
    format!(
        "DO $$ DECLARE made regclass; BEGIN
           IF to_regclass('{name}') IS NULL THEN
             LOCK TABLE messages IN SHARE UPDATE EXCLUSIVE MODE;
             IF to_regclass('{name}') IS NULL THEN
               CREATE TABLE {name} (LIKE messages INCLUDING ALL);
               FOR made IN SELECT indexrelid FROM pg_index WHERE indrelid = '{name}'::regclass LOOP
                 EXECUTE format('ALTER INDEX %s SET (deduplicate_items = off)', made);
               END LOOP;
               ALTER TABLE messages ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({to});
             END IF;
           END IF;
         END $$"
    )
}
