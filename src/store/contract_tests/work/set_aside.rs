//! Messages set aside: leased, prolonged, settled.

use std::task::Poll;

use super::*;
use crate::limits::{LEASE_DUE_BYTES, MAX_ATTEMPT_ERROR};
use crate::store::work::attempts::{EXHAUSTED, LOST};

on_both!(
    what_is_set_aside_comes_back_whole,
    what_is_there_already_stays_as_it_is,
    nothing_is_leased_before_it_is_due,
    those_that_wait_longest_come_first,
    a_leased_message_is_nobody_elses,
    a_lease_that_ran_out_counts_as_an_attempt,
    the_last_attempt_that_runs_out_makes_a_dead_letter,
    what_was_delivered_often_enough_is_not_run_again,
    each_verdict_does_what_it_says,
    a_verdict_on_anothers_lease_changes_nothing,
    a_prolonged_lease_holds,
    what_dies_is_a_letter_and_does_not_come_back,
    errors_are_kept_safely,
    a_lease_is_bounded_in_bytes,
    a_lease_whose_answer_was_lost_counts_no_attempt,
    thousands_at_once,
);

async fn what_is_set_aside_comes_back_whole(server: Server) {
    let store = with_aside(&server, []).await;
    let mut odd = message(u64::pow(2, 53) - 1);
    odd.subject = "agent.task.\0.\u{e9}\u{1F600}".to_owned();
    odd.body = Bytes::from_static(b"{\"a\":\"\\u0000\"}\0\xff");
    odd.attempts.push(failed(2));
    odd.attempt = 2;
    store.set_aside(NAME, std::slice::from_ref(&odd)).await.expect("set aside");
    assert_eq!(aside(&*store).await, (1, 0, Some(odd.seq)));
    let leased = lease_for(&*store, 10, LONG).await;
    let expected = LeasedMessage {
        seq: odd.seq,
        subject: odd.subject,
        body: odd.body,
        attempt: 3,
        attempts: odd.attempts,
        lease: leased[0].lease,
    };
    assert_eq!(leased, [expected]);
    assert_eq!(aside(&*store).await, (1, 1, Some(odd.seq)));
}

async fn what_is_there_already_stays_as_it_is(server: Server) {
    let store = with_aside(&server, [1]).await;
    let mut other = message(1);
    other.body = Bytes::from_static(b"{}");
    other.attempt = 0;
    store.set_aside(NAME, &[other.clone(), message(2), other]).await.expect("set aside");
    let leased = lease_for(&*store, 10, LONG).await;
    assert_eq!(seqs(&leased), [1, 2]);
    assert_eq!((leased[0].attempt, &leased[0].body[..]), (2, &b"{\"n\":1}"[..]));
    assert_eq!(aside(&*store).await, (2, 2, Some(1)));
}

async fn nothing_is_leased_before_it_is_due(server: Server) {
    let store = with_aside(&server, []).await;
    assert_eq!(store.next_due(NAME).await.expect("answers"), None);
    let late = SetAside { delay: LONG, ..message(1) };
    store.set_aside(NAME, &[late]).await.expect("set aside");
    assert_eq!(lease_for(&*store, 10, LONG).await, []);
    let due = store.next_due(NAME).await.expect("answers").expect("something");
    assert!(due > LONG / 2 && due <= LONG, "{due:?}");
    store.set_aside(NAME, &[message(2)]).await.expect("set aside");
    assert_eq!(store.next_due(NAME).await.expect("answers"), Some(NOW));
    assert_eq!(seqs(&lease_for(&*store, 10, LONG).await), [2]);
    assert!(store.next_due(NAME).await.expect("answers").expect("something") > LONG / 2);
    assert_eq!(aside(&*store).await, (2, 1, Some(1)));
}

async fn those_that_wait_longest_come_first(server: Server) {
    let store = with_aside(&server, []).await;
    for seq in [5, 3, 4, 1, 2] {
        store.set_aside(NAME, &[message(seq)]).await.expect("set aside");
    }
    assert_eq!(seqs(&lease_for(&*store, 3, LONG).await), [5, 3, 4]);
    assert_eq!(seqs(&lease_for(&*store, 3, LONG).await), [1, 2]);
    assert_eq!(aside(&*store).await, (5, 5, Some(1)));
}

async fn a_leased_message_is_nobody_elses(server: Server) {
    let store = with_aside(&server, 1..=3).await;
    make(&*store, "other").await;
    assert_eq!(seqs(&lease_for(&*store, 2, LONG).await), [1, 2]);
    assert_eq!(seqs(&lease_for(&*store, 2, LONG).await), [3]);
    assert_eq!(lease_for(&*store, 2, LONG).await, []);
    assert_eq!(store.lease_due("other", 9, 3, LONG).await.expect("leases"), []);
}

