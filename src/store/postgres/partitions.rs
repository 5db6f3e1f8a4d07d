//! Partitions of `messages`, created by the writer as sequences reach them.
//!
//! Invariant: a write creates the partitions of its own sequences and the next one, never a whole range,
//! since sequences may jump by 2^32. A partition is created as a separate table and then attached, which
//! blocks no reader (`CREATE … PARTITION OF` waits for all readers, and makes later ones wait).
//!
//! The indices of a partition are not deduplicated. Every key ends in a sequence, so no two are equal, and
//! PostgreSQL would search for equal keys in vain before it splits an index page. PostgreSQL does not take
//! `deduplicate_items` on the partitioned index itself.

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
    /// Creates the partitions that the rows need, and the next one.
    pub async fn ensure(&self, pool: &PgPool, write: &Write<'_>) -> Result<(), StoreError> {
        let needed: BTreeSet<u64> =
            write.records.iter().map(|record| record.seq / PARTITION_SEQS).collect();
        for index in &needed {
            self.create(pool, *index).await?;
        }
        let Some(next) = needed.last().map(|last| last + 1) else { return Ok(()) };
        if let Err(error) = self.create(pool, next).await {
            tracing::warn!(%error, "the next partition of messages was not created; the next write tries again");
        }
        Ok(())
    }

    /// Clears the known partitions, since an error may mean that one of them is missing.
    pub fn forget(&self) {
        self.known.lock().clear();
    }

    async fn create(&self, pool: &PgPool, index: u64) -> Result<(), StoreError> {
        if self.known.lock().contains(&index) {
            return Ok(());
        }
        let sql = AssertSqlSafe(create_partition_sql(index));
        bounded(STORE_WRITE_TIMEOUT, sqlx::raw_sql(sql).execute(pool)).await?;
        self.known.lock().insert(index);
        Ok(())
    }
}

/// The table of the partition that begins at `index` times [`PARTITION_SEQS`].
pub(super) fn name(index: impl Display) -> String {
    format!("messages_p{index}")
}

/// The statement that creates and attaches a partition. It is one block, and so one transaction. Its lock
/// makes two servers that create the same partition wait for each other.
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
