//! Checks regularly whether this server may still use its store, and stops the server if it may not.
//!
//! Invariant: a server on the memory bus that was replaced by another stops within seconds, even without
//! publishes: otherwise its streams would show an outdated log. Writes do not depend on this check, since the
//! lease fences them.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::limits::{MEMBERSHIP_CHECK, MEMBERSHIP_PING};
use crate::store::{Lease, Membership, MembershipState, Store};

/// The result of the last check; good before the first.
#[derive(Debug, Default)]
pub struct MembershipStatus(Mutex<Option<String>>);

impl MembershipStatus {
    /// Checks that this server is known to be allowed to use its store.
    ///
    /// # Errors
    /// The reason why it is not known.
    pub fn check(&self) -> Result<(), String> {
        self.0.lock().clone().map_or(Ok(()), Err)
    }

    fn set(&self, fault: Option<String>) {
        metrics::gauge!("agentbus_membership_held").set(f64::from(u8::from(fault.is_none())));
        let mut current = self.0.lock();
        if *current != fault {
            match &fault {
                Some(fault) => tracing::warn!("{fault}"),
                None => tracing::info!("the membership of this server is good again"),
            }
            *current = fault;
        }
    }
}

/// Checks regularly whether this server may use its store.
pub struct MembershipMonitor {
    /// The membership of this process.
    pub membership: Box<dyn Membership>,
    /// On the memory bus, the store and the lease by which this server alone writes to it.
    pub exclusive: Option<(Arc<dyn Store>, Lease)>,
    /// Receives the result of each check.
    pub status: Arc<MembershipStatus>,
}

impl MembershipMonitor {
    /// Checks every [`MEMBERSHIP_CHECK`] until cancelled.
    ///
    /// # Errors
    /// The server may no longer use the store, and must stop.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), String> {
        loop {
            match self.state().await {
                MembershipState::Good => self.status.set(None),
                MembershipState::InDoubt(fault) => {
                    self.status
                        .set(Some(format!("the membership of this server is in doubt: {fault}")));
                }
                MembershipState::Lost(fault) => {
                    let fault = format!("the membership of this server is lost: {fault}");
                    self.status.set(Some(fault.clone()));
                    return Err(fault);
                }
            }
            let pause = tokio::time::sleep(MEMBERSHIP_CHECK);
            if cancel.run_until_cancelled(pause).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn state(&self) -> MembershipState {
        let state = self.membership.state();
        if let Some((store, lease)) = &self.exclusive
            && !matches!(state, MembershipState::Lost(_))
        {
            let holds = tokio::time::timeout(MEMBERSHIP_PING, store.holds_lease(lease)).await;
            // The health check of the store reports a store that does not answer.
            if matches!(holds, Ok(Ok(false))) {
                let fault = "another server has taken over the store";
                return MembershipState::Lost(fault.to_owned());
            }
        }
        state
    }
}
