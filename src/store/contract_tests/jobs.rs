//! Work queues: each step of a job's life, on both stores.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::{LONG, Server, on_both};
use crate::store::Store;
use crate::store::jobs::{
    AddedJob, JobRow, JobSettled, JobSettlement, LeasedRows, QueueDeletion, QueueRow,
    RecordedAttempt, RedriveOutcome,
};
use crate::store::work::{Attempt, DeadLetter, DeadLetterKind};

const NOW: Duration = Duration::ZERO;
const SHORT: Duration = Duration::from_millis(30);

fn rules(name: &str, lease: Duration, max_deliver: u32) -> QueueRow {
    let (name, backoff) = (name.to_owned(), vec![Duration::from_millis(1_500)]);
    QueueRow { name, lease, max_deliver, backoff, longest_lease: NOW, incarnation: None }
}

pub(super) fn job(rank: u8, body: &str) -> JobRow {
    let body = Bytes::from(body.to_owned());
    JobRow { id: Uuid::now_v7(), rank, delay: NOW, body, identity: None, trace: None }
}

fn bodies(rows: &LeasedRows) -> Vec<String> {
    rows.jobs.iter().map(|job| String::from_utf8_lossy(&job.body).into_owned()).collect()
}

/// Adds jobs to a queue, which it creates if necessary.
pub(super) async fn add(store: &dyn Store, queue: &str, jobs: &[JobRow]) -> Vec<AddedJob> {
    store.put_queue(&rules(queue, LONG, 3), true, 10).await.expect("kept");
    store.add_jobs(queue, jobs).await.expect("kept").expect("there is such a queue")
}

pub(super) async fn lease(store: &dyn Store, limit: usize, lease_for: Duration) -> LeasedRows {
    store.lease_jobs("q", limit, 3, lease_for, Some("w1")).await.expect("leases")
}

pub(super) async fn end(
    store: &dyn Store,
    rows: &LeasedRows,
    at: usize,
    end: JobSettlement,
) -> JobSettled {
    let ends = [(rows.jobs[at].seq, rows.lease, end)];
    store.settle_jobs(&ends).await.expect("answers")[0]
}

/// Polls until a lease of [`SHORT`] has ended by the store's clock.
async fn run_out(store: &dyn Store) {
    let over = tokio::time::Instant::now() + SHORT * 2;
    while tokio::time::Instant::now() < over {
        store.next_job("q", 3).await.expect("answers");
    }
}

async fn jobs_are_leased_by_rank_and_then_in_order(server: Server) {
    let store = server.open().await;
    let jobs: Vec<JobRow> =
        [(2, "a"), (1, "b"), (0, "c"), (1, "d"), (0, "e")].map(|(r, b)| job(r, b)).into();
    let places = add(&*store, "q", &jobs).await;
    assert!(places.is_sorted_by(|a, b| a.seq < b.seq), "{places:?}");
    add(&*store, "other", &[job(0, "x")]).await;
    assert_eq!(bodies(&lease(&*store, 2, LONG).await), ["c", "e"]);
    assert_eq!(bodies(&lease(&*store, 10, LONG).await), ["b", "d", "a"]);
    assert!(lease(&*store, 10, LONG).await.jobs.is_empty());
    let (counts, oldest) = store.job_counts("q").await.expect("counts");
    assert_eq!((counts.waiting, counts.leased, counts.delayed), (0, 5, 0));
    assert_eq!(oldest.as_deref(), Some(&b"a"[..]));
    store.close().await;
}

