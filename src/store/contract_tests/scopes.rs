//! History returns what filter and scope both accept, and looks at a bounded number of messages for a page.

use super::paging::{Dice, continue_at, model, random_log};
use super::*;
use crate::limits::PAGE_SCAN_ROWS;
use crate::message::SubjectPattern;
use crate::store::{Reach, search};

on_both!(
    pages_are_what_filter_and_scope_match,
    a_page_reads_a_bounded_part_of_what_its_scope_hides,
    the_first_message_with_an_id_in_the_scope_is_found,
    a_scope_of_many_values_makes_pages,
);

pub(super) fn scope(dice: &mut Dice) -> Scope {
    let subjects = (0..dice.0.usize(..4)).map(|_| dice.pattern().parse().expect("valid"));
    let mut scope = Scope { subjects: subjects.collect(), names: Vec::new() };
    scope.names = (0..dice.0.usize(..3)).map(|_| dice.name()).collect();
    scope.subjects.sort_unstable();
    scope.names.sort_unstable();
    scope.names.dedup();
    scope
}

/// Reads pages to the end. Returns the sequences, and how many pages ended before they were full. Asserts that such a
/// page has looked at no more than `scan` of the messages that the rest of the filter accepts.
async fn all_scanned(
    store: &dyn Store,
    log: &[Record],
    query: &Query,
    scan: usize,
) -> (Vec<u64>, usize) {
    let (mut query, mut seqs, mut cut) = (query.clone(), Vec::new(), 0);
    loop {
        let page = store.page_within(&query, scan).await;
        let page = page.unwrap_or_else(|error| panic!("{query:?}: {error}"));
        let found: Vec<u64> = page.messages.iter().map(|message| message.seq).collect();
        assert!(found.len() <= query.limit, "{query:?}");
        seqs.extend(&found);
        let Some(next) = page.next else { return (seqs, cut) };
        let mut looked_at = query.clone();
        looked_at.filter.scope = None;
        let range = if query.descending { &mut looked_at.after } else { &mut looked_at.before };
        let far = if query.descending { next.checked_sub(1) } else { Some(next + 1) };
        *range = far.or(*range);
        let looked_at = model(log, &looked_at).len();
        if found.len() < query.limit || found.last() != Some(&next) {
            cut += 1;
            assert!((1..=scan).contains(&looked_at), "{looked_at} of {scan}: {query:?}");
        }
        continue_at(&mut query, next);
    }
}

async fn pages_are_what_filter_and_scope_match(server: Server) {
    let seed = fastrand::u64(..);
    let (store, records, mut dice) = random_log(&server, seed).await;
    let last = records.last().expect("records").seq;
    let mut cut = 0;
    for round in 0..700 {
        let mut query = dice.query(last);
        query.filter.scope = Some(Arc::new(scope(&mut dice)));
        let scan = 1 + dice.0.usize(..80);
        let (found, pages) = all_scanned(&*store, &records, &query, scan).await;
        assert_eq!(found, model(&records, &query), "seed {seed} round {round}, {scan}: {query:?}");
        cut += pages;
    }
    assert!(cut > 100, "{cut} pages were cut");
}

async fn a_page_reads_a_bounded_part_of_what_its_scope_hides(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let scan = PAGE_SCAN_ROWS as u64;
    let readable = [scan / 2, scan * 6 / 5, scan * 5 / 2 - 1];
    let records: Vec<Record> = (1..=scan * 5 / 2)
        .map(|seq| {
            let mut record = record(seq);
            if readable.contains(&seq) {
                record.recipient_id = Some(token("bob"));
                record.body = r#"{"content":"a needle"}"#.into();
            }
            record
        })
        .collect();
    let mut through = 0;
    for batch in records.chunks(1_000) {
        through = write_all(&*store, &lease, through, batch).await.expect("written");
    }
    // One index walk, and two.
    for filter in ["task=t1", "subject=agent.task.t1.>", "sender=alice&kind=task"] {
        for descending in [false, true] {
            let mut query = everything(100);
            query.descending = descending;
            query.filter = within(filter, "as=bob");
            let mut pages = Vec::new();
            loop {
                let page = store.page(&query).await.expect("a page");
                let seqs: Vec<u64> = page.messages.iter().map(|message| message.seq).collect();
                pages.push((seqs, page.next));
                let Some(next) = page.next else { break };
                continue_at(&mut query, next);
            }
            let expected = match descending {
                false => [
                    (vec![readable[0]], Some(scan)),
                    (vec![readable[1]], Some(2 * scan)),
                    (vec![readable[2]], None),
                ],
                true => [
                    (vec![readable[2]], Some(through - scan + 1)),
                    (vec![readable[1]], Some(through - 2 * scan + 1)),
                    (vec![readable[0]], None),
                ],
            };
            assert_eq!(pages, expected, "?{filter} descending: {descending}");
            if filter == "task=t1" {
                assert_eq!(searched(&*store, query.clone()).await, expected, "{descending}");
                query.filter.scope = None;
                assert_eq!(searched(&*store, query).await, expected, "no scope, {descending}");
            }
        }
    }
    // A page that is full before reads no further.
    let mut query = everything(1);
    query.filter = within("task=t1", "as=alice&as=bob");
    let page = store.page(&query).await.expect("a page");
    assert_eq!((page.messages.len(), page.next), (1, Some(1)));
    query.filter = within("task=t1", "");
    let page = store.page(&query).await.expect("a page");
    assert_eq!((page.messages.len(), page.next, page.committed_through), (0, None, through));
}

