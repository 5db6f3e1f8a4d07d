//! The connection that readers of one kind share.
//!
//! Invariant: whoever asks gets a connection that is up, however often entries of
//! foreign publishers have ended the one before.

use tokio::sync::Mutex;

use crate::bus::BusError;
use crate::bus::nats::config::NatsConfig;
use crate::bus::nats::connect::{Connection, State};
use crate::bus::nats::silence::Silence;

/// One connection for all deliveries, so that they do not delay publishes.
pub(in crate::bus::nats) struct ReadLink {
    config: NatsConfig,
    /// As logs and the server's monitoring show it.
    purpose: &'static str,
    current: Mutex<Connection>,
    silence: Silence,
}

impl ReadLink {
    /// Connects.
    pub(in crate::bus::nats) async fn open(
        config: &NatsConfig,
        purpose: &'static str,
    ) -> Result<Self, BusError> {
        let current = Mutex::new(Connection::open(config, purpose).await?);
        Ok(Self { config: config.clone(), purpose, current, silence: Silence::default() })
    }

    /// Something came over it.
    pub(in crate::bus::nats) fn answered(&self) {
        self.silence.broken();
    }

    /// A consumer fell silent or is not to be reached. Cancel safe.
    pub(in crate::bus::nats) async fn unanswered(&self) {
        let connection = self.current.lock().await.clone();
        self.silence.lasts(&connection);
    }

    /// Waits for the connection to be up. One whose task died is replaced.
    pub(in crate::bus::nats) async fn up(&self) -> Result<Connection, BusError> {
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
