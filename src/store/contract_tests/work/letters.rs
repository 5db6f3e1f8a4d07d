//! Dead letters: stored, listed, redriven, discarded.

use uuid::Uuid;

use super::*;
use crate::limits::{KEPT_ATTEMPTS_CHARS, MAX_PAGE_BYTES};

on_both!(
    burying_is_idempotent,
    a_buried_message_is_set_aside_no_longer,
    pages_hold_what_was_asked_for,
    a_page_is_bounded_in_bytes,
    a_redriven_message_is_set_aside_anew,
    what_cannot_go_back_stays,
    errors_do_not_grow_by_redriving,
    a_discarded_letter_is_gone,
);

fn letter(kind: DeadLetterKind, source: &str, seq: u64) -> DeadLetter {
    DeadLetter {
        id: Uuid::now_v7(),
        kind,
        source: source.to_owned(),
        seq,
        subject: "agent.\0.\u{e9}".to_owned(),
        body: Bytes::from(format!("{{\"n\":{seq}}}")),
        attempts: vec![failed(1), failed(2)],
        reason: "poison".to_owned(),
        died_at: at(),
    }
}

async fn burying_is_idempotent(server: Server) {
    let store = server.open().await;
    let first = letter(DeadLetterKind::Message, NAME, 1);
    let job = letter(DeadLetterKind::Job, NAME, 1);
    store.add_dead_letters(&[first.clone(), job.clone()]).await.expect("buried");
    let mut same = letter(DeadLetterKind::Message, NAME, 1);
    same.reason = "another".to_owned();
    let next = letter(DeadLetterKind::Message, NAME, 2);
    store.add_dead_letters(&[same, next.clone()]).await.expect("buried");
    assert_eq!(letters(&*store).await, [first, job, next]);
    let counts = store.dead_letter_counts().await.expect("counts");
    let count = |kind, n| (kind, NAME.to_owned(), n);
    assert_eq!(counts, [count(DeadLetterKind::Job, 1), count(DeadLetterKind::Message, 2)]);
}

async fn a_buried_message_is_set_aside_no_longer(server: Server) {
    let store = with_aside(&server, [1, 2]).await;
    let job = letter(DeadLetterKind::Job, NAME, 2);
    store.add_dead_letters(&[letter(DeadLetterKind::Message, NAME, 1), job]).await.expect("buried");
    assert_eq!(aside(&*store).await, (1, 0, Some(2)));
}

async fn pages_hold_what_was_asked_for(server: Server) {
    let store = server.open().await;
    let mut all = Vec::new();
    for seq in 1..=4 {
        for (kind, source) in [
            (DeadLetterKind::Message, "a"),
            (DeadLetterKind::Message, "b"),
            (DeadLetterKind::Job, "a"),
            (DeadLetterKind::Job, "c"),
        ] {
            all.push(letter(kind, source, seq));
        }
    }
    store.add_dead_letters(&all).await.expect("buried");
    all.sort_by_key(|letter| letter.id);
    for kind in [None, Some(DeadLetterKind::Message), Some(DeadLetterKind::Job)] {
        for source in [None, Some("a"), Some("b"), Some("nobody")] {
            let wanted: Vec<_> = all
                .iter()
                .filter(|letter| kind.is_none_or(|kind| letter.kind == kind))
                .filter(|letter| source.is_none_or(|source| letter.source == source))
                .cloned()
                .collect();
            let query = DeadLetterQuery { kind, source: source.map(str::to_owned), ..paged(3) };
            assert_eq!(all_pages(&*store, query).await, wanted, "{kind:?} {source:?}");
        }
    }
}

fn paged(limit: usize) -> DeadLetterQuery {
    DeadLetterQuery { limit, ..DeadLetterQuery::default() }
}

async fn all_pages(store: &dyn Store, mut query: DeadLetterQuery) -> Vec<DeadLetter> {
    let mut all = Vec::new();
    loop {
        let page = store.dead_letters(&query).await.expect("a page");
        assert!(page.letters.len() <= query.limit && !(page.more && page.letters.is_empty()));
        query.after = page.letters.last().map(|letter| letter.id);
        all.extend(page.letters);
        if !page.more {
            return all;
        }
    }
}

