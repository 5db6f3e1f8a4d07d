//! Shares one call among all callers that need the same result at the same time.
//!
//! Invariant: a caller gets only the result of a call that began after the caller asked, never an
//! older value. With any number of callers, each waits for at most two calls: the one in progress and the
//! next.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// Runs one operation for all concurrent callers.
#[derive(Debug)]
pub struct Singleflight<T> {
    /// How many calls have begun.
    begun: AtomicU64,
    /// The number of the last finished call, and its result.
    last: Mutex<(u64, Option<T>)>,
}

impl<T> Default for Singleflight<T> {
    fn default() -> Self {
        Self { begun: AtomicU64::new(0), last: Mutex::new((0, None)) }
    }
}

impl<T: Clone> Singleflight<T> {
    /// Returns the result of a call that begins from now on: `call`, or that of another caller. Cancel
    /// safe: if the caller whose call runs is dropped, the next one runs its own.
    pub async fn run(&self, call: impl Future<Output = T>) -> T {
        let wanted = self.begun.load(Ordering::SeqCst) + 1;
        let mut last = self.last.lock().await;
        if let (number, Some(result)) = &*last
            && *number >= wanted
        {
            return result.clone();
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let result = call.await;
        *last = (number, Some(result.clone()));
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;

    /// A call that takes a second, and returns how many calls have begun.
    async fn call(begun: Arc<AtomicUsize>) -> usize {
        let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
        number
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_callers_share_one_result_and_later_ones_get_another() {
        let (flight, begun) = (Singleflight::default(), Arc::new(AtomicUsize::new(0)));
        let run = || flight.run(call(Arc::clone(&begun)));
        let late = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            tokio::join!(run(), run(), run())
        };
        let (first, late) = tokio::join!(run(), late);
        assert_eq!((first, late), (1, (2, 2, 2)));
        assert_eq!(run().await, 3, "an old result is not used again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_caller_left_is_run_by_the_next() {
        let (flight, begun) = (Singleflight::default(), Arc::new(AtomicUsize::new(0)));
        let run = || flight.run(call(Arc::clone(&begun)));
        let cancelled = tokio::time::timeout(Duration::from_millis(500), run());
        let (cancelled, waited) = tokio::join!(cancelled, run());
        assert!(cancelled.is_err());
        assert_eq!(waited, 2);
    }
}
