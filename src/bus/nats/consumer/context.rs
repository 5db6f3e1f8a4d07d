//! State that all durable consumers of one bus share.

use std::sync::Arc;

use tokio::sync::OnceCell;

use super::acker::NatsAcker;
use crate::bus::BusError;
use crate::bus::nats::config::NatsConfig;
use crate::bus::nats::pull::PullConnection;
use crate::bus::nats::requester::Requester;

/// The name of the connection in logs and in the server's monitoring.
const PURPOSE: &str = "process";

/// State that all durable consumers of one bus share.
pub(super) struct ConsumerContext {
    pub requester: Arc<Requester>,
    pub acker: Arc<NatsAcker>,
    config: NatsConfig,
    /// Opened when a consumer first receives messages here.
    connection: OnceCell<PullConnection>,
}

impl ConsumerContext {
    pub(super) fn new(requester: Arc<Requester>, config: NatsConfig) -> Self {
        let acker = Arc::new(NatsAcker::new(&config.stream_name));
        Self { requester, acker, config, connection: OnceCell::new() }
    }

    pub(super) fn stream(&self) -> &str {
        &self.config.stream_name
    }

    /// The connection for deliveries. Opens it at the first call.
    pub(super) async fn connection(&self) -> Result<&PullConnection, BusError> {
        self.connection.get_or_try_init(|| PullConnection::open(&self.config, PURPOSE)).await
    }

    /// The connection for deliveries, if it was opened.
    pub(super) fn open_connection(&self) -> Option<&PullConnection> {
        self.connection.get()
    }
}
