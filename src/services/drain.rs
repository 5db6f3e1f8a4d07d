//! The drain of the server, and when waits end in it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// The drain of the server.
#[derive(Clone, Debug)]
pub struct Drain {
    /// Cancelled when the drain begins.
    pub begun: CancellationToken,
    /// How long it may take; streams and waiting requests end spread over the first half of it.
    pub window: Duration,
}

impl Drain {
    /// Returns at a random time in the first half of the window, so that clients do not all reconnect at once.
    pub async fn end_of_wait(&self) {
        self.begun.cancelled().await;
        tokio::time::sleep(self.window.mul_f64(fastrand::f64() / 2.0)).await;
    }
}
