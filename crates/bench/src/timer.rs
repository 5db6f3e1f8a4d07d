//! A timer exact enough to begin a request within microseconds of its time.
//!
//! tokio's own counts in milliseconds, more than what is measured. On Linux this is a `timerfd`; elsewhere
//! tokio's, and the report's own delay shows it.

use std::io;
use std::time::Instant;

/// Waits for a moment. One waiter at a time.
#[cfg(target_os = "linux")]
pub struct Timer(tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>);

#[cfg(target_os = "linux")]
impl Timer {
    /// A timer that is not set. Needs a runtime with I/O.
    #[expect(
        deprecated,
        reason = "its successor is unsafe: it wants the descriptor to stay open, which an OwnedFd does"
    )]
    pub fn new() -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        tokio::io::unix::AsyncFd::new(timer).map(Self)
    }

    /// Waits until then; not at all when that is past.
    pub async fn until(&self, then: Instant) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        let wait = then.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return Ok(());
        }
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        let time = Itimerspec { it_interval: zero, it_value: value };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &time)?;
        loop {
            let mut ready = self.0.readable().await?;
            // Reading says how often it has run out: once, or not yet.
            let mut count = [0; 8];
            let read = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut count)?));
            if let Ok(read) = read {
                return read.map(|_| ());
            }
        }
    }
}

/// Waits for a moment. One waiter at a time.
#[cfg(not(target_os = "linux"))]
pub struct Timer;

#[cfg(not(target_os = "linux"))]
impl Timer {
    /// A timer.
    pub fn new() -> io::Result<Self> {
        Ok(Self)
    }

    /// Waits until then; not at all when that is past.
    pub async fn until(&self, then: Instant) -> io::Result<()> {
        tokio::time::sleep_until(then.into()).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn it_waits_for_each_moment_and_not_for_the_past() {
        let timer = Timer::new().expect("a timer");
        let begun = Instant::now();
        timer.until(begun).await.expect("past");
        for step in 1..=3 {
            let then = begun + Duration::from_millis(step * 3);
            timer.until(then).await.expect("waited");
            assert!(Instant::now() >= then);
        }
    }
}