async fn an_end_needs_the_lease_that_runs(server: Server) {
    let store = server.open().await;
    add(&*store, "q", &[job(1, "a"), job(1, "b")]).await;
    let first = lease(&*store, 1, SHORT).await;
    let other = lease(&*store, 1, LONG).await;
    run_out(&*store).await;
    assert_eq!(end(&*store, &first, 0, JobSettlement::Done).await, JobSettled::Lost, "ran out");
    let second = lease(&*store, 1, LONG).await;
    assert_eq!((second.jobs[0].seq, second.jobs[0].attempt), (first.jobs[0].seq, 2));
    for late in [
        JobSettlement::Done,
        JobSettlement::Extend(LONG),
        JobSettlement::Fail { error: "x".to_owned() },
    ] {
        assert_eq!(end(&*store, &first, 0, late).await, JobSettled::Lost);
    }
    let extended = end(&*store, &second, 0, JobSettlement::Extend(LONG)).await;
    assert!(
        matches!(extended, JobSettled::Extended(until) if until > crate::clock::Clock::system().now()),
        "{extended:?}"
    );
    let ends = [
        (second.jobs[0].seq, second.lease, JobSettlement::Done),
        (second.jobs[0].seq, second.lease, JobSettlement::Done),
        (
            other.jobs[0].seq,
            other.lease,
            JobSettlement::Retry { delay: LONG, error: "busy".to_owned() },
        ),
        (other.jobs[0].seq, other.lease, JobSettlement::Done),
    ];
    let ended = store.settle_jobs(&ends).await.expect("answers");
    assert_eq!(ended, [JobSettled::Done, JobSettled::Lost, JobSettled::Done, JobSettled::Lost]);
    let (counts, _) = store.job_counts("q").await.expect("counts");
    assert_eq!((counts.waiting, counts.leased, counts.delayed), (0, 0, 1));
    let next = store.next_job("q", 3).await.expect("answers").expect("one is delayed");
    assert!(next > LONG / 2 && next <= LONG, "{next:?}");
    store.close().await;
}

async fn spent_jobs_wait_to_be_buried_with_every_error(server: Server) {
    let store = server.open().await;
    store.put_queue(&rules("q", LONG, 3), false, 10).await.expect("kept");
    add(&*store, "q", &[job(1, "a"), job(1, "b")]).await;
    let first = lease(&*store, 1, SHORT).await;
    let failing = lease(&*store, 1, LONG).await;
    let failed = JobSettlement::Fail { error: "never".to_owned() };
    assert_eq!(end(&*store, &failing, 0, failed).await, JobSettled::Done);
    run_out(&*store).await;
    let second = lease(&*store, 2, LONG).await;
    assert_eq!(bodies(&second), ["a"], "what failed for good is not leased");
    let again = JobSettlement::Retry { delay: NOW, error: "busy".to_owned() };
    assert_eq!(end(&*store, &second, 0, again).await, JobSettled::Done);
    assert_eq!(lease(&*store, 1, SHORT).await.jobs[0].attempt, 3);
    run_out(&*store).await;
    assert!(lease(&*store, 1, LONG).await.jobs.is_empty(), "its attempts are used up");
    let mut spent = store.exhausted_jobs(10).await.expect("answers");
    spent.sort_by_key(|job| job.seq);
    let errors = |at: usize| -> Vec<(u32, &str)> {
        spent[at].attempts.iter().map(|it| (it.attempt, it.error.as_str())).collect()
    };
    let ran_out = "the lease ran out (worker w1)";
    assert_eq!(errors(0), [(1, ran_out), (2, "busy"), (3, ran_out)]);
    assert_eq!((errors(1), spent[1].failed), (vec![(1, "never")], true));
    assert_eq!(first.jobs[0].seq, spent[0].seq);
    store.remove_exhausted_jobs(&[spent[0].seq, spent[1].seq]).await.expect("dropped");
    assert!(store.exhausted_jobs(10).await.expect("answers").is_empty());
    store.close().await;
}

async fn an_identity_is_kept_once(server: Server) {
    let store = server.open().await;
    let identified = |id: u128, digest: u8| JobRow {
        identity: Some((Uuid::from_u128(id), [digest; 32])),
        ..job(1, "x")
    };
    let batch =
        [identified(1, 1), job(1, "y"), identified(1, 1), identified(1, 2), identified(2, 9)];
    let places = add(&*store, "q", &batch).await;
    let known: Vec<Option<bool>> = places.iter().map(|place| place.same).collect();
    assert_eq!(known, [None, None, Some(true), Some(false), None]);
    assert_eq!((places[2].seq, places[3].seq), (places[0].seq, places[0].seq));
    let again = add(&*store, "q", &[identified(2, 9)]).await;
    assert_eq!((again[0].seq, again[0].same), (places[4].seq, Some(true)));
    assert_eq!(add(&*store, "other", &[identified(2, 8)]).await[0].same, None);
    assert_eq!(lease(&*store, 10, LONG).await.jobs.len(), 3);
    store.close().await;
}

