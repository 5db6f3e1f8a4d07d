//! Writes a lost tail (the last entries of the log, which the store still has) back into the stream, with the
//! old sequences.
//!
//! Invariant: no other client can publish meanwhile, since the stream is closed ([`super::stream_config`]).
//! Any server that finds the stream closed can continue and end the write-back. Each entry is stored only at
//! its own sequence (`Nats-Expected-Last-Sequence`). The headers that JetStream would act on are renamed in
//! the stream, and every reader restores them ([`super::entry`]).

use chrono::SecondsFormat;

use super::bus::NatsBus;
use super::stream_config::{METADATA_SINCE, closed, closed_prefix, opened};
use crate::bus::{BusError, LogIdentity};
use crate::limits::{NATS_MAX_PIPELINED, WRITE_BACK_FILLERS};
use crate::message::{LogEntry, PRESERVED_HEADER_PREFIX, PRESERVED_TIME, Subject};

/// A write-back in progress. If it is dropped before [`WriteBack::end`], the stream stays closed.
pub struct WriteBack<'a> {
    bus: &'a NatsBus,
    prefix: String,
    /// The stream's next sequence.
    next: u64,
}

impl NatsBus {
    /// Whether the server supports a write-back.
    #[must_use]
    pub fn can_write_back(&self) -> bool {
        self.requester.connection.server_version() >= METADATA_SINCE
    }

    /// Closes the stream for publishing and makes `from` its next sequence. If that skips sequences, the
    /// stream's entries are dropped.
    ///
    /// # Errors
    /// JetStream cannot be reached or refuses, or the stream already has an entry at `from`. The stream may
    /// stay closed: call this again.
    pub async fn begin_write_back(&self, from: u64) -> Result<WriteBack<'_>, BusError> {
        let info = self.requester.stream_info(&self.stream).await?;
        if !info.parsed()?.is_closed() {
            let closed = closed(&info.config, &self.stream);
            self.requester.update_stream(&self.stream, &closed).await?;
        }
        // Read again: publishes that were in flight when the stream was closed are stored by now.
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
        Ok(WriteBack { bus: self, prefix: closed_prefix(&self.stream), next: from })
    }

    /// Opens a stream that is closed.
    ///
    /// # Errors
    /// JetStream cannot be reached, or refuses.
    pub async fn reopen(&self) -> Result<(), BusError> {
        let info = self.requester.stream_info(&self.stream).await?;
        if info.parsed()?.is_closed() {
            self.requester.update_stream(&self.stream, &opened(&info.config)).await?;
        }
        Ok(())
    }
}

impl WriteBack<'_> {
    /// The stream's next sequence.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Writes entries. Their sequences must begin with [`Self::next`] and have no hole.
    ///
    /// # Errors
    /// The stream did not store an entry at its sequence. The stream stays closed.
    pub async fn put(&mut self, entries: &[LogEntry]) -> Result<(), BusError> {
        for part in entries.chunks(NATS_MAX_PIPELINED) {
            let part: Vec<LogEntry> = part.iter().map(preserved).collect();
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

    /// Makes `next` the stream's next sequence and leaves a hole before it. Up to [`WRITE_BACK_FILLERS`]
    /// sequences are filled with entries that are deleted again; to skip more, all entries of the stream are
    /// dropped.
    ///
    /// # Errors
    /// JetStream cannot be reached, or refuses.
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

    /// Opens the stream again and returns its identity.
    ///
    /// # Errors
    /// JetStream cannot be reached, or refuses.
    pub async fn end(self) -> Result<LogIdentity, BusError> {
        use crate::bus::Bus as _;
        self.bus.reopen().await?;
        self.bus.identity().await
    }
}

/// The entry with new names for the headers that JetStream would act on.
fn preserved(entry: &LogEntry) -> LogEntry {
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
