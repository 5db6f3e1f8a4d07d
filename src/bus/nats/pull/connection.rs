//! The connection that deliveries of one kind share.
//!
//! Invariant: a caller gets a connection that is up, however often entries of foreign publishers have ended
//! the one before.

use tokio::sync::Mutex;

use crate::bus::BusError;
use crate::bus::nats::config::NatsConfig;
use crate::bus::nats::connect::{Connection, State};
use crate::bus::nats::failover::FailoverTimer;

/// A connection for deliveries, so that they do not delay publishes.
pub struct PullConnection {
    config: NatsConfig,
    /// The name in logs and in the server's monitoring.
    purpose: &'static str,
    current: Mutex<Connection>,
    failover: FailoverTimer,
}

impl PullConnection {
    /// Connects.
    pub async fn open(config: &NatsConfig, purpose: &'static str) -> Result<Self, BusError> {
        let current = Mutex::new(Connection::open(config, purpose).await?);
        Ok(Self { config: config.clone(), purpose, current, failover: FailoverTimer::default() })
    }

    /// The server delivered something, or sent a heartbeat.
    pub fn answered(&self) {
        self.failover.answered();
    }

    /// A consumer sent nothing for too long. Cancel safe.
    pub async fn unanswered(&self) {
        let connection = self.current.lock().await.clone();
        self.failover.unanswered(&connection);
    }

    /// Waits until the connection is up. One whose client task has ended is replaced.
    pub async fn up(&self) -> Result<Connection, BusError> {
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
