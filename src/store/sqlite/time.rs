//! The store's time: what leases, delays and retries are counted by.
//!
//! Invariant: it goes forward as fast as the machine's boot clock, whatever the wall clock is set
//! to, and never back, also over a restart: it goes on from where it was kept, by what the
//! wall clock says has passed since. So no lease lasts longer than it should, or ends
//! earlier, because a clock was set. What a person or a worker is told is by the wall clock.
//!
//! The one thing it cannot tell from time that has passed is a wall clock set forward while no
//! server runs.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Error, Row};

use crate::clock::Clock;
use crate::limits::{STORE_TIME_MAX_AGE, STORE_TIME_STEP};

/// Tells how long the machine is up, sleep included.
type Uptime = Box<dyn Fn() -> Duration + Send + Sync>;

/// What time is told by.
pub(super) struct Clocks {
    /// May be set to anything.
    pub wall: Clock,
    /// Only ever goes on.
    pub uptime: Uptime,
}

impl Clocks {
    /// The machine's.
    pub fn system() -> Self {
        Self { wall: Clock::system(), uptime: Box::new(uptime) }
    }
}

/// Counts also what passes while the machine sleeps, as a wall clock does.
fn uptime() -> Duration {
    #[cfg(target_os = "linux")]
    const UPTIME: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    // What `CLOCK_MONOTONIC` counts on macOS includes sleep.
    #[cfg(not(target_os = "linux"))]
    const UPTIME: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    rustix::time::clock_gettime(UPTIME).try_into().unwrap_or_default()
}

/// The store's time, in microseconds.
pub(super) struct StoreTime {
    clocks: Clocks,
    /// The time when the machine's uptime was nothing.
    zero: i64,
    /// When it was kept last, and by how much the wall clock was ahead then.
    kept: AtomicI64,
    ahead: AtomicI64,
}

impl StoreTime {
    /// Goes on from where it was kept in the database.
    pub async fn open(connection: &mut SqliteConnection, clocks: Clocks) -> Result<Self, Error> {
        let row = sqlx::query("SELECT at, wall FROM store_time").fetch_optional(connection).await?;
        let wall = clocks.wall.now().timestamp_micros();
        let (at, ahead) = match row {
            Some(row) => {
                let (at, then): (i64, i64) = (row.try_get("at")?, row.try_get("wall")?);
                (at.saturating_add(wall.saturating_sub(then).max(0)), then.saturating_sub(at))
            }
            None => (wall, 0),
        };
        let zero = at.saturating_sub(micros((clocks.uptime)()));
        // As if it had been long ago: the first that needs it keeps it.
        Ok(Self { clocks, zero, kept: AtomicI64::new(0), ahead: AtomicI64::new(ahead) })
    }

    /// The time now.
    pub fn now(&self) -> i64 {
        self.zero.saturating_add(micros((self.clocks.uptime)()))
    }

    /// The time after a while.
    pub fn until(&self, after: Duration) -> i64 {
        self.now().saturating_add(micros(after))
    }

    /// The wall clock's time, in microseconds since 1970.
    pub fn wall(&self) -> i64 {
        self.clocks.wall.now().timestamp_micros()
    }

    /// By how much the wall clock is ahead.
    pub fn ahead(&self) -> i64 {
        self.wall().saturating_sub(self.now())
    }

    /// A time as the wall clock will tell it, or told it.
    pub fn told(&self, at: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(at.saturating_add(self.ahead())).unwrap_or_default()
    }

    /// Keeps it where the wall clock was set since; for who writes times, also after a while.
    pub async fn keep(&self, connection: &mut SqliteConnection, writes: bool) -> Result<(), Error> {
        let (now, wall) = (self.now(), self.wall());
        let ahead = wall.saturating_sub(now);
        let was = self.ahead.load(Ordering::Relaxed);
        let stepped = ahead.abs_diff(was) > STORE_TIME_STEP.as_micros() as u64;
        let old =
            now.saturating_sub(self.kept.load(Ordering::Relaxed)) > micros(STORE_TIME_MAX_AGE);
        if !(stepped || (writes && old)) {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO store_time (one, at, wall) VALUES (1, ?, ?) \
             ON CONFLICT DO UPDATE SET at = excluded.at, wall = excluded.wall",
        )
        .bind(now)
        .bind(wall)
        .execute(connection)
        .await?;
        self.kept.store(now, Ordering::Relaxed);
        self.ahead.store(ahead, Ordering::Relaxed);
        Ok(())
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
