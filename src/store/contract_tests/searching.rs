//! A search finds exactly what the query selects and has the text, and looks at a bounded number of messages for a page.

use super::paging::{continue_at, model, random_log};
use super::scopes::scope;
use super::*;
use crate::store::{Reach, search};

on_both!(pages_have_what_query_and_text_select, a_search_ends_after_so_many_bytes);

/// Searches page by page to the end. Returns the sequences, and how many pages ended before they were full. Asserts that
/// such a page has looked at no more than `reach` of the messages that the query selects.
async fn all_searched(
    store: &dyn Store,
    log: &[Record],
    query: &Query,
    reach: Reach,
) -> (Vec<u64>, usize) {
    let (mut query, mut seqs, mut cut) = (query.clone(), Vec::new(), 0);
    loop {
        let page = search(store, &query, "needle", reach).await;
        let page = page.unwrap_or_else(|error| panic!("{query:?}: {error}"));
        let through = log.last().expect("records").seq;
        assert_eq!(page.committed_through, through, "{query:?}");
        let found: Vec<u64> = page.messages.iter().map(|message| message.seq).collect();
        assert!(found.len() <= query.limit, "{query:?}");
        seqs.extend(&found);
        let Some(next) = page.next else { return (seqs, cut) };
        if found.len() < query.limit {
            cut += 1;
            let mut looked_at = query.clone();
            let range = if query.descending { &mut looked_at.after } else { &mut looked_at.before };
            let far = if query.descending { next.checked_sub(1) } else { Some(next + 1) };
            *range = far.or(*range);
            let looked_at = model(log, &looked_at).len();
            assert!(looked_at <= reach.pages * reach.rows, "{looked_at}: {query:?}");
        }
        continue_at(&mut query, next);
    }
}

async fn pages_have_what_query_and_text_select(server: Server) {
    let seed = fastrand::u64(..);
    let (store, records, mut dice) = random_log(&server, seed).await;
    let last = records.last().expect("records").seq;
    let matching = |record: &&Record| record.body.windows(6).any(|part| part == b"needle");
    let matching: Vec<Record> = records.iter().filter(matching).cloned().collect();
    assert!((60..350).contains(&matching.len()), "{}", matching.len());
    let mut cut = 0;
    for round in 0..100 {
        let mut query = dice.query(last);
        if dice.0.bool() {
            query.filter.scope = Some(Arc::new(scope(&mut dice)));
        }
        let (pages, rows, bytes) =
            (1 + dice.0.usize(..4), 1 + dice.0.usize(..30), 1 + dice.0.u64(..900));
        let reach = Reach { pages, rows, bytes };
        let (found, pages) = all_searched(&*store, &records, &query, reach).await;
        let context = format!("seed {seed} round {round}, {reach:?}: {query:?}");
        assert_eq!(found, model(&matching, &query), "{context}");
        cut += pages;
    }
    assert!(cut > 50, "{cut} pages were cut");
}

async fn a_search_ends_after_so_many_bytes(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let content = "needle".repeat(50_000);
    let log: Vec<Record> = (1..=20)
        .map(|seq| Record { body: format!(r#"{{"content":"{content}"}}"#).into(), ..record(seq) })
        .collect();
    write_all(&*store, &lease, 0, &log).await.expect("written");
    let (query, reach) = (everything(100), Reach { pages: 2, rows: 100, bytes: 1_000_000 });
    let next = async |text: &str, query: &Query| {
        let page = search(&*store, query, text, reach).await.expect("a page");
        (page.messages.len(), page.next)
    };
    // Each page of the store ends once it has 1,000,000 bytes, with the fourth message.
    assert_eq!(next("hay", &query).await, (0, Some(8)));
    assert_eq!(next("needle", &query).await, (8, Some(8)));
    // So does a page of matches.
    let short = Query { limit_bytes: 500_000, ..query };
    assert_eq!(next("needle", &short).await, (2, Some(2)));
    let last = Query { after: Some(18), ..short };
    assert_eq!(next("needle", &last).await, (2, None));
}
