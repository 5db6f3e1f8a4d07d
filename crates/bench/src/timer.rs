//! A timer that fires within microseconds of its time.
//!
//! tokio's timers have a resolution of a millisecond, which is longer than a response takes. On Linux this is a
//! `timerfd`; elsewhere it is tokio's, and the reported delay of the generator shows that.

use std::io;
use std::time::Instant;

/// Waits for a time; one waiter at a time.
#[cfg(target_os = "linux")]
pub struct Timer(tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>);

#[cfg(target_os = "linux")]
impl Timer {
    /// A timer. Needs a runtime with I/O.
    #[expect(
        deprecated,
        reason = "its successor is unsafe, since the descriptor must stay open; an OwnedFd ensures that"
    )]
    pub fn new() -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        tokio::io::unix::AsyncFd::new(timer).map(Self)
    }

    /// Waits until then; returns at once if that is past.
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
            // The read returns the number of expirations, or would block if there were none.
            let mut count = [0; 8];
            let read = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut count)?));
            if let Ok(read) = read {
                return read.map(|_| ());
            }
        }
    }
}

/// Waits for a time; one waiter at a time.
#[cfg(not(target_os = "linux"))]
pub struct Timer;

#[cfg(not(target_os = "linux"))]
impl Timer {
    /// A timer.
    pub fn new() -> io::Result<Self> {
        Ok(Self)
    }

    /// Waits until then; returns at once if that is past.
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
    async fn it_waits_for_each_time_but_not_for_the_past() {
        let timer = Timer::new().expect("a timer");
        let started = Instant::now();
        timer.until(started).await.expect("past");
        for step in 1..=3 {
            let then = started + Duration::from_millis(step * 3);
            timer.until(then).await.expect("waited");
            assert!(Instant::now() >= then);
        }
    }
}
