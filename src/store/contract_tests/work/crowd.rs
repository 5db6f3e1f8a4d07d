//! Many workers at once: on PostgreSQL as many servers, on SQLite as many connections.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::Barrier;
use uuid::Uuid;

use super::*;

on_both!(
    no_message_is_leased_twice,
    settling_and_prolonging_do_not_get_in_each_others_way,
    one_letter_is_redriven_once,
    two_who_set_aside_and_bury_leave_one_of_both,
);

const WORKERS: usize = 8;

/// Runs a worker on each of several stores. All begin at once.
async fn crowd<T: Send + 'static, F>(
    server: &Server,
    work: impl Fn(usize, Box<dyn Store>) -> F,
) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(WORKERS));
    let mut running = Vec::new();
    for worker in 0..WORKERS {
        let work = work(worker, server.open().await);
        let barrier = Arc::clone(&barrier);
        running.push(tokio::spawn(async move {
            barrier.wait().await;
            work.await
        }));
    }
    let mut done = Vec::new();
    for one in running {
        done.push(one.await.expect("a worker ends"));
    }
    done
}

async fn no_message_is_leased_twice(server: Server) {
    const MESSAGES: u64 = 2_000;
    let store = with_aside(&server, 1..=MESSAGES).await;
    let taken = crowd(&server, |_, store| async move {
        let mut taken = Vec::new();
        loop {
            let leased = lease_for(&*store, 37, LONG).await;
            if leased.is_empty() && aside(&*store).await.1 + 37 > MESSAGES {
                return taken;
            }
            taken.extend(seqs(&leased));
        }
    })
    .await;
    let all: Vec<u64> = taken.into_iter().flatten().collect();
    assert_eq!(all.len() as u64, MESSAGES);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    assert_eq!(aside(&*store).await, (MESSAGES, MESSAGES, Some(1)));
}

/// Every message fails twice and then dies or is done. Workers prolong leases while they settle them.
async fn settling_and_prolonging_do_not_get_in_each_others_way(server: Server) {
    const MESSAGES: u64 = 600;
    let store = with_aside(&server, 1..=MESSAGES).await;
    let ran = crowd(&server, |_, store| async move {
        let mut ran = HashMap::new();
        while aside(&*store).await.0 > 0 {
            let leased = lease_for(&*store, 50, LONG).await;
            let pairs: Vec<_> = leased.iter().map(|one| (one.seq, one.lease)).collect();
            for one in &leased {
                *ran.entry((one.seq, one.attempt)).or_insert(0) += 1;
            }
            let verdicts: Vec<_> = leased.iter().map(|one| verdict_on(one, &judge(one))).collect();
            let (prolonged, settled) = tokio::join!(
                store.extend_leases(NAME, &pairs, LONG),
                store.settle(NAME, &verdicts)
            );
            prolonged.expect("prolonged");
            settled.expect("settled");
        }
        ran
    })
    .await;
    let mut attempts = HashMap::new();
    for (key, n) in ran.into_iter().flatten() {
        *attempts.entry(key).or_insert(0) += n;
    }
    assert!(attempts.values().all(|n| *n == 1), "each attempt at each message is made once");
    assert_eq!(attempts.len() as u64, MESSAGES * 2);
    assert_eq!(letters(&*store).await.len() as u64, MESSAGES / 3);
    assert_eq!(aside(&*store).await, (0, 0, None));
}

fn judge(leased: &LeasedMessage) -> AttemptOutcome {
    match (leased.attempt, leased.seq % 3) {
        (1 | 2, _) => again(leased.attempt, NOW),
        (_, 0) => dead(Some(leased.attempt), "enough"),
        _ => AttemptOutcome::Done,
    }
}

async fn one_letter_is_redriven_once(server: Server) {
    let store = with_aside(&server, 1..=100).await;
    let leased = lease_for(&*store, 100, LONG).await;
    settle(&*store, &leased, &dead(None, "poison")).await;
    let ids: Arc<Vec<Uuid>> = Arc::new(letters(&*store).await.iter().map(|l| l.id).collect());
    let back = crowd(&server, |worker, store| {
        let mut ids = ids.to_vec();
        ids.rotate_left(worker * 11);
        async move { store.redrive_messages(&ids).await.expect("redriven") }
    })
    .await;
    let all: Vec<Uuid> = back.into_iter().flatten().collect();
    assert_eq!(all.len(), 100);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 100);
    assert_eq!(aside(&*store).await, (100, 0, Some(1)));
    assert_eq!(letters(&*store).await, []);
}

/// One worker gives messages up while others set the same messages aside again.
async fn two_who_set_aside_and_bury_leave_one_of_both(server: Server) {
    const MESSAGES: u64 = 300;
    let store = with_aside(&server, 1..=MESSAGES).await;
    let leased = Arc::new(lease_for(&*store, 300, LONG).await);
    crowd(&server, |worker, store| {
        let leased = Arc::clone(&leased);
        async move {
            if worker == 0 {
                for some in leased.chunks(10) {
                    settle(&*store, some, &dead(None, "poison")).await;
                }
                return;
            }
            let mut messages: Vec<_> = (1..=MESSAGES).map(message).collect();
            messages.rotate_left(worker * 31);
            for some in messages.chunks(15) {
                store.set_aside(NAME, some).await.expect("set aside");
            }
        }
    })
    .await;
    assert_eq!(aside(&*store).await, (0, 0, None));
    assert_eq!(letters(&*store).await.len() as u64, MESSAGES);
}
