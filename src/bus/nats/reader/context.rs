//! State that all readers of one bus share.

use std::sync::Arc;

use tokio::sync::watch;

use crate::bus::nats::pull::PullConnection;
use crate::bus::nats::requester::Requester;

/// State that all readers of one bus share.
pub struct ReaderContext {
    pub requester: Arc<Requester>,
    pub connection: Arc<PullConnection>,
    pub stream: String,
    /// Incremented when the stream may have been replaced by another one.
    pub suspicions: Arc<watch::Sender<u64>>,
}
