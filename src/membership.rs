//! Whether this server may use its store: checked all the time, and the end of a server that may not any more.
//!
//! Invariant: a server on the memory bus that another one has replaced stops within seconds, even when nobody
//! publishes: otherwise its streams would show a log that the other carries on. Whatever happens here, the lease
//! fences writes.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::limits::{MEMBERSHIP_CHECK, MEMBERSHIP_PING};
use crate::store::{Lease, Membership, MembershipState, Store};

/// The last result of the check; the default is good.
#[derive(Debug, Default)]
pub struct MembershipStatus(Mutex<Option<String>>);

impl MembershipStatus {
    /// Whether the membership is known to be good.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(&self) -> Result<(), String> {
        self.0.lock().clone().map_or(Ok(()), Err)
    }

    fn set(&self, fault: Option<String>) {
        metrics::gauge!("agentbus_membership_held").set(f64::from(u8::from(fault.is_none())));
        let mut current = self.0.lock();
        if *current != fault {
            match &fault {
                Some(fault) => tracing::warn!("this server's hold on the store: {fault}"),
                None => tracing::info!("this server's hold on the store is good again"),
            }
            *current = fault;
        }
    }
}

/// Checks the membership.
pub struct MembershipMonitor {
    /// The membership, for the life of the process.
    pub membership: Box<dyn Membership>,
    /// On the memory bus: the store, and the lease by which this server alone writes to it.
    pub exclusive: Option<(Arc<dyn Store>, Lease)>,
    /// Shows the result.
    pub status: Arc<MembershipStatus>,
}

impl MembershipMonitor {
    /// Checks every [`MEMBERSHIP_CHECK`] until cancelled.
    ///
    /// # Errors
    /// The membership is lost for good: the server must stop.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), String> {
        loop {
            match self.state().await {
                MembershipState::Held => self.status.set(None),
                MembershipState::InDoubt(fault) => {
                    self.status.set(Some(format!("the hold on the store is in doubt: {fault}")));
                }
                MembershipState::Lost(fault) => {
                    let fault = format!("the hold on the store is lost: {fault}");
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
            let leads = tokio::time::timeout(MEMBERSHIP_PING, store.holds_lease(lease)).await;
            // A store that does not answer is reported by the health check of the store.
            if matches!(leads, Ok(Ok(false))) {
                let fault = "another server has taken the store over";
                return MembershipState::Lost(fault.to_owned());
            }
        }
        state
    }
}
