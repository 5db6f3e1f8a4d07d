//! Writing a lost tail back into the stream, under its old sequences.
//!
//! Invariant: while it goes on nobody else can publish. The stream takes a private
//! subject space alone, which it maps to the real one; its metadata says so, and what
//! its subjects were, so that whoever finds it half done goes on and ends it. Each
//! entry is stored only where it belongs (`Nats-Expected-Last-Sequence`), and without
//! the headers by which JetStream would take it for a repeat: those travel under
//! another name and are put back by every reader ([`super::entry`]).

use chrono::SecondsFormat;
use serde_json::{Map, Value, json};

use super::NatsBus;
use super::api::{StreamConfig, StreamInfo};
use super::error::ApiError;
use super::stream::METADATA_SINCE;
use crate::bus::{BusError, LogIdentity};
use crate::limits::{NATS_MAX_PIPELINED, WRITE_BACK_FILLERS};
use crate::message::{LogEntry, PRESERVED_HEADER_PREFIX, PRESERVED_TIME, Subject};

/// Metadata key: what to give the stream back when it is done.
const SHUT: &str = "agentbus_write_back";

/// Whether the stream is shut for writing back.
pub(super) fn is_shut(config: &StreamConfig) -> bool {
    config.metadata.as_ref().is_some_and(|metadata| metadata.contains_key(SHUT))
}

/// A stream that is shut for everyone else. Dropped before its end it stays shut.
pub struct WriteBack<'a> {
    bus: &'a NatsBus,
    prefix: String,
    /// The sequence that the stream gives next.
    next: u64,
}

impl NatsBus {
    /// Whether the server can write back at all.
    #[must_use]
    pub fn can_write_back(&self) -> bool {
        self.requester.connection.server_version() >= METADATA_SINCE
    }

    /// Shuts the stream for everyone else and makes `from` its next sequence; what it holds
    /// below goes where sequences in between are skipped.
    ///
    /// # Errors
    /// The server refuses, or the stream is beyond `from` already. Then it may stay shut:
    /// begin again.
    pub async fn begin_write_back(&self, from: u64) -> Result<WriteBack<'_>, BusError> {
        let info = self.requester.stream_info(&self.stream).await?;
        if !is_shut(&info.parsed()?) {
            let shut = shut(&info.config, &self.stream);
            self.requester.update_stream(&self.stream, &shut).await?;
        }
        // What was on the way when it was shut is in now.
        let last = self.requester.stream_info(&self.stream).await?.state.last_seq;
        if last >= from {
            return Err(BusError(format!(
                "stream {} is at {last} already: cannot write back from {from}",
                self.stream
            )));
        }
        if last + 1 < from {
            self.requester.purge_below(&self.stream, from).await?;
        }
        Ok(WriteBack { bus: self, prefix: prefix(&self.stream), next: from })
    }

    /// Opens a stream that was left shut, as it is.
    ///
    /// # Errors
    /// The server's.
    pub async fn reopen(&self) -> Result<(), BusError> {
        let info = self.requester.stream_info(&self.stream).await?;
        if is_shut(&info.parsed()?) {
            self.requester.update_stream(&self.stream, &reopened(&info.config)).await?;
        }
        Ok(())
    }
}

