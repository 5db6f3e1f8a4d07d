//! One question for all who ask the same at the same time.
//!
//! Invariant: an answer is given only to who asked before the question was put, so nobody
//! is told what was true before. However many ask, at most two of them wait for a question
//! in turn: the one that is being answered, and the next.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// A question that many ask.
#[derive(Debug)]
pub(super) struct Singleflight<T> {
    /// Rounds begun.
    begun: AtomicU64,
    /// The last round answered, and its answer.
    answered: Mutex<(u64, Option<T>)>,
}

impl<T> Default for Singleflight<T> {
    fn default() -> Self {
        Self { begun: AtomicU64::new(0), answered: Mutex::new((0, None)) }
    }
}

impl<T: Clone> Singleflight<T> {
    /// The answer to a question that was put after this call. Cancel safe: one that waits
    /// puts the question again.
    pub(super) async fn ask(&self, question: impl Future<Output = T>) -> T {
        let wanted = self.begun.load(Ordering::SeqCst) + 1;
        let mut answered = self.answered.lock().await;
        if let (round, Some(answer)) = &*answered
            && *round >= wanted
        {
            return answer.clone();
        }
        let round = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let answer = question.await;
        *answered = (round, Some(answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;

    /// Takes a second, and answers how many were put.
    async fn question(put: Arc<AtomicUsize>) -> usize {
        let number = put.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
        number
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_together_shares_one_answer_and_who_comes_later_gets_another() {
        let (asking, put) = (Singleflight::default(), Arc::new(AtomicUsize::new(0)));
        let ask = || asking.ask(question(Arc::clone(&put)));
        let late = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            tokio::join!(ask(), ask(), ask())
        };
        let (first, late) = tokio::join!(ask(), late);
        assert_eq!((first, late), (1, (2, 2, 2)));
        assert_eq!(ask().await, 3, "an old answer is nobody's");
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_whose_asker_left_is_put_by_the_next() {
        let (asking, put) = (Singleflight::default(), Arc::new(AtomicUsize::new(0)));
        let ask = || asking.ask(question(Arc::clone(&put)));
        let gone = tokio::time::timeout(Duration::from_millis(500), ask());
        let (gone, waited) = tokio::join!(gone, ask());
        assert!(gone.is_err());
        assert_eq!(waited, 2);
    }
}