/// The pages of a search for the readable messages, from the beginning on.
async fn searched(store: &dyn Store, query: Query) -> Vec<(Vec<u64>, Option<u64>)> {
    let mut query = Query { after: None, before: None, ..query };
    let mut pages = Vec::new();
    loop {
        let page = search(store, &query, "needle", Reach::default()).await.expect("a page");
        pages.push((page.messages.iter().map(|message| message.seq).collect(), page.next));
        let Some(next) = page.next else { return pages };
        continue_at(&mut query, next);
    }
}

async fn the_first_message_with_an_id_in_the_scope_is_found(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let id = Uuid::from_u128(7);
    let log: Vec<Record> = ["", "bob", "", "bob", "ann"]
        .iter()
        .zip(1..)
        .map(|(to, seq)| Record {
            id,
            recipient_id: (!to.is_empty()).then(|| token(to)),
            ..record(seq)
        })
        .collect();
    write_all(&*store, &lease, 0, &log).await.expect("written");
    let found = async |id, pattern: &str, names: &[&str]| {
        let subjects =
            if pattern.is_empty() { vec![] } else { vec![pattern.parse().expect("valid")] };
        let scope = Scope { subjects, names: names.iter().map(|name| token(name)).collect() };
        store.in_scope(id, &scope).await.expect("answers").map(|message| message.seq)
    };
    assert_eq!(found(id, "", &["bob"]).await, Some(2));
    assert_eq!(found(id, "", &["ann", "carl"]).await, Some(5));
    assert_eq!(found(id, "", &["alice"]).await, Some(1));
    assert_eq!(found(id, "agent.task.t1.>", &["bob"]).await, Some(1));
    assert_eq!(found(id, "agent.task.t2.>", &[]).await, None);
    assert_eq!(found(id, "", &[]).await, None);
    assert_eq!(found(Uuid::from_u128(8), "agent.task.>", &["bob"]).await, None);
}

async fn a_scope_of_many_values_makes_pages(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let mut dice = Dice(fastrand::Rng::with_seed(3));
    let records: Vec<Record> = (1..=200).map(|seq| dice.record(seq)).collect();
    write_all(&*store, &lease, 0, &records).await.expect("written");
    for many in [1, 20, 40, 128] {
        let values = (0..many).map(|n| if n == 0 { "a".to_owned() } else { format!("other{n}") });
        let subjects = values.clone().map(|key| format!("agent.*.{key}.>").parse().expect("valid"));
        let names: Vec<Token> = values.map(|name| token(&name)).collect();
        let subjects: Vec<SubjectPattern> = subjects.collect();
        for filter in
            ["", "kind=task", "type=b&type=c", "subject=agent.*.*.b", "subject=agent.*.a.>"]
        {
            for scope in [
                Scope { subjects: subjects.clone(), names: names.clone() },
                Scope { subjects: Vec::new(), names: names.clone() },
                Scope { subjects: subjects.clone(), names: Vec::new() },
            ] {
                let mut query = everything(7);
                query.filter = filters(filter);
                query.filter.scope = Some(Arc::new(scope));
                let (found, _) = all_scanned(&*store, &records, &query, 50).await;
                assert_eq!(found, model(&records, &query), "?{filter} within {many}");
            }
        }
    }
}
