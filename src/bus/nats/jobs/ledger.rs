//! The ledger records how each lease ended, or until when it was extended.
//!
//! Invariant: each lease has one subject with at most one record. A write names the record that it replaces;
//! the first write requires that there is none. So if two requests end a lease at the same time, on any
//! servers, one write succeeds and the other is refused.

use std::time::Duration;

use async_nats::HeaderMap;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::client::NatsJobs;
use crate::bus::BusError;
use crate::bus::nats::error::WRONG_LAST_SEQUENCE;
use crate::limits::NATS_ACK_TIMEOUT;

/// `wrong last sequence: N`, and the code of this error without the number.
const WRONG_LAST: [u64; 2] = [WRONG_LAST_SEQUENCE, 10_164];

/// The state of a lease in its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// Extended until this time, in microseconds since 1970.
    Extended(i64),
    /// The job is done.
    Acked,
    /// The job was nacked or given up.
    Released,
}

/// The record of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// The state of the lease.
    pub state: LeaseState,
    /// The id of the job. Needed because a stream that was deleted and created again reuses the sequences.
    pub job: Uuid,
    /// The id of this write. After a lost ack, it shows a server whether the record is its own or another
    /// server's.
    pub by: Uuid,
}

/// A record to be written.
#[derive(Clone, Debug)]
pub struct RecordWrite {
    /// The sequence of the job.
    pub seq: u64,
    /// The id of the lease in the ledger.
    pub lease: Uuid,
    /// The sequence of the record that this one replaces; 0 if there must be none.
    pub replaces: u64,
    /// How long the record is kept at least.
    pub keep: Duration,
    /// The record.
    pub record: LeaseRecord,
}

/// The outcome of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordOutcome {
    /// The record was written, at this sequence.
    Written(u64),
    /// Not written: the record to be replaced is not the lease's current one.
    Conflict,
}

fn subject(seq: u64, lease: Uuid) -> String {
    format!("leases.{seq}.{}", lease.simple())
}

impl NatsJobs {
    /// Writes records, all at the same time. Returns one outcome for each, in order.
    pub async fn write_records(
        &self,
        writes: &[RecordWrite],
    ) -> Vec<Result<RecordOutcome, BusError>> {
        let ttl = match self.streams().await {
            Ok(streams) => streams.ttl,
            Err(error) => return vec![Err(error); writes.len()],
        };
        join_all(writes.iter().map(|write| self.write_record(write, ttl))).await
    }

    async fn write_record(
        &self,
        write: &RecordWrite,
        ttl: bool,
    ) -> Result<RecordOutcome, BusError> {
        #[derive(Deserialize)]
        struct PubAck {
            seq: u64,
        }
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", write.replaces.to_string());
        if ttl {
            headers.insert("Nats-TTL", format!("{}s", write.keep.as_secs() + 1));
        }
        let subject = subject(write.seq, write.lease);
        let body = serde_json::to_vec(&write.record).unwrap_or_default().into();
        match self.requester.call_with::<PubAck>(&subject, headers, body, NATS_ACK_TIMEOUT).await {
            Ok(ack) => Ok(RecordOutcome::Written(ack.seq)),
            Err(error) if WRONG_LAST.iter().any(|code| error.is(*code)) => {
                Ok(RecordOutcome::Conflict)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The record of a lease, with its sequence.
    ///
    /// # Errors
    /// JetStream cannot be reached.
    pub async fn lease_record(
        &self,
        seq: u64,
        lease: Uuid,
    ) -> Result<Option<(u64, LeaseRecord)>, BusError> {
        self.last_record(&subject(seq, lease)).await
    }

    /// The latest record of any lease of the job at sequence `seq`.
    ///
    /// # Errors
    /// JetStream cannot be reached.
    pub async fn latest_record(&self, seq: u64) -> Result<Option<LeaseRecord>, BusError> {
        let found = self.last_record(&format!("leases.{seq}.*")).await?;
        Ok(found.map(|(_, record)| record))
    }

    async fn last_record(&self, subject: &str) -> Result<Option<(u64, LeaseRecord)>, BusError> {
        let which = json!({ "last_by_subj": subject });
        let found = self.requester.stored(&self.config.leases_stream_name, &which).await?;
        Ok(found.and_then(|raw| Some((raw.seq, serde_json::from_slice(&raw.payload).ok()?))))
    }
}
