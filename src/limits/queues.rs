//! Caps of queues that come and go, and of the time that leases in a SQLite file are counted by.

use std::time::Duration;

/// How old the store's time in a SQLite file may be where ends of leases are written: by so much one may
/// last longer where the wall clock is set back while no server runs.
pub const STORE_TIME_MAX_AGE: Duration = Duration::from_secs(1);
/// What the wall clock and the store's time may move apart before that is kept: it was set.
pub const STORE_TIME_STEP: Duration = Duration::from_millis(100);
/// Queues whose consumers one server makes or removes at once: each holds a connection of background
/// processing meanwhile.
pub const MAX_QUEUE_CHANGES: usize = 2;
/// How often a job that comes in makes its queue that is deleted each time in between, before its client
/// is told to come again.
pub const MAX_QUEUE_CREATE_ATTEMPTS: usize = 8;
/// Pause between looks of who waits for a queue that is not there: two questions each, so they are rarer,
/// and one after the other, however many such names are tried.
pub const QUEUE_POLL: Duration = Duration::from_millis(500);
/// How long a deletion holds back a queue's deliveries at most: far more than it takes, and it ends by
/// itself where the server dies.
pub const QUEUE_PAUSE: Duration = Duration::from_secs(10);
/// Silence after which a pull that waits for nothing looks whether its consumer was deleted: a hundred times what
/// an answer takes.
pub const PULL_SILENCE: Duration = Duration::from_millis(500);