async fn a_lease_that_ran_out_counts_as_an_attempt(server: Server) {
    let store = with_aside(&server, [1]).await;
    let first = lease_for(&*store, 1, NOW).await;
    assert_eq!((first[0].attempt, &first[0].attempts), (2, &vec![failed(1)]));
    let second = lease_for(&*store, 1, LONG).await;
    assert_eq!((second[0].attempt, second[0].attempts.len()), (3, 2));
    let lost = &second[0].attempts[1];
    assert_eq!((lost.attempt, &lost.error[..]), (2, LOST));
    assert!(
        (crate::clock::Clock::system().now() - lost.at).abs() < chrono::Duration::seconds(30),
        "{lost:?}"
    );
    assert_ne!(second[0].lease, first[0].lease);
}

async fn the_last_attempt_that_runs_out_makes_a_dead_letter(server: Server) {
    let store = with_aside(&server, [1, 2]).await;
    assert_eq!(lease_for(&*store, 2, NOW).await.len(), 2);
    let last = lease_for(&*store, 2, NOW).await;
    assert_eq!(last.iter().map(|one| one.attempt).collect::<Vec<_>>(), [3, 3]);
    assert_eq!(lease_for(&*store, 2, NOW).await, []);
    assert_eq!(aside(&*store).await, (0, 0, None));
    let dead = letters(&*store).await;
    assert_eq!(dead.iter().map(|letter| letter.seq).collect::<Vec<_>>(), [1, 2]);
    let attempts: Vec<_> = dead[0].attempts.iter().map(|a| (a.attempt, a.error.as_str())).collect();
    assert_eq!(attempts, [(1, "failure 1"), (2, LOST), (3, LOST)]);
    assert_eq!((&dead[0].source[..], dead[0].kind), (NAME, DeadLetterKind::Message));
    assert_eq!((&dead[0].reason[..], &dead[0].body[..]), (LOST, &b"{\"n\":1}"[..]));
    settle(&*store, &last, &AttemptOutcome::Done).await;
    assert_eq!(letters(&*store).await, dead);
}

async fn what_was_delivered_often_enough_is_not_run_again(server: Server) {
    let store = with_aside(&server, []).await;
    let often = SetAside { attempt: 3, attempts: vec![], ..message(1) };
    store.set_aside(NAME, &[often]).await.expect("set aside");
    assert_eq!(lease_for(&*store, 1, LONG).await, []);
    let dead = letters(&*store).await;
    assert_eq!((&dead[0].reason[..], dead[0].attempts.len()), (EXHAUSTED, 0));
}

async fn each_verdict_does_what_it_says(server: Server) {
    let store = with_aside(&server, 1..=5).await;
    let leased = lease_for(&*store, 5, LONG).await;
    let verdicts = [
        AttemptOutcome::Done,
        again(2, NOW),
        again(2, LONG),
        AttemptOutcome::Released,
        dead(Some(2), "enough"),
    ];
    let settled: Vec<_> = leased.iter().zip(&verdicts).map(|(l, v)| verdict_on(l, v)).collect();
    for _ in 0..2 {
        store.settle(NAME, &settled).await.expect("settled, and repeated without harm");
    }
    assert_eq!(aside(&*store).await, (3, 0, Some(2)));
    let due = lease_for(&*store, 5, LONG).await;
    assert_eq!(seqs(&due), [2, 4]);
    assert_eq!((due[0].attempt, &due[0].attempts), (3, &vec![failed(1), failed(2)]));
    assert_eq!((due[1].attempt, &due[1].attempts), (2, &vec![failed(1)]));
    let dead = letters(&*store).await;
    assert_eq!((dead.len(), dead[0].seq, &dead[0].reason[..]), (1, 5, "enough"));
    assert_eq!(dead[0].attempts, [failed(1), failed(2)]);
    assert_eq!(store.dead_letter(dead[0].id).await.expect("answers").as_ref(), Some(&dead[0]));
}

async fn a_verdict_on_anothers_lease_changes_nothing(server: Server) {
    let store = with_aside(&server, 1..=3).await;
    let lost = lease_for(&*store, 3, NOW).await;
    let mine = lease_for(&*store, 3, LONG).await;
    assert_eq!(seqs(&mine), [1, 2, 3]);
    for verdict in
        [AttemptOutcome::Done, AttemptOutcome::Released, again(2, NOW), dead(None, "late")]
    {
        settle(&*store, &lost, &verdict).await;
    }
    store.extend_leases(NAME, &[(1, lost[0].lease)], NOW).await.expect("changes nothing");
    assert_eq!(aside(&*store).await, (3, 3, Some(1)));
    assert_eq!(letters(&*store).await, []);
    settle(&*store, &mine, &AttemptOutcome::Done).await;
    assert_eq!(aside(&*store).await, (0, 0, None));
}

