//! Compares the stream with the store, repairs the stream, and opens or closes the gate.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::error::CheckError;
use super::gate::{CHECKING, Gate};
use super::stranded::drain;
use super::write_back::write_back;
use super::{content, stranded};
use crate::bus::nats::NatsBus;
use crate::bus::{Bus as _, LogIdentity};
use crate::committed::Committed;
use crate::limits::{FAULT_PAUSE, LEASE};
use crate::store::{BusKind, LogState, Store};

/// Compares the stream with the store and opens or closes the gate.
pub struct Continuity {
    /// The stream.
    pub bus: Arc<NatsBus>,
    /// The store that the stream is projected into.
    pub store: Arc<dyn Store>,
    /// The sequences that this process knows to be committed.
    pub committed: Arc<Committed>,
    /// The gate, which a check without a finding opens.
    pub gate: Gate,
    /// The id of this process as the owner of the store's lease.
    pub owner: Uuid,
}

/// The epoch of the stream that this process last compared with the store, if it has. A length that fits does
/// not prove that the stream is the same one, since others may have filled a new one.
#[derive(Debug, Default)]
struct ComparedStream(Option<Option<Uuid>>);

impl ComparedStream {
    fn is(&self, stream: &LogIdentity) -> bool {
        self.0 == Some(stream.epoch)
    }
}

impl Continuity {
    /// Checks at once, and whenever a check is requested or the bus counts a suspicion, until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let mut suspicions = self.bus.suspicions();
        let mut compared = ComparedStream::default();
        let watch = async {
            loop {
                self.check_until_open(&mut compared).await;
                tokio::select! {
                    () = self.gate.check_requested() => {}
                    changed = suspicions.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        self.gate.close(CHECKING);
                    }
                }
            }
        };
        cancel.run_until_cancelled(watch).await;
    }

    /// Checks until the gate is open.
    async fn check_until_open(&self, compared: &mut ComparedStream) {
        let mut reported = String::new();
        loop {
            let (suspected, times_closed) = (self.gate.suspected(), self.gate.times_closed());
            let error = match self.check(compared).await {
                Ok(()) if self.gate.open_now(suspected, times_closed) => {
                    tracing::info!("the stream continues the store: publishing is open");
                    return;
                }
                Ok(()) => continue,
                Err(error) => error,
            };
            let reason = error.to_string();
            if reason != reported {
                tracing::warn!(%error, "publishing waits for the continuity check");
                match error {
                    CheckError::Unverified(_) | CheckError::ContentDiffers(_) => {
                        self.gate.close_unverified(&reason);
                    }
                    CheckError::Bus(_) | CheckError::Store(_) | CheckError::Busy => {
                        self.gate.close(&reason);
                    }
                }
                reported = reason;
            }
            tokio::time::sleep(FAULT_PAUSE).await;
        }
    }

    async fn check(&self, compared: &mut ComparedStream) -> Result<(), CheckError> {
        // Read before the stream, whose last sequence must be at least this.
        let seen = self.committed.seen();
        let mut identity = self.bus.find_or_create().await?;
        let state = match self.store.log_state().await {
            Ok(state) => state,
            // While the store does not answer, a running server continues with the stream that it
            // has compared last, unless that stream is behind.
            Err(error) => {
                let continues = identity.bounds.last >= seen && !identity.write_back_pending;
                return match compared.is(&identity) {
                    true if continues => Ok(()),
                    true => Err(error.into()),
                    false => Err(CheckError::Unverified(error)),
                };
            }
        };
        self.committed.raise(state.committed_through);
        let behind = identity.bounds.last < seen.max(state.committed_through);
        if state.bus == Some(BusKind::Memory) || behind || identity.write_back_pending {
            identity = self.repair(&state, seen).await?;
        } else {
            content::check_last(&*self.bus, &*self.store, state.committed_through).await?;
        }
        if state.bus != Some(BusKind::Nats) || state.stream_epoch != identity.epoch {
            let lease =
                self.store.claim(self.owner, LEASE, false).await?.ok_or(CheckError::Busy)?;
            self.store.set_log(&lease, BusKind::Nats, identity.epoch).await?;
        }
        compared.0 = Some(identity.epoch);
        Ok(())
    }

    /// Repairs a stream that would assign sequences again, because the log was on the memory bus
    /// meanwhile or because the stream lost its tail. First stores everything that only the stream has.
    async fn repair(&self, state: &LogState, seen: u64) -> Result<LogIdentity, CheckError> {
        let claimed = self.store.claim(self.owner, LEASE, false).await?;
        let mut lease = claimed.ok_or(CheckError::Busy)?;
        let identity = self.bus.identity().await?;
        let (bus, store, bounds) = (&*self.bus, &*self.store, identity.bounds);
        if !identity.write_back_pending {
            match content::first_difference(bus, store, bounds, lease.committed_through).await? {
                Some(seq) if state.bus == Some(BusKind::Nats) => {
                    return Err(CheckError::ContentDiffers(seq));
                }
                Some(from) => {
                    stranded::store_under_new_sequences(bus, store, &mut lease, from, bounds.last)
                        .await?;
                    self.committed.raise(lease.committed_through);
                    let next = lease.committed_through.max(seen).max(bounds.last) + 1;
                    tracing::info!(
                        next,
                        "moving the stream's next sequence past the store's last one"
                    );
                    bus.purge_to(next, true).await?;
                    return Ok(bus.identity().await?);
                }
                None => drain(bus, store, &mut lease, bounds.last).await?,
            }
        }
        self.committed.raise(lease.committed_through);
        write_back(bus, store, &lease, seen, &|_, _| {}).await
    }
}
