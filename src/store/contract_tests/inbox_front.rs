//! The first message of an inbox that has not expired is found by reading a bounded number of rows at a time.

use super::*;
use crate::limits::PARTITION_SEQS;
use crate::store::InboxFront;

on_both!(expired_messages_are_skipped, messages_beyond_a_partition_are_found);

const NOW: &str = "2026-06-01T00:00:00Z";

/// A message to `a`, `b` or everybody; some have expired and some never do.
fn message(seq: u64, dice: &mut fastrand::Rng) -> Record {
    let mut record = record(seq);
    record.kind = Kind::Message;
    record.recipient_id = [Some(token("a")), Some(token("b")), None][dice.usize(..3)].clone();
    let expires =
        [Some("2026-05-31T23:59:59.999999Z"), Some(NOW), Some("2026-06-01T00:00:00.000001Z"), None];
    record.expires_at = expires[dice.usize(..4)].map(time);
    record.type_ = token(if dice.bool() { "even" } else { "odd" });
    record.subject = Subject::derive(Kind::Message, &token("worker"), &record.type_);
    record
}

/// The expected result of [`HistoryStore::inbox_front`](crate::store::HistoryStore::inbox_front), from the
/// records alone.
fn expected(log: &[Record], query: &Query, through: u64) -> InboxFront {
    let after = query.after.unwrap_or(0);
    let to = |record: &&Record| match &record.recipient_id {
        Some(recipient) => query.filter.recipients.contains(recipient),
        None => query.filter.broadcast,
    };
    let mine: Vec<&Record> = log.iter().filter(|r| r.seq > after).filter(to).collect();
    let looked = &mine[..mine.len().min(query.limit + 1)];
    let scope = query.filter.scope.as_deref();
    let readable = |r: &Record| scope.is_none_or(|scope| scope.allows(r));
    let living = |r: &&&Record| readable(r) && r.expires_at.is_none_or(|end| end > time(NOW));
    let first = looked.iter().find(living).map(|r| r.seq);
    let passed = || looked.iter().take_while(|r| Some(r.seq) != first);
    let expired = passed().filter(|r| readable(r)).count();
    InboxFront {
        first,
        passed: passed().count() as u64,
        expired: expired as u64,
        last: looked.last().map(|r| r.seq),
        more: first.is_none() && mine.len() > query.limit,
        committed_through: through,
    }
}

async fn expired_messages_are_skipped(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let mut dice = fastrand::Rng::with_seed(7);
    let log: Vec<Record> = (1..=60).map(|seq| message(seq, &mut dice)).collect();
    let through = write_all(&*store, &lease, 0, &log).await.expect("written");
    for (filter, scope) in [
        ("recipient=a", None),
        ("recipient=b&broadcast=true", None),
        ("recipient=nobody", None),
        ("recipient=a", Some("as=b")),
        ("recipient=b&broadcast=true", Some("as=b")),
        ("recipient=a&broadcast=true", Some("as=b&read=agent.message.*.even")),
        ("recipient=a", Some("as=a")),
    ] {
        for limit in [1, 2, 5, 100] {
            for after in [0, 1, 17, 40, 58, 60, 61] {
                let mut query = everything(limit);
                query.filter = scope.map_or_else(|| filters(filter), |scope| within(filter, scope));
                query.after = Some(after);
                let found = store.inbox_front(&query, time(NOW)).await.expect("answers");
                let mut expected = expected(&log, &query, through);
                // How much was read behind the first unexpired message does not matter.
                if found.first.is_some() {
                    expected.last = found.last;
                }
                assert_eq!(
                    found, expected,
                    "?{filter} within {scope:?} after {after}, limit {limit}"
                );
            }
        }
    }
}

async fn messages_beyond_a_partition_are_found(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let expired = |seq| {
        let mut record = message(seq, &mut fastrand::Rng::with_seed(seq));
        record.recipient_id = Some(token("a"));
        record.expires_at = Some(time("2026-01-01T00:00:00Z"));
        record
    };
    let mut log: Vec<Record> =
        [1, 2, PARTITION_SEQS, PARTITION_SEQS * 2 + 5, PARTITION_SEQS * 9].map(expired).to_vec();
    log[4].expires_at = None;
    let through = write_all(&*store, &lease, 0, &log).await.expect("written");
    for (limit, first, expired, more) in
        [(10, Some(through), 4, false), (3, None, 4, true), (1, None, 2, true)]
    {
        let mut query = everything(limit);
        query.filter = filters("recipient=a");
        let found = store.inbox_front(&query, time(NOW)).await.expect("answers");
        assert_eq!((found.first, found.expired, found.more), (first, expired, more), "{limit}");
        assert_eq!(found.last, Some(log[limit.min(4)].seq));
    }
}
