//! What both stores share of backup and restore: what a copy holds, and what a restore changes in it.
//!
//! Invariant: the changes are made in the transaction, or in the file, that becomes the restored store. So no process
//! ever sees a restored store without them.

use super::log::LogState;
use super::schema::Step;

/// What a copy of a store holds, read from the copy itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupContent {
    /// The state of the log: the copy is complete up to its `committed_through`.
    pub log: LogState,
    /// The migrations of its schema.
    pub schema: Vec<Step>,
}

/// What a restore changes in the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restoration {
    /// The sequence up to which the copy is complete.
    pub through: u64,
    /// The last sequence that may have been assigned since: the range up to it becomes a hole. `None` if the stream still
    /// holds what was assigned.
    pub skip_to: Option<u64>,
    /// Whether keys stay enabled.
    pub keep_keys: bool,
}

/// Literals that differ between the databases.
pub(super) struct Literals {
    /// The time of now.
    pub now: &'static str,
    /// 1970.
    pub epoch: &'static str,
    /// The end of a lease that nobody holds.
    pub free: &'static str,
}

impl Restoration {
    /// The changes as SQL statements, for a transaction.
    pub(super) fn sql(&self, literals: &Literals) -> String {
        let Literals { now, epoch, free } = literals;
        let (through, to) = (self.through, self.skip_to.unwrap_or(self.through));
        let mut sql = format!(
            "UPDATE log_state SET lease_owner = NULL, lease_until = {free}, committed_through = {to};\n"
        );
        if to > through {
            let from = through + 1;
            sql += &format!(
                "INSERT INTO holes (from_seq, to_seq, reason) VALUES ({from}, {to}, 'abandoned');\n"
            );
        }
        if !self.keep_keys {
            // As `KeyStore::enable_key` finds them. A replaced secret that is still accepted is not kept.
            sql += &format!(
                "DELETE FROM key_secrets WHERE valid_until IS NOT NULL AND valid_until <> {epoch};\n\
                 UPDATE key_secrets SET valid_until = {epoch};\n\
                 UPDATE versions SET keys = keys + 1;\n"
            );
        }
        let keys = if self.keep_keys { "kept" } else { "disabled" };
        sql += &format!(
            "INSERT INTO audit (at, actor_name, action, target, detail, outcome) VALUES ({now}, 'operator', \
             'store.restore', '{through}', '{{\"skipped_to\":{to},\"keys\":\"{keys}\"}}', 'done');\n"
        );
        sql
    }
}
