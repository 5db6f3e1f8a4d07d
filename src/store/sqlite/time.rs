//! The store's time: the clock of leases, delays and retries.
//!
//! Invariant: the store's time advances with the machine's boot clock, whatever the wall clock is set to, and
//! never goes back. After a restart it continues from its saved value plus the time since then by the wall
//! clock. So no lease lasts longer, or ends earlier, because a clock was set. Times shown to people and
//! workers are by the wall clock.
//!
//! Limit: if the wall clock is set forward while no server runs, that counts as time that passed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Error, Row};

use crate::clock::Clock;
use crate::limits::{STORE_TIME_MAX_AGE, STORE_TIME_STEP};
use crate::store::sql::to_micros;

/// The time since the machine started, sleep included.
type Uptime = Box<dyn Fn() -> Duration + Send + Sync>;

/// The clocks that the store's time is computed from.
pub(super) struct Clocks {
    /// The wall clock, which can be set to any time.
    pub wall: Clock,
    /// The boot clock, which only advances.
    pub uptime: Uptime,
}

impl Clocks {
    /// The machine's clocks.
    pub fn system() -> Self {
        Self { wall: Clock::system(), uptime: Box::new(uptime) }
    }
}

/// The time since the machine started. It advances while the machine sleeps, as a wall clock does.
fn uptime() -> Duration {
    #[cfg(target_os = "linux")]
    const UPTIME: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    // On macOS `CLOCK_MONOTONIC` includes sleep.
    #[cfg(not(target_os = "linux"))]
    const UPTIME: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    rustix::time::clock_gettime(UPTIME).try_into().unwrap_or_default()
}

/// The store's time, in microseconds.
pub(super) struct StoreTime {
    clocks: Clocks,
    /// The store's time when the machine started.
    zero: i64,
    /// When the store's time was last saved, and by how much the wall clock was ahead of it then.
    saved: AtomicI64,
    ahead: AtomicI64,
}

impl StoreTime {
    /// Continues from the time saved in the database.
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
        let zero = at.saturating_sub(to_micros((clocks.uptime)()));
        // Treated as saved long ago, so that the first use saves it.
        Ok(Self { clocks, zero, saved: AtomicI64::new(0), ahead: AtomicI64::new(ahead) })
    }

    /// The store's time now.
    pub fn now(&self) -> i64 {
        self.zero.saturating_add(to_micros((self.clocks.uptime)()))
    }

    /// The store's time after a duration from now.
    pub fn until(&self, after: Duration) -> i64 {
        self.now().saturating_add(to_micros(after))
    }

    /// The wall clock's time, in microseconds since 1970.
    pub fn wall(&self) -> i64 {
        self.clocks.wall.now().timestamp_micros()
    }

    /// By how much the wall clock is ahead of the store's time, in microseconds.
    pub fn ahead(&self) -> i64 {
        self.wall().saturating_sub(self.now())
    }

    /// Converts a time by the store's clock to the wall clock.
    pub fn to_wall(&self, at: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(at.saturating_add(self.ahead())).unwrap_or_default()
    }

    /// Saves the store's time if the wall clock was set since the last save. Before a write of times
    /// (`writes`) also if the saved time is older than [`STORE_TIME_MAX_AGE`].
    pub async fn save(&self, connection: &mut SqliteConnection, writes: bool) -> Result<(), Error> {
        let (now, wall) = (self.now(), self.wall());
        let ahead = wall.saturating_sub(now);
        let was = self.ahead.load(Ordering::Relaxed);
        let stepped = ahead.abs_diff(was) > STORE_TIME_STEP.as_micros() as u64;
        let old =
            now.saturating_sub(self.saved.load(Ordering::Relaxed)) > to_micros(STORE_TIME_MAX_AGE);
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
        self.saved.store(now, Ordering::Relaxed);
        self.ahead.store(ahead, Ordering::Relaxed);
        Ok(())
    }
}
