//! The connection that readers of one kind share.
//!
//! Invariant: whoever asks gets a connection that is up, however often entries of
//! foreign publishers have ended the one before.

use tokio::sync::Mutex;

use super::config::NatsConfig;
use super::connect::{Connection, State};
use super::failover::FailoverTimer;
use crate::bus::BusError;

/// One connection for all deliveries, so that they do not delay publishes.
pub(super) struct ReadConnection {
    config: NatsConfig,
    /// As logs and the server's monitoring show it.
    purpose: &'static str,
    current: Mutex<Connection>,
    failover: FailoverTimer,
}

impl ReadConnection {
    /// Connects.
    pub(super) async fn open(config: &NatsConfig, purpose: &'static str) -> Result<Self, BusError> {
        let current = Mutex::new(Connection::open(config, purpose).await?);
        Ok(Self { config: config.clone(), purpose, current, failover: FailoverTimer::default() })
    }

    /// Something came over it.
    pub(super) fn answered(&self) {
        self.failover.answered();
    }

    /// A consumer fell silent or is not to be reached. Cancel safe.
    pub(super) async fn unanswered(&self) {
        let connection = self.current.lock().await.clone();
        self.failover.unanswered(&connection);
    }

    /// Waits for the connection to be up. One whose task died is replaced.
    pub(super) async fn up(&self) -> Result<Connection, BusError> {
        loop {
            let connection = {
                let mut current = self.current.lock().await;
                if current.status().state == State::Closed {
                    *current = Connection::open(&self.config, self.purpose).await?;
                }
                current.clone()
            };
            if connection.is_up_again().await {
                return Ok(connection);
            }
        }
    }
}
