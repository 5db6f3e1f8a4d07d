//! Erasure of messages (contract, section 17).
//!
//! Invariants: nothing is recorded while it could not be finished, as far as that is known. What is recorded is finished,
//! by this server before it answers or else by any. A caller erases only what it may read.

use std::sync::Arc;

use serde::Serialize;
use uuid::Uuid;

use super::audit::Audit;
use super::calls::Call;
use super::history::History;
use super::{Code, Error};
use crate::access::Principal;
use crate::broadcast::Broadcaster;
use crate::clock::Clock;
use crate::committed::Committed;
use crate::erasures::{EraseError, Eraser};
use crate::limits::{MAX_ERASE_REASON, MAX_ERASED_OF_ID, READ_YOUR_WRITE};
use crate::message::{BodyError, ObjectReader, decode};
use crate::store::{Erasure, Original, Store};

/// Why a message is erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// It is not JSON, or its members break the rules.
    pub fn parse(json: &[u8]) -> Result<Self, BodyError> {
        let mut object = ObjectReader::parse(json)?;
        let reason = object.required_text("reason");
        object.finish("erasure", reason)
    }
}

impl std::str::FromStr for Reason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_valid = !text.trim().is_empty()
            && text.chars().count() <= MAX_ERASE_REASON
            && !text.contains('\0');
        match is_valid {
            true => Ok(Self(text.to_owned())),
            false => Err(format!("must be 1 to {MAX_ERASE_REASON} characters, without U+0000")),
        }
    }
}

/// A message that is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ErasedMessage {
    /// Its sequence; of several messages with the id the lowest.
    pub seq: u64,
}

/// Erases messages.
pub struct Erasures {
    pub(super) store: Arc<dyn Store>,
    pub(super) eraser: Arc<Eraser>,
    pub(super) broadcaster: Arc<Broadcaster>,
    pub(super) committed: Arc<Committed>,
    pub(super) audit: Audit,
    pub(super) clock: Clock,
}

impl Erasures {
    /// Erases every message with this id that the caller may read. When this returns, it is gone from the log, from the
    /// store and from this server; other servers forget it within a second.
    ///
    /// # Errors
    /// The caller lacks a grant; the message does not exist; `not_committed`; the bus or the store is unavailable. After
    /// `bus_unavailable` and `store_unavailable` the call may be repeated; what is recorded is finished in any case.
    pub async fn erase(
        &self,
        principal: &Principal,
        id: Uuid,
        reason: Reason,
    ) -> Result<ErasedMessage, Error> {
        Call::EraseMessage.check(principal)?;
        let found = self.find(principal, id).await?;
        let first = found.first().ok_or_else(History::missing)?.stored.seq;
        let erasures = self.recorded(principal, found, reason).await?;
        self.eraser.finish(&erasures).await.map_err(|error| unfinished(error, id, first))?;
        Ok(ErasedMessage { seq: first })
    }

    /// The messages with this id that the caller may read.
    async fn find(&self, principal: &Principal, id: Uuid) -> Result<Vec<Original>, Error> {
        let found = self.readable(principal, id).await?;
        let head = self.broadcaster.head().unwrap_or(0);
        if !found.is_empty() || self.committed.through() >= head {
            return Ok(found);
        }
        // It may be in the log, and not yet in the store.
        if self.committed.wait_for(head, READ_YOUR_WRITE).await {
            return self.readable(principal, id).await;
        }
        let text = "the store does not have all that is in the log yet, and only what it has can be erased: repeat the request";
        Err(Error::new(Code::NotCommitted, text))
    }

    async fn readable(&self, principal: &Principal, id: Uuid) -> Result<Vec<Original>, Error> {
        let mut found = self.store.originals_of(id, 0, MAX_ERASED_OF_ID).await?;
        if let Some(scope) = principal.scope() {
            found.retain(|it| scope.allows(&decode(it.clone().into_log_entry(), "")));
        }
        Ok(found)
    }

    /// Records the erasures, with an entry in the audit log for each that is new. Returns those that are not finished.
    async fn recorded(
        &self,
        principal: &Principal,
        found: Vec<Original>,
        Reason(reason): Reason,
    ) -> Result<Vec<Erasure>, Error> {
        let mut unfinished = Vec::new();
        for original in found {
            let (seq, id) = (original.stored.seq, original.id);
            let erasure = match self.store.erasure(seq).await? {
                Some(known) => known,
                None => {
                    self.eraser.ready().map_err(|error| not_begun(error, id))?;
                    let erasure = Erasure::of(&original, reason.clone(), self.clock.now());
                    let (target, detail) = (id.to_string(), erasure.detail());
                    let entry = self.audit.entry(principal, "message.erase", &target, detail);
                    self.store.begin_erasure(&erasure, &entry).await?;
                    erasure
                }
            };
            if !erasure.is_done {
                unfinished.push(erasure);
            }
        }
        Ok(unfinished)
    }
}

/// The error for an erasure of which nothing was recorded.
fn not_begun(error: EraseError, id: Uuid) -> Error {
    let mut error = failed(error, "nothing was erased: the bus cannot be reached now");
    error.report.id = Some(id);
    error.report.outcome = Some("not_sent");
    error
}

/// The error for an erasure that is recorded, and that a server finishes later.
fn unfinished(error: EraseError, id: Uuid, seq: u64) -> Error {
    let text = "the erasure is recorded, and is finished as soon as bus and store answer; repeat the request to learn when";
    failed(error, text).at(id, seq)
}

fn failed(error: EraseError, text: &str) -> Error {
    let code = match error {
        EraseError::Closed(_) | EraseError::Bus(_) => Code::BusUnavailable,
        EraseError::Store(_) => Code::StoreUnavailable,
    };
    Error::new(code, text).because(error.to_string())
}