async fn rules_are_kept_and_remember_longer_leases(server: Server) {
    let store = server.open().await;
    assert_eq!(store.queue("q").await.expect("answers"), None);
    let (long, short) = (rules("q", LONG, 3), rules("q", SHORT, 5));
    assert_eq!(store.put_queue(&long, true, 2).await.expect("kept"), Some(true));
    assert_eq!(store.put_queue(&short, true, 2).await.expect("kept"), Some(false));
    let kept = store.queue("q").await.expect("answers").expect("there");
    assert_eq!((kept.lease, kept.longest_lease, &kept.backoff), (LONG, LONG, &long.backoff));
    assert_eq!(store.put_queue(&short, false, 2).await.expect("kept"), Some(false));
    let kept = store.queue("q").await.expect("answers").expect("there");
    assert_eq!((kept.lease, kept.longest_lease, kept.max_deliver), (SHORT, LONG, 5));
    assert_eq!(store.put_queue(&rules("p", SHORT, 1), false, 2).await.expect("kept"), Some(true));
    assert_eq!(store.put_queue(&rules("r", SHORT, 1), false, 2).await.expect("full"), None);
    let names = |rows: Vec<QueueRow>| rows.into_iter().map(|row| row.name).collect::<Vec<_>>();
    assert_eq!(names(store.queues(None, 10).await.expect("answers")), ["p", "q"]);
    assert_eq!(names(store.queues(Some("p"), 10).await.expect("answers")), ["q"]);
    let secret = store.lease_secret([1; 32]).await.expect("kept");
    assert_eq!((secret, store.lease_secret([2; 32]).await.expect("kept")), ([1; 32], [1; 32]));
    store.close().await;
}

async fn a_workers_word_beats_a_guess(server: Server) {
    let store = server.open().await;
    store.put_queue(&rules("q", LONG, 2), false, 10).await.expect("kept");
    let note = |number, error: &str, delay, guess| RecordedAttempt {
        seq: 7,
        attempt: Attempt {
            attempt: number,
            at: super::time("2026-01-01T00:00:00Z"),
            error: error.to_owned(),
        },
        delay,
        guess,
    };
    let told = async |notes: &[RecordedAttempt]| {
        store.record_attempts("q", notes).await.expect("noted");
        let noted = store.recorded_attempts("q", 7).await.expect("answers");
        noted.into_iter().map(|it| (it.attempt, it.error)).collect::<Vec<_>>()
    };
    assert_eq!(told(&[note(1, "guessed", LONG, true)]).await, [(1, "guessed".to_owned())]);
    assert_eq!(store.recorded_delays("q").await.expect("answers"), 0, "a lease is no delay");
    assert_eq!(told(&[note(1, "said", LONG, false)]).await, [(1, "said".to_owned())]);
    assert_eq!(store.recorded_delays("q").await.expect("answers"), 1);
    assert_eq!(told(&[note(1, "guessed", NOW, true)]).await, [(1, "said".to_owned())]);
    told(&[note(1, "said", NOW, false), note(2, "ran out", LONG, true)]).await;
    assert!(store.exhausted_records(10).await.expect("answers").is_empty(), "the last lease runs");
    told(&[note(2, "ran out", NOW, true)]).await;
    assert_eq!(store.exhausted_records(10).await.expect("answers"), [("q".to_owned(), 7)]);
    store.delete_attempts("q", &[7]).await.expect("forgotten");
    assert!(
        told(&[]).await.is_empty()
            && store.exhausted_records(10).await.expect("answers").is_empty()
    );
    store.close().await;
}