impl WriteBack<'_> {
    /// The sequence that comes next.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Writes entries whose sequences follow each other from [`Self::next`] on.
    ///
    /// # Errors
    /// That the stream did not take one of them at its sequence; it stays shut.
    pub async fn put(&mut self, entries: &[LogEntry]) -> Result<(), BusError> {
        for part in entries.chunks(NATS_MAX_PIPELINED) {
            let part: Vec<LogEntry> = part.iter().map(kept).collect();
            let outcomes = self
                .bus
                .publisher
                .publish_originals(&self.bus.requester, &self.prefix, &part, self.next - 1)
                .await;
            for (entry, outcome) in part.iter().zip(outcomes) {
                let ack = outcome.map_err(|error| {
                    BusError(format!("writing sequence {} back: {error}", entry.seq))
                })?;
                if ack.seq != entry.seq || entry.seq != self.next {
                    return Err(BusError(format!(
                        "sequence {} was written back as {}",
                        entry.seq, ack.seq
                    )));
                }
                self.next += 1;
            }
        }
        Ok(())
    }

    /// Moves the next sequence to `next`, leaving a hole: by entries that are deleted again, or,
    /// where that would be too many, by dropping what the stream holds.
    ///
    /// # Errors
    /// The server's.
    pub async fn skip_to(&mut self, next: u64) -> Result<(), BusError> {
        if next <= self.next {
            return Ok(());
        }
        if next - self.next > WRITE_BACK_FILLERS {
            self.bus.requester.purge_below(&self.bus.stream, next).await?;
            self.next = next;
            return Ok(());
        }
        let first = self.next;
        let fillers: Vec<LogEntry> = (first..next).map(filler).collect();
        self.put(&fillers).await?;
        for seq in first..next {
            self.bus.requester.delete_entry(&self.bus.stream, seq).await?;
        }
        Ok(())
    }

    /// Opens the stream again and says what it is now.
    ///
    /// # Errors
    /// The server's.
    pub async fn end(self) -> Result<LogIdentity, BusError> {
        use crate::bus::Bus as _;
        self.bus.reopen().await?;
        self.bus.identity().await
    }
}

fn prefix(stream: &str) -> String {
    format!("_agentbus_write_back.{stream}.")
}

/// The configuration of a stream that only we can publish to.
pub(super) fn shut(config: &Value, stream: &str) -> Value {
    let mut shut = config.clone();
    let ours = format!("{}>", prefix(stream));
    let before = json!({
        "subjects": config["subjects"],
        "subject_transform": config.get("subject_transform"),
    });
    if !shut["metadata"].is_object() {
        shut["metadata"] = Value::Object(Map::new());
    }
    shut["metadata"][SHUT] = before.to_string().into();
    shut["subjects"] = json!([ours]);
    shut["subject_transform"] = json!({ "src": ours, "dest": ">" });
    shut
}

/// The configuration of a stream that everyone can publish to.
pub(super) fn reopened_if_shut(info: &StreamInfo) -> Result<Value, ApiError> {
    let shut = is_shut(&info.parsed()?);
    Ok(if shut { reopened(&info.config) } else { info.config.clone() })
}

/// The configuration as it was before [`shut`].
fn reopened(config: &Value) -> Value {
    let mut open = config.clone();
    let before = config["metadata"][SHUT].as_str().unwrap_or_default();
    let before: Value = serde_json::from_str(before).unwrap_or_default();
    open["subjects"] = before["subjects"].clone();
    if let Some(config) = open.as_object_mut() {
        match &before["subject_transform"] {
            Value::Null => config.remove("subject_transform"),
            transform => config.insert("subject_transform".to_owned(), transform.clone()),
        };
    }
    if let Some(metadata) = open["metadata"].as_object_mut() {
        metadata.remove(SHUT);
    }
    open
}

/// The entry with headers that JetStream would act on under names it does not know.
fn kept(entry: &LogEntry) -> LogEntry {
    let mut raw = entry.clone();
    for (name, _) in &mut raw.headers {
        if name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("nats-")) {
            name.insert_str(0, PRESERVED_HEADER_PREFIX);
        }
    }
    let time = entry.logged_at.to_rfc3339_opts(SecondsFormat::Nanos, true);
    raw.headers.push((format!("{PRESERVED_HEADER_PREFIX}{PRESERVED_TIME}"), time));
    raw
}

fn filler(seq: u64) -> LogEntry {
    LogEntry {
        seq,
        subject: Subject::from_log("agent.status.agentbus.filler".to_owned()),
        headers: Vec::new(),
        payload: bytes::Bytes::new(),
        logged_at: chrono::DateTime::UNIX_EPOCH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_opened_as_it_was() {
        for config in [
            json!({"subjects": ["a.>", "b"], "metadata": {"x": "y"}, "max_age": 5}),
            json!({"subjects": ["a.>"], "metadata": {}, "subject_transform": {"src": "a.>", "dest": "b.>"}}),
        ] {
            let shut = shut(&config, "s");
            assert_eq!(shut["subjects"], json!(["_agentbus_write_back.s.>"]));
            assert_eq!(reopened(&shut), config);
        }
    }
}