async fn a_page_is_bounded_in_bytes(server: Server) {
    let store = server.open().await;
    let large = Bytes::from(vec![b'x'; usize::try_from(MAX_PAGE_BYTES / 2).expect("fits")]);
    let all: Vec<_> = (1..=3)
        .map(|seq| DeadLetter { body: large.clone(), ..letter(DeadLetterKind::Job, "q", seq) })
        .collect();
    store.add_dead_letters(&all).await.expect("buried");
    let page = store.dead_letters(&paged(10)).await.expect("a page");
    assert_eq!((page.letters.len(), page.more), (2, true));
    assert_eq!(all_pages(&*store, paged(10)).await, all);
}

async fn a_redriven_message_is_set_aside_anew(server: Server) {
    let store = with_aside(&server, []).await;
    let buried = letter(DeadLetterKind::Message, NAME, 7);
    store.add_dead_letters(std::slice::from_ref(&buried)).await.expect("buried");
    assert!(store.redrive_message(buried.id).await.expect("redriven"));
    assert!(!store.redrive_message(buried.id).await.expect("answers"));
    assert_eq!(letters(&*store).await, []);
    assert_eq!(store.dead_letter_counts().await.expect("counts"), []);
    assert_eq!(aside(&*store).await, (1, 0, Some(7)));
    let leased = lease_for(&*store, 1, LONG).await;
    let expected = LeasedMessage {
        seq: 7,
        subject: buried.subject,
        body: buried.body,
        attempt: 1,
        attempts: buried.attempts,
        lease: leased[0].lease,
    };
    assert_eq!(leased, [expected]);
    settle(&*store, &leased, &dead(Some(1), "again")).await;
    let attempts = &letters(&*store).await[0].attempts;
    assert_eq!(attempts, &[failed(1), failed(2), failed(1)]);
}

async fn what_cannot_go_back_stays(server: Server) {
    let store = with_aside(&server, []).await;
    let all = [
        letter(DeadLetterKind::Message, "nobody", 1),
        letter(DeadLetterKind::Job, NAME, 1),
        letter(DeadLetterKind::Message, NAME, 1),
        letter(DeadLetterKind::Message, NAME, 2),
    ];
    store.add_dead_letters(&all).await.expect("buried");
    let mut ids: Vec<_> = all.iter().map(|letter| letter.id).collect();
    ids.push(Uuid::now_v7());
    let mut back = store.redrive_messages(&ids).await.expect("answers");
    back.sort_unstable();
    assert_eq!(back, ids[2..4]);
    assert_eq!(letters(&*store).await, all[..2]);
    assert_eq!(aside(&*store).await, (2, 0, Some(1)));
}

async fn errors_do_not_grow_by_redriving(server: Server) {
    let store = with_aside(&server, []).await;
    let mut long = letter(DeadLetterKind::Message, NAME, 1);
    let attempt = |n| Attempt { attempt: n, at: at(), error: "\u{e9}".repeat(1_000) };
    long.attempts = (1..=200).map(attempt).collect();
    store.add_dead_letters(std::slice::from_ref(&long)).await.expect("buried");
    assert!(store.redrive_message(long.id).await.expect("redriven"));
    let leased = lease_for(&*store, 1, LONG).await;
    let kept = &leased[0].attempts;
    assert!(kept.len() * 1_000 <= KEPT_ATTEMPTS_CHARS && kept.len() > 50, "{}", kept.len());
    assert_eq!(kept[..], long.attempts[200 - kept.len()..]);
}

async fn a_discarded_letter_is_gone(server: Server) {
    let store = server.open().await;
    let (a, b) = (letter(DeadLetterKind::Job, "q", 1), letter(DeadLetterKind::Message, NAME, 1));
    store.add_dead_letters(&[a.clone(), b.clone()]).await.expect("buried");
    assert!(store.discard_dead_letter(a.id).await.expect("discarded"));
    assert!(!store.discard_dead_letter(a.id).await.expect("answers"));
    assert_eq!(store.dead_letter(a.id).await.expect("answers"), None);
    assert_eq!(letters(&*store).await, [b]);
}
