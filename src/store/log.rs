//! The log in the store: its state, the lease of its writer, and the write.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Error;
use uuid::Uuid;

use super::error::StoreError;
use super::membership::BusKind;
use super::sql::{Database, Pool, Row, Statement, from_db};
use crate::message::Record;

/// The state of the log as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogState {
    /// The *watermark*: everything up to this sequence is in the store or recorded as a hole.
    pub committed_through: u64,
    /// The lowest sequence with a row; `None` if there is no row.
    pub first_seq: Option<u64>,
    /// The bus that the log was on when it was last written; `None` for a new store.
    pub bus: Option<BusKind>,
    /// On NATS: the epoch of the stream that the rows came from (part of the stream's metadata).
    pub stream_epoch: Option<Uuid>,
}

/// The right to write to the log, until another process takes it over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The process that holds it.
    pub owner: Uuid,
    /// Rises with every change of the owner, which fences the former owner.
    pub epoch: i64,
    /// The watermark when the lease was granted.
    pub committed_through: u64,
}

/// A range of sequences that the log lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// First missing sequence.
    pub from: u64,
    /// Last missing sequence.
    pub to: u64,
    /// Why they are missing.
    pub reason: HoleReason,
}

/// Why sequences are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoleReason {
    /// The stream's limits dropped the entries, or an operator deleted them.
    Expired,
    /// A switch of the bus left the entries behind (`--abandon-tail`).
    Abandoned,
}

impl HoleReason {
    /// The name on the wire and in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Abandoned => "abandoned",
        }
    }

    /// The inverse of [`Self::as_str`]; a name that a newer version wrote counts as expired.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        if name == Self::Abandoned.as_str() { Self::Abandoned } else { Self::Expired }
    }
}

/// One write, which takes effect as a whole or not at all. Rows rise in `seq`; every sequence in
/// `old_through+1 ..= new_through` is either a row or inside a hole.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// The watermark before the write.
    pub old_through: u64,
    /// The watermark after the write.
    pub new_through: u64,
    /// The rows.
    pub records: &'a [Record],
    /// The sequences that the log skipped.
    pub holes: &'a [Hole],
    /// Whether to store *bare* rows: sequence, subject, id, kind, times and bytes alone, because the store
    /// refused their other columns. Bare rows still count.
    pub bare: bool,
    /// How long the lease lasts after this write, by the store's clock.
    pub lease_for: Duration,
}

/// The part of a store that its one writer uses.
#[async_trait]
pub trait LogStore: Database {
    /// The state of the log.
    async fn log_state(&self) -> Result<LogState, StoreError>;

    /// Records the bus and the stream's epoch, under the lease.
    async fn set_log(
        &self,
        lease: &Lease,
        bus: BusKind,
        epoch: Option<Uuid>,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE log_state SET bus = $3, stream_epoch = $4 \
                   WHERE lease_owner = $1 AND lease_epoch = $2";
        let statement =
            Statement::new(sql).bind(lease.owner).bind(lease.epoch).bind(bus.as_str()).bind(epoch);
        StoreError::unless_fenced(self.execute(Pool::Control, statement).await? == 1)
    }

    /// Takes the lease if it is free, has run out, is already the owner's, or `force` is set. Returns `None`
    /// while another process holds it.
    async fn claim(
        &self,
        owner: Uuid,
        lease_for: Duration,
        force: bool,
    ) -> Result<Option<Lease>, StoreError>;

    /// Whether the lease is still with its owner. Changes nothing.
    async fn holds_lease(&self, lease: &Lease) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) FROM log_state WHERE lease_owner = $1 AND lease_epoch = $2";
        let statement = Statement::new(sql).bind(lease.owner).bind(lease.epoch);
        let rows = self.select(Pool::Control, statement).await?;
        Ok(rows.first(|row| row.seq(0))? == Some(1))
    }

    /// Prolongs the lease. Returns [`StoreError::Fenced`] if it was lost.
    async fn renew(&self, lease: &Lease, lease_for: Duration) -> Result<(), StoreError>;

    /// Releases the lease, so that the next owner need not wait for its end.
    async fn release(&self, lease: &Lease) -> Result<(), StoreError>;

    /// Writes rows, holes and counters, folds them into agents, tasks and inboxes,
    /// and moves the watermark, in one transaction.
    async fn write(&self, lease: &Lease, write: Write<'_>) -> Result<(), StoreError>;
}

/// Decodes a row of `log_state`, with the lowest sequence in the column `first_seq`.
pub(super) fn read_log_state(row: Row<'_>) -> Result<LogState, Error> {
    Ok(LogState {
        committed_through: row.seq("committed_through")?,
        first_seq: row.get::<Option<i64>>("first_seq")?.map(from_db),
        bus: row.get::<Option<&str>>("bus")?.and_then(BusKind::from_name),
        stream_epoch: row.get("stream_epoch")?,
    })
}

/// Decodes the row that a claim returns: the lease that `owner` now has.
pub(super) fn read_lease(row: Row<'_>, owner: Uuid) -> Result<Lease, Error> {
    let (epoch, committed_through) = (row.get("lease_epoch")?, row.seq("committed_through")?);
    Ok(Lease { owner, epoch, committed_through })
}