async fn a_queue_goes_with_all_but_its_leases_and_dead_letters(server: Server) {
    let store = server.open().await;
    let first = QueueRow { incarnation: Some(Uuid::from_u128(1)), ..rules("q", LONG, 2) };
    let delete = async |made, force| {
        store.delete_queue("q", Some(Uuid::from_u128(made)), force).await.expect("answers")
    };
    assert_eq!(delete(1, true).await, QueueDeletion::Missing);
    assert_eq!(store.add_jobs("q", &[job(1, "a")]).await.expect("answers"), None);
    store.put_queue(&first, false, 10).await.expect("kept");
    let changed = QueueRow { incarnation: Some(Uuid::from_u128(9)), ..first.clone() };
    store.put_queue(&changed, false, 10).await.expect("kept");
    let kept = store.queue("q").await.expect("answers").expect("there");
    assert_eq!(kept.incarnation, first.incarnation, "other rules make no other queue");
    let named = JobRow { identity: Some((Uuid::from_u128(7), [1; 32])), ..job(1, "a") };
    let later = JobRow { delay: LONG, ..job(1, "later") };
    add(&*store, "q", &[named.clone(), later.clone(), job(2, "b")]).await;
    add(&*store, "other", &[job(1, "x")]).await;
    assert_eq!(delete(1, false).await, QueueDeletion::NotEmpty);
    assert_eq!(delete(2, true).await, QueueDeletion::Missing, "another making");
    let leased = lease(&*store, 1, LONG).await;
    assert_eq!(delete(1, false).await, QueueDeletion::Leased);
    assert_eq!(delete(1, true).await, QueueDeletion::Leased);
    assert_eq!(store.job_counts("q").await.expect("counts").0.delayed, 1, "nothing was dropped");
    let failed = JobSettlement::Fail { error: "never".to_owned() };
    assert_eq!(end(&*store, &leased, 0, failed).await, JobSettled::Done);
    assert_eq!(delete(1, true).await, QueueDeletion::Leased, "it is to be a dead letter");
    store.remove_exhausted_jobs(&[leased.jobs[0].seq]).await.expect("dropped");
    assert_eq!(delete(1, true).await, QueueDeletion::Done);
    assert_eq!(store.queue("q").await.expect("answers"), None);
    assert_eq!(store.job_counts("q").await.expect("counts").0, Default::default());
    assert_eq!(add(&*store, "q", &[named]).await[0].same, None, "its ids went with it");
    assert_eq!(store.job_counts("other").await.expect("counts").0.waiting, 1);
    store.close().await;
}

async fn a_letter_becomes_a_job_once(server: Server) {
    let store = server.open().await;
    let letter = DeadLetter {
        id: Uuid::from_u128(5),
        kind: DeadLetterKind::Job,
        source: "q".to_owned(),
        seq: 3,
        subject: "q.normal".to_owned(),
        body: Bytes::from_static(b"a"),
        attempts: Vec::new(),
        reason: "rejected".to_owned(),
        died_at: crate::clock::Clock::system().now(),
    };
    store.add_dead_letters(std::slice::from_ref(&letter)).await.expect("kept");
    let back = async || store.redrive_job(letter.id, "q", &job(1, "a")).await.expect("answers");
    assert_eq!(back().await, RedriveOutcome::NoQueue);
    assert!(store.dead_letter(letter.id).await.expect("answers").is_some());
    let taken = JobRow { identity: Some((letter.id, [1; 32])), ..job(1, "b") };
    add(&*store, "q", &[taken]).await;
    let (one, other) = tokio::join!(back(), back());
    assert!([one, other].contains(&RedriveOutcome::Done), "{one:?}");
    assert!([one, other].contains(&RedriveOutcome::NoDeadLetter), "{one:?}, {other:?}");
    assert_eq!(store.dead_letter(letter.id).await.expect("answers"), None);
    assert_eq!(bodies(&lease(&*store, 10, LONG).await), ["b", "a"]);
    store.close().await;
}

on_both!(
    a_queue_goes_with_all_but_its_leases_and_dead_letters,
    a_letter_becomes_a_job_once,
    jobs_are_leased_by_rank_and_then_in_order,
    an_end_needs_the_lease_that_runs,
    spent_jobs_wait_to_be_buried_with_every_error,
    an_identity_is_kept_once,
    rules_are_kept_and_remember_longer_leases,
    a_workers_word_beats_a_guess,
);
