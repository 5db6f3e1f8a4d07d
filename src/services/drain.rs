//! The drain of the server, and when waiting requests end in it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// When and for how long the server drains.
#[derive(Clone, Debug)]
pub struct Drain {
    /// Cancelled when the drain begins.
    pub begun: CancellationToken,
    /// The most time that the drain takes. Streams and waiting requests end spread over the first half of
    /// it.
    pub window: Duration,
}

impl Drain {
    /// Returns at a random time in the first half of the drain, so that clients do not all reconnect at
    /// once.
    pub async fn end_of_wait(&self) {
        self.begun.cancelled().await;
        tokio::time::sleep(self.window.mul_f64(fastrand::f64() / 2.0)).await;
    }
}
