//! A server's hold on its store: looked at all the time, told, and the end of a server that lost it.
//!
//! Invariant: a memory server that was displaced stops within seconds, also when nobody writes:
//! else its streams would go on telling a log that another server carries on. Whatever becomes of
//! this, writes are fenced by the lease.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::limits::{MEMBERSHIP_CHECK, MEMBERSHIP_PING};
use crate::store::{Lease, Membership, MembershipState, Store};

/// How the hold stands, for whoever asks.
#[derive(Debug, Default)]
pub struct MembershipStatus(Mutex<Option<String>>);

impl MembershipStatus {
    /// Whether the hold is known to be good.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(&self) -> Result<(), String> {
        self.0.lock().clone().map_or(Ok(()), Err)
    }

    /// Tells of a change.
    fn set(&self, fault: Option<String>) {
        metrics::gauge!("agentbus_membership_held").set(f64::from(u8::from(fault.is_none())));
        let mut told = self.0.lock();
        if *told != fault {
            match &fault {
                Some(fault) => tracing::warn!("this server's hold on the store: {fault}"),
                None => tracing::info!("this server's hold on the store is good again"),
            }
            *told = fault;
        }
    }
}

/// What looks at it.
pub struct MembershipMonitor {
    /// The hold, for the life of the process.
    pub membership: Box<dyn Membership>,
    /// On the memory bus: the store, and the lease by which it is this server's alone.
    pub alone: Option<(Arc<dyn Store>, Lease)>,
    /// Where it is told.
    pub standing: Arc<MembershipStatus>,
}

impl MembershipMonitor {
    /// Looks until cancelled.
    ///
    /// # Errors
    /// The hold is lost for good: the server must stop.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), String> {
        loop {
            match self.look().await {
                MembershipState::Held => self.standing.set(None),
                MembershipState::InDoubt(fault) => {
                    let fault = format!("the hold on the store is in doubt: {fault}");
                    self.standing.set(Some(fault));
                }
                MembershipState::Lost(fault) => {
                    let fault = format!("the hold on the store is lost: {fault}");
                    self.standing.set(Some(fault.clone()));
                    return Err(fault);
                }
            }
            let pause = tokio::time::sleep(MEMBERSHIP_CHECK);
            if cancel.run_until_cancelled(pause).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn look(&self) -> MembershipState {
        let state = self.membership.state();
        if let Some((store, lease)) = &self.alone
            && !matches!(state, MembershipState::Lost(_))
        {
            let leads = tokio::time::timeout(MEMBERSHIP_PING, store.holds_lease(lease)).await;
            // A store that cannot be asked is told as such.
            if matches!(leads, Ok(Ok(false))) {
                let fault = "another server has taken the store over";
                return MembershipState::Lost(fault.to_owned());
            }
        }
        state
    }
}
