//! The ledger: how each lease ended, or until when it was extended.
//!
//! Invariant: a lease has one subject and that one record. Whoever writes it must name
//! the record that it replaces (none, for the first), so of two that end a lease at
//! once one wins and the other is told, on whatever servers they are.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::NatsJobs;
use crate::bus::BusError;
use crate::bus::nats::error::JsError;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// It goes on until this time, in microseconds since 1970.
    Extended(i64),
    /// The job is done.
    Acked,
    /// The job was given back, or given up.
    Released,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// What it says.
    pub state: LeaseState,
    /// Of which job: the stream may have been made anew, with the old sequences.
    pub job: Uuid,
    /// Who wrote it: tells one's own record, whose ack was lost, from another's.
    pub by: Uuid,
}

/// What became of a record to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordOutcome {
    /// It stands at this sequence.
    Written(u64),
    /// There is another one than was named.
    Conflict,
}

#[derive(Deserialize)]
struct PubAck {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    error: Option<JsError>,
}

/// `wrong last sequence`, and the one without the number.
const WRONG_LAST_SEQUENCE: [u64; 2] = [10_071, 10_164];

fn subject(seq: u64, lease: Uuid) -> String {
    format!("leases.{seq}.{}", lease.simple())
}

impl NatsJobs {
    /// Writes records, all at once: each of the lease of a job at a sequence, in place of
    /// the record at another (0 for none), forgotten after a while.
    pub async fn write_records(
        &self,
        records: &[(u64, Uuid, u64, Duration, LeaseRecord)],
    ) -> Vec<Result<RecordOutcome, BusError>> {
        let ttl = match self.streams().await {
            Ok(streams) => streams.ttl,
            Err(error) => return vec![Err(error); records.len()],
        };
        let asked = records.iter().map(|(seq, lease, replaced, keep, record)| {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Expected-Last-Subject-Sequence", replaced.to_string());
            if ttl {
                headers.insert("Nats-TTL", format!("{}s", keep.as_secs() + 1));
            }
            let body = serde_json::to_vec(record).unwrap_or_default();
            (subject(*seq, *lease), headers, Bytes::from(body))
        });
        let answers = self.ask_all(asked.collect()).await;
        answers
            .into_iter()
            .map(|answer| answer.and_then(|message| read(&message.payload)))
            .collect()
    }

    /// The record of a lease, and its sequence.
    ///
    /// # Errors
    /// JetStream cannot be asked.
    pub async fn lease_record(
        &self,
        seq: u64,
        lease: Uuid,
    ) -> Result<Option<(u64, LeaseRecord)>, BusError> {
        self.last_record(&subject(seq, lease)).await
    }

    /// The newest record of any lease of the job at a sequence.
    ///
    /// # Errors
    /// JetStream cannot be asked.
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

fn read(payload: &[u8]) -> Result<RecordOutcome, BusError> {
    let ack: PubAck = serde_json::from_slice(payload)
        .map_err(|error| BusError(format!("unreadable ack of a lease's record: {error}")))?;
    match ack.error {
        None => Ok(RecordOutcome::Written(ack.seq)),
        Some(error) if WRONG_LAST_SEQUENCE.contains(&error.err_code) => Ok(RecordOutcome::Conflict),
        Some(error) => {
            Err(BusError(format!("{} (JetStream error {})", error.description, error.err_code)))
        }
    }
}
