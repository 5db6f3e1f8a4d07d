//! Lists of erasures: written from one store, and done again on another that holds the messages again, such as a restored
//! one.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::{AuditRow, Erasure, Store, StoreError};

/// An erasure as a list has it, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureRecord {
    /// The message's sequence.
    pub seq: u64,
    /// The message's id.
    pub id: Uuid,
    /// Why it was erased.
    pub reason: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// What doing an erasure again came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// It is recorded, and a server finishes it.
    Recorded,
    /// The store has a record of it already.
    Known,
    /// The store has no such message at this sequence.
    Missing,
}

impl From<Erasure> for ErasureRecord {
    fn from(erasure: Erasure) -> Self {
        let Erasure { seq, id, reason, at, .. } = erasure;
        Self { seq, id, reason, at }
    }
}

impl ErasureRecord {
    /// Records the erasure on a store, as the command line does for its operator.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn repeat(
        &self,
        store: &dyn Store,
        now: DateTime<Utc>,
    ) -> Result<Repeated, StoreError> {
        if store.erasure(self.seq).await?.is_some() {
            return Ok(Repeated::Known);
        }
        let found = store.original(self.seq).await?.filter(|row| row.id == self.id);
        let Some(row) = found else { return Ok(Repeated::Missing) };
        let erasure = Erasure::of(&row, self.reason.clone(), self.at);
        let entry = AuditRow {
            seq: 0,
            at: now,
            actor_id: None,
            actor_name: "operator".to_owned(),
            action: "message.erase".to_owned(),
            target: self.id.to_string(),
            detail: erasure.detail().to_string(),
            outcome: "done".to_owned(),
        };
        store.begin_erasure(&erasure, &entry).await?;
        Ok(Repeated::Recorded)
    }
}
