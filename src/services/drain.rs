//! The end of what waits, when the server drains.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// The server's drain: when it has begun, and how long it may take.
#[derive(Clone, Debug)]
pub struct Drain {
    /// Cancelled when the server begins to drain.
    pub begun: CancellationToken,
    /// How long it may take; streams and waiting requests end spread over the first half of it.
    pub window: Duration,
}

impl Drain {
    /// Returns at a random point of the first half of the drain window, so that clients do not reconnect at once.
    pub async fn end_of_wait(&self) {
        self.begun.cancelled().await;
        tokio::time::sleep(self.window.mul_f64(fastrand::f64() / 2.0)).await;
    }
}