async fn a_prolonged_lease_holds(server: Server) {
    let store = with_aside(&server, 1..=3).await;
    let leased = lease_for(&*store, 3, NOW).await;
    let two: Vec<_> = leased[..2].iter().map(|one| (one.seq, one.lease)).collect();
    store.extend_leases(NAME, &two, LONG).await.expect("prolonged");
    assert_eq!(seqs(&lease_for(&*store, 3, LONG).await), [3]);
    settle(&*store, &leased, &AttemptOutcome::Done).await;
    assert_eq!(aside(&*store).await, (1, 1, Some(3)));
}

async fn what_dies_is_a_letter_and_does_not_come_back(server: Server) {
    let store = with_aside(&server, [1]).await;
    let leased = lease_for(&*store, 1, LONG).await;
    settle(&*store, &leased, &dead(None, "poison")).await;
    store.set_aside(NAME, &[message(1), message(2)]).await.expect("set aside");
    assert_eq!(aside(&*store).await, (1, 0, Some(2)));
    assert_eq!(letters(&*store).await.len(), 1);
}

async fn errors_are_kept_safely(server: Server) {
    let store = with_aside(&server, [1]).await;
    let leased = lease_for(&*store, 1, LONG).await;
    let error = format!("\0\"\\\n\r{}", "\u{1F600}".repeat(MAX_ATTEMPT_ERROR));
    let attempt = Attempt { attempt: 2, at: at(), error: error.clone() };
    let verdict = AttemptOutcome::Dead { attempt: Some(attempt), reason: error };
    settle(&*store, &leased, &verdict).await;
    let dead = letters(&*store).await;
    for kept in [&dead[0].reason, &dead[0].attempts[1].error] {
        assert!(kept.starts_with("\u{fffd}\"\\\n\r\u{1F600}"), "{kept:?}");
        assert!(kept.len() <= MAX_ATTEMPT_ERROR && kept.len() > MAX_ATTEMPT_ERROR - 4);
    }
}

async fn a_lease_is_bounded_in_bytes(server: Server) {
    let store = with_aside(&server, []).await;
    let large = Bytes::from(vec![b'x'; usize::try_from(LEASE_DUE_BYTES / 2).expect("fits")]);
    let messages: Vec<_> =
        (1..=4).map(|seq| SetAside { body: large.clone(), ..message(seq) }).collect();
    store.set_aside(NAME, &messages).await.expect("set aside");
    assert_eq!(seqs(&lease_for(&*store, 10, LONG).await), [1, 2]);
    assert_eq!(seqs(&lease_for(&*store, 10, LONG).await), [3, 4]);
}

/// The request is dropped while it runs, each time a little later.
async fn a_lease_whose_answer_was_lost_counts_no_attempt(server: Server) {
    let store = with_aside(&server, 1..=5).await;
    for step in 0..40 {
        let mut leased = Vec::new();
        {
            let mut asked = Box::pin(lease_for(&*store, 5, LONG));
            for _ in 0..=step {
                if let Poll::Ready(answer) = futures_util::poll!(&mut asked) {
                    leased = answer;
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while leased.len() < 5 && tokio::time::Instant::now() < deadline {
            leased.extend(lease_for(&*store, 5, LONG).await);
        }
        assert_eq!(leased.len(), 5, "{step}");
        assert!(leased.iter().all(|one| one.attempt == 2), "{step}: {leased:?}");
        settle(&*store, &leased, &AttemptOutcome::Released).await;
    }
    assert_eq!(aside(&*store).await, (5, 0, Some(1)));
}

async fn thousands_at_once(server: Server) {
    let store = with_aside(&server, 1..=3_000).await;
    let mut pace = Vec::new();
    for verdict in [AttemptOutcome::Done, again(2, LONG), dead(Some(2), "poison")] {
        let begun = std::time::Instant::now();
        let leased = lease_for(&*store, 1_000, LONG).await;
        let then = begun.elapsed();
        settle(&*store, &leased, &verdict).await;
        pace.push((leased.len(), then, begun.elapsed() - then));
    }
    eprintln!("leased and settled: {pace:?}");
    assert!(pace.iter().all(|(count, ..)| *count == 1_000));
    assert_eq!(aside(&*store).await, (1_000, 0, Some(1_001)));
    let counts = store.dead_letter_counts().await.expect("counts");
    assert_eq!(counts, [(DeadLetterKind::Message, NAME.to_owned(), 1_000)]);
}
