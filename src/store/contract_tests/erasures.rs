//! Erasures: recorded before anything is gone, finished in one step, and nothing comes back.

use super::work::{NAME, make, message};
use super::*;
use crate::message::erase;
use crate::store::work::{DeadLetter, DeadLetterKind, DeadLetterQuery, SetAside};
use crate::store::{AuditRow, Erasure};

on_both!(
    a_finished_erasure_leaves_nothing_of_the_message,
    what_comes_late_is_kept_in_its_erased_form,
    each_finished_erasure_has_a_number,
);

fn erasure(seq: u64) -> Erasure {
    let (id, body) = (record(seq).id, erase(&record(seq).body));
    let at = time("2026-01-02T00:00:00Z");
    Erasure { seq, id, body, reason: "asked to".to_owned(), at, is_done: false }
}

fn entry(target: &str) -> AuditRow {
    AuditRow {
        seq: 0,
        at: time("2026-01-02T00:00:00Z"),
        actor_id: None,
        actor_name: "ann".to_owned(),
        action: "message.erase".to_owned(),
        target: target.to_owned(),
        detail: "{}".to_owned(),
        outcome: "done".to_owned(),
    }
}

/// A store with three messages.
async fn written(server: &Server) -> Box<dyn Store> {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let mut records: Vec<Record> = (1..=3).map(record).collect();
    records[1].foreign = Some((Bytes::from_static(b"secret"), vec![("a".into(), "b".into())]));
    write_all(&*store, &lease, 0, &records).await.expect("written");
    make(&*store, NAME).await;
    store
}

fn letter(seq: u64, kind: DeadLetterKind) -> DeadLetter {
    let SetAside { subject, body, attempts, .. } = message(seq);
    DeadLetter {
        id: Uuid::now_v7(),
        kind,
        source: NAME.to_owned(),
        seq,
        subject,
        body,
        attempts,
        reason: "it said secret".to_owned(),
        died_at: time("2026-01-02T00:00:00Z"),
    }
}

async fn letters(store: &dyn Store) -> Vec<DeadLetter> {
    let query = DeadLetterQuery { limit: 100, ..DeadLetterQuery::default() };
    store.dead_letters(&query).await.expect("letters").letters
}

async fn a_finished_erasure_leaves_nothing_of_the_message(server: Server) {
    let store = written(&server).await;
    store.set_aside(NAME, &[message(1), message(2)]).await.expect("set aside");
    let job = letter(3, DeadLetterKind::Job);
    let dead = letter(3, DeadLetterKind::Message);
    store.add_dead_letters(&[job.clone(), dead.clone()]).await.expect("stored");
    for seq in [2, 3] {
        for _ in 0..2 {
            store.begin_erasure(&erasure(seq), &entry("x")).await.expect("recorded");
        }
    }
    let before = store.original(2).await.expect("answers").expect("a row");
    assert_eq!(before.stored.body, record(2).body, "nothing is gone yet");
    assert_eq!(store.audit_entries(0, 100).await.expect("entries").len(), 2, "one for each");
    assert_eq!(store.pending_erasures(0, 100).await.expect("answers"), [erasure(2), erasure(3)]);
    for seq in [2, 3, 2] {
        store.finish_erasure(seq).await.expect("finished");
    }
    let after = store.original(2).await.expect("answers").expect("a row");
    assert_eq!((&after.stored.body, &after.foreign), (&erasure(2).body, &None));
    assert_eq!(
        (after.id, after.subject, after.logged_at),
        (before.id, before.subject, before.logged_at)
    );
    assert_eq!(store.count_pending_erasures().await.expect("answers"), 0);
    let leased = store.lease_due(NAME, 10, 3, LONG).await.expect("leases");
    assert_eq!(leased.len(), 2);
    assert_eq!((&leased[0].body, leased[0].attempts.len()), (&message(1).body, 1));
    assert_eq!((&leased[1].body, leased[1].attempts.len()), (&erasure(2).body, 0));
    let reason = "the message was erased".to_owned();
    let erased = DeadLetter { body: erasure(3).body, attempts: vec![], reason, ..dead };
    let mut found = letters(&*store).await;
    found.sort_by_key(|letter| letter.kind == DeadLetterKind::Message);
    assert_eq!(found, [job, erased]);
}

async fn what_comes_late_is_kept_in_its_erased_form(server: Server) {
    let store = written(&server).await;
    store.begin_erasure(&erasure(1), &entry("x")).await.expect("recorded");
    for finished in [false, true] {
        if finished {
            store.finish_erasure(1).await.expect("finished");
        }
        store.set_aside(NAME, &[message(1), message(2)]).await.expect("set aside");
        let leased = store.lease_due(NAME, 10, 3, LONG).await.expect("leases");
        let bodies: Vec<&Bytes> = leased.iter().map(|leased| &leased.body).collect();
        assert_eq!(bodies, [&erasure(1).body, &message(2).body]);
        let dead = [letter(1, DeadLetterKind::Message), letter(1, DeadLetterKind::Job)];
        store.add_dead_letters(&dead).await.expect("stored");
        for letter in letters(&*store).await {
            let is_erased = letter.body == erasure(1).body && !letter.reason.contains("secret");
            assert_eq!(is_erased, letter.kind == DeadLetterKind::Message, "{letter:?}");
            store.discard_dead_letter(letter.id).await.expect("discarded");
        }
        store.add_dead_letters(&[letter(2, DeadLetterKind::Message)]).await.expect("stored");
        for letter in letters(&*store).await {
            store.discard_dead_letter(letter.id).await.expect("discarded");
        }
    }
}

async fn each_finished_erasure_has_a_number(server: Server) {
    let store = written(&server).await;
    for seq in 1..=3 {
        store.begin_erasure(&erasure(seq), &entry("x")).await.expect("recorded");
    }
    let mut known = 0;
    for seq in [2, 1, 3] {
        store.finish_erasure(seq).await.expect("finished");
        let found = store.erased_after(known).await.expect("answers");
        assert_eq!(found.seqs, [seq]);
        assert!(found.number > known);
        assert_eq!(store.versions().await.expect("answers").erasures, found.number);
        known = found.number;
    }
    assert_eq!(store.erased_after(0).await.expect("answers").seqs, [2, 1, 3]);
    let all = store.erasures(2, 100).await.expect("answers");
    assert_eq!(
        all.iter().map(|it| (it.seq, it.is_done)).collect::<Vec<_>>(),
        [(2, true), (3, true)]
    );
}
