//! Decides when to open a new session after one has ended.

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::limits::{NATS_READER_RETRY_FIRST, NATS_READER_RETRY_LONGEST};

/// The pause before the next session, and whether deliveries are interrupted (so that each interruption is
/// logged once).
pub struct Retry {
    backoff: Backoff,
    at: Option<Instant>,
    interrupted: bool,
}

impl Default for Retry {
    fn default() -> Self {
        let backoff = Backoff::new(NATS_READER_RETRY_FIRST, NATS_READER_RETRY_LONGEST);
        Self { backoff, at: None, interrupted: false }
    }
}

impl Retry {
    /// Waits until the next attempt is due. Cancel safe.
    pub async fn due(&mut self) {
        if let Some(at) = self.at {
            tokio::time::sleep_until(at).await;
            self.at = None;
        }
    }

    /// Delays the next attempt.
    pub fn delay(&mut self) {
        self.at = Some(Instant::now() + self.backoff.jittered());
    }

    /// Makes the next delay the shortest one again.
    pub fn reset(&mut self) {
        self.backoff.reset();
    }

    pub fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// Records that deliveries are interrupted. Returns true if they were not interrupted before.
    pub fn interrupt(&mut self) -> bool {
        !std::mem::replace(&mut self.interrupted, true)
    }

    /// Records that deliveries go on. Returns true if they were interrupted before.
    pub fn resume(&mut self) -> bool {
        std::mem::take(&mut self.interrupted)
    }
}
