//! The connection that all deliveries of one kind share.
//!
//! Invariant: callers get a connection that is up. If an entry of a foreign publisher (a NATS client that is
//! not agentbus) ended the connection, a new one replaces it.

use tokio::sync::Mutex;

use crate::bus::BusError;
use crate::bus::nats::config::NatsConfig;
use crate::bus::nats::connect::{Connection, State};
use crate::bus::nats::failover::FailoverTimer;

/// A connection for deliveries only, so that they do not delay publishes.
pub struct PullConnection {
    config: NatsConfig,
    /// The connection's name in logs and in the server's monitoring.
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

    /// Reports that the server delivered something or sent a heartbeat.
    pub fn answered(&self) {
        self.failover.answered();
    }

    /// Reports that a consumer sent nothing for too long; when that lasts, the connection moves to another
    /// server. Cancel safe.
    pub async fn unanswered(&self) {
        let connection = self.current.lock().await.clone();
        self.failover.unanswered(&connection);
    }

    /// Waits until the connection is up. Makes a new one if the client task has ended.
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
