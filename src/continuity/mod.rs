//! Holds the bus against the store; the gate before publishing.
//!
//! Invariant: no sequence that the store has is given to other content. While
//! that is in doubt (at start, after every reconnect, after an ack at or below
//! the known mark, when the stream goes back or away) nothing is published. A
//! stream that may be another log is not stored either. A
//! stream that is behind gets its missing tail back from the store, under the
//! same sequences; one that holds other content is left alone and told of.

mod content;
mod gate;
mod rebuild;
mod stranded;
mod write_back;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::bus::nats::NatsBus;
use crate::bus::{Bus as _, BusError, LogIdentity};
use crate::committed::Committed;
use crate::limits::{FAULT_PAUSE, LEASE};
use crate::store::{BusKind, LogState, Store, StoreError};
pub use content::check_content;
pub use gate::Gate;
pub use rebuild::rebuild;
pub use stranded::{drain, skip};
pub use write_back::write_back;

/// What publishing is told while a check runs.
const CHECKING: &str = "the log's continuity is being checked";

/// Checks the stream against the store and opens or closes the gate.
pub struct Continuity {
    /// The stream.
    pub bus: Arc<NatsBus>,
    /// What was committed of it.
    pub store: Arc<dyn Store>,
    /// What this process knows to be committed.
    pub committed: Arc<Committed>,
    /// Opened by a check that found nothing wrong.
    pub gate: Gate,
    /// This process, as the owner of the store's lease.
    pub owner: Uuid,
}

/// The epoch of the stream that this process last held against the store, if it has held one. That a
/// stream reaches as far as the log says nothing by itself: others may have filled a new one.
#[derive(Debug, Default)]
struct Familiar(Option<Option<Uuid>>);

impl Familiar {
    fn is(&self, stream: &LogIdentity) -> bool {
        self.0 == Some(stream.epoch)
    }
}

/// Why a check did not open the gate.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The bus cannot be asked; asked again.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The store cannot be asked; asked again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream may be another one, and the store cannot be asked; asked again.
    #[error(
        "the stream is not the one that was last held against the store, which cannot be asked: {0}"
    )]
    Unverified(StoreError),
    /// Another server mends the stream; asked again.
    #[error("another server is bringing the stream up to the store")]
    Busy,
    /// The stream and the store disagree about a committed sequence.
    #[error(
        "the stream holds other content than the store at sequence {0}: publishing is stopped. \
         Restore the stream that the store was filled from, or stop the servers and run `agentbus rebuild`: \
         it makes the stream anew from the store, and stores what only this stream holds"
    )]
    ContentDiffers(u64),
}

impl Continuity {
    /// Checks now, and whenever the gate is doubted, the stream looks another than it was, or the
    /// connection to NATS was made anew, until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let mut suspicions = self.bus.suspicions();
        let mut familiar = Familiar::default();
        let watch = async {
            loop {
                self.check_until_settled(&mut familiar).await;
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

    /// Checks until the gate is open or a person must mend the stream.
    async fn check_until_settled(&self, familiar: &mut Familiar) {
        let mut told = String::new();
        loop {
            let (suspected, doubts) = (self.gate.suspected(), self.gate.times_closed());
            let error = match self.check(familiar).await {
                Ok(()) if self.gate.open_now(suspected, doubts) => {
                    tracing::info!("the stream continues the store: publishing is open");
                    return;
                }
                Ok(()) => continue,
                Err(error) => error,
            };
            let reason = error.to_string();
            if reason != told {
                tracing::warn!(%error, "publishing waits for the continuity check");
                match error {
                    CheckError::Unverified(_) | CheckError::ContentDiffers(_) => {
                        self.gate.close_unverified(&reason);
                    }
                    CheckError::Bus(_) | CheckError::Store(_) | CheckError::Busy => {
                        self.gate.close(&reason);
                    }
                }
                told = reason;
            }
            tokio::time::sleep(FAULT_PAUSE).await;
        }
    }

    async fn check(&self, familiar: &mut Familiar) -> Result<(), CheckError> {
        // Asked before the stream, which must be at least that far.
        let seen = self.committed.seen();
        let mut identity = self.bus.find_or_create().await?;
        let state = match self.store.log_state().await {
            Ok(state) => state,
            // A running server goes on while the store is away, on what it knows.
            Err(error) => {
                let goes_on = identity.bounds.last >= seen && !identity.write_back_pending;
                return match familiar.is(&identity) {
                    true if goes_on => Ok(()),
                    true => Err(error.into()),
                    false => Err(CheckError::Unverified(error)),
                };
            }
        };
        self.committed.raise(state.committed_through);
        let behind = identity.bounds.last < seen.max(state.committed_through);
        if state.bus == Some(BusKind::Memory) || behind || identity.write_back_pending {
            identity = self.bring_up(&state, seen).await?;
        } else {
            content::same_content(&*self.bus, &*self.store, state.committed_through).await?;
        }
        if state.bus != Some(BusKind::Nats) || state.stream_epoch != identity.epoch {
            let lease =
                self.store.claim(self.owner, LEASE, false).await?.ok_or(CheckError::Busy)?;
            self.store.set_log(&lease, BusKind::Nats, identity.epoch).await?;
        }
        familiar.0 = Some(identity.epoch);
        Ok(())
    }

    /// Brings a stream that parted from the store (another bus went on, or the
    /// stream lost its tail) to where its next sequence is new. What only the
    /// stream holds is stored first.
    async fn bring_up(&self, state: &LogState, seen: u64) -> Result<LogIdentity, CheckError> {
        let claimed = self.store.claim(self.owner, LEASE, false).await?;
        let mut lease = claimed.ok_or(CheckError::Busy)?;
        let identity = self.bus.identity().await?;
        let (bus, store, bounds) = (&*self.bus, &*self.store, identity.bounds);
        if !identity.write_back_pending {
            match content::parting(bus, store, bounds, lease.committed_through).await? {
                Some(seq) if state.bus == Some(BusKind::Nats) => {
                    return Err(CheckError::ContentDiffers(seq));
                }
                Some(from) => {
                    stranded::keep_stranded(bus, store, &mut lease, from, bounds.last).await?;
                    self.committed.raise(lease.committed_through);
                    let next = lease.committed_through.max(seen).max(bounds.last) + 1;
                    tracing::info!(next, "moving the stream's sequence on to where the store is");
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
