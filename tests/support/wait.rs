//! Waits with a deadline. Only this module of the tests sleeps.
//!
//! A test never sleeps to give something time. It names a condition and a time limit; on a slow machine the
//! test takes longer, but does not fail.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// A number of repetitions or items: `short` usually, `long` in a long run (`scripts/test --long`).
pub fn times(short: usize, long: usize) -> usize {
    if std::env::var_os("AGENTBUS_LONG").is_some() { long } else { short }
}

/// How long to wait between two polls: short against the start of a server (50 ms), long against the cost of
/// a poll.
const INTERVAL: Duration = Duration::from_millis(5);

/// Polls until `probe` returns a value, and returns the value; `None` once `limit` has passed.
pub async fn poll<T>(limit: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe().await {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(INTERVAL).await;
    }
}

/// Like [`poll`], but fails the test if `what` does not come true within `limit`.
#[track_caller]
pub fn eventually<T>(
    limit: Duration,
    what: &str,
    probe: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        match poll(limit, probe).await {
            Some(value) => value,
            None => panic!("{caller}: not within {limit:?}: {what}"),
        }
    }
}

/// Awaits a future, and fails the test if `what` takes longer than `limit`.
#[track_caller]
pub fn within<F: Future>(
    limit: Duration,
    what: &str,
    future: F,
) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match timeout(limit, future).await {
            Ok(output) => output,
            Err(_) => panic!("{caller}: took longer than {limit:?}: {what}"),
        }
    }
}

/// Like [`eventually`], for conditions that come true within about a millisecond: its callers need not be
/// async.
#[track_caller]
pub fn eventually_blocking(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + limit;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
