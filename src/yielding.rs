//! Fairness between tasks.

use crate::limits::ITEMS_BETWEEN_YIELDS;

/// Lets other tasks run after every [`ITEMS_BETWEEN_YIELDS`] items of a batch. Call it before each item;
/// `done` is the number of items processed before.
pub async fn yield_between_items(done: usize) {
    if done % ITEMS_BETWEEN_YIELDS == ITEMS_BETWEEN_YIELDS - 1 {
        tokio::task::yield_now().await;
    }
}
