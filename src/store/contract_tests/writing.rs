//! Writes, fencing, holes, counters, membership.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::message::TraceContext;
use crate::store::{BusKind, HoleReason, MembershipState};

on_both!(
    a_new_store_is_empty,
    a_frozen_writer_is_fenced_and_writes_nothing,
    a_write_from_another_watermark_is_fenced,
    the_lease_changes_its_owner_by_its_rules,
    holes_are_found_where_they_touch,
    rows_are_read_back_complete,
    a_bare_row_keeps_what_every_store_accepts,
    a_subject_may_be_longer_than_an_index_entry,
    an_id_is_found_at_its_lowest_sequence,
    a_refused_row_leaves_the_store_as_it_was,
    counts_add_up,
    sequences_may_jump_past_partitions,
    a_dropped_write_leaves_no_transaction_behind,
    one_server_alone_on_the_memory_bus,
    the_log_is_recorded,
);

async fn a_new_store_is_empty(server: Server) {
    let store = server.open().await;
    let state = store.log_state().await.expect("a state");
    assert_eq!((state.committed_through, state.first_seq, state.bus), (0, None, None));
    let page = store.page(&everything(10)).await.expect("a page");
    assert!(page.messages.is_empty() && page.next.is_none() && page.committed_through == 0);
    assert_eq!(store.originals(0, 10).await.expect("rows"), []);
    assert_eq!(store.counts(None, 100).await.expect("counts"), Default::default());
    store.ping().await.expect("alive");
    drop(store);
    server.open().await.close().await;
}

async fn a_frozen_writer_is_fenced_and_writes_nothing(server: Server) {
    let (first, second) = (server.open().await, server.open().await);
    let frozen = lease(&*first).await;
    write_all(&*first, &frozen, 0, &[record(1)]).await.expect("holds the lease");
    let taken = lease(&*second).await;
    assert_eq!((taken.committed_through, taken.epoch > frozen.epoch), (1, true));
    let late = write_all(&*first, &frozen, 1, &[record(2), record(4)]).await;
    assert!(matches!(late, Err(StoreError::Fenced)));
    assert!(matches!(first.renew(&frozen, LONG).await, Err(StoreError::Fenced)));
    let set = first.set_log(&frozen, BusKind::Nats, None).await;
    assert!(matches!(set, Err(StoreError::Fenced)));
    first.release(&frozen).await.expect("releasing a lost lease changes nothing");
    assert_eq!(second.holes(0, 10, 10).await.expect("holes"), []);
    assert_eq!(second.counts(None, 100).await.expect("counts").by_sender["alice"], 1);
    let mine = write_all(&*second, &taken, 1, &[record(2), record(3)]).await;
    assert_eq!(mine.expect("the new holder writes"), 3);
    assert_eq!(seqs(&*first, &everything(10)).await, [1, 2, 3]);
}

async fn a_write_from_another_watermark_is_fenced(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    write_all(&*store, &lease, 0, &[record(1), record(2)]).await.expect("written");
    for old in [0, 1, 3] {
        let again = write_all(&*store, &lease, old, &[record(old + 1)]).await;
        assert!(matches!(again, Err(StoreError::Fenced)), "from {old}");
    }
    write_all(&*store, &lease, 2, &[record(3)]).await.expect("still good for writing");
    assert_eq!(seqs(&*store, &everything(10)).await, [1, 2, 3]);
}

async fn the_lease_changes_its_owner_by_its_rules(server: Server) {
    let store = server.open().await;
    let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let first = store.claim(a, LONG, false).await.expect("answers").expect("free");
    assert!(store.claim(b, LONG, false).await.expect("answers").is_none());
    let again = store.claim(a, LONG, false).await.expect("answers").expect("its own");
    assert_eq!(again.epoch, first.epoch);
    store.renew(&first, Duration::ZERO).await.expect("still its own");
    let second = store.claim(b, LONG, false).await.expect("answers").expect("run out");
    assert_eq!(second.epoch, first.epoch + 1);
    store.release(&second).await.expect("given back");
    let third = store.claim(a, LONG, false).await.expect("answers").expect("free again");
    let forced = store.claim(a, LONG, true).await.expect("answers").expect("forced");
    assert!(second.epoch < third.epoch && third.epoch < forced.epoch);
}

async fn holes_are_found_where_they_touch(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let hole = |from, to| Hole { from, to, reason: HoleReason::Expired };
    let records = [record(5), record(10), record(11), record(20)];
    write_all(&*store, &lease, 0, &records).await.expect("written");
    let abandoned = [Hole { from: 21, to: 99, reason: HoleReason::Abandoned }];
    let write = Write {
        old_through: 20,
        new_through: 99,
        records: &[],
        holes: &abandoned,
        bare: false,
        lease_for: LONG,
    };
    store.write(&lease, write).await.expect("holes alone");
    let all = [hole(1, 4), hole(6, 9), hole(12, 19), abandoned[0]];
    assert_eq!(store.holes(0, 1_000, 10).await.expect("holes"), all);
    assert_eq!(store.holes(4, 6, 10).await.expect("holes"), all[..2]);
    assert_eq!(store.holes(8, 8, 10).await.expect("holes"), all[1..2]);
    assert_eq!(store.holes(10, 11, 10).await.expect("holes"), []);
    assert_eq!(store.holes(7, 1_000, 2).await.expect("holes"), all[1..3]);
    assert_eq!(store.log_state().await.expect("a state").committed_through, 99);
}

async fn rows_are_read_back_complete(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let headers = vec![("X-Odd\0\u{1F600}".to_owned(), "\u{0}\u{7f}\"".to_owned()); 2];
    let mut foreign = record(2);
    foreign.body = Bytes::from_static(b"{\"a\":\"\\u0000\"}");
    foreign.subject = Subject::from_log("agent.task.t1.\u{e9}.x".to_owned());
    foreign.foreign = Some((Bytes::from_static(b"\0\xff raw"), headers.clone()));
    let mut empty = record(3);
    empty.foreign = Some((Bytes::new(), Vec::new()));
    let mut traced = record(4);
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    traced.trace = TraceContext::read([parent], ["a=\"b"]);
    let records = [record(1), foreign.clone(), empty, traced.clone()];
    write_all(&*store, &lease, 0, &records).await.expect("written");
    let rows = store.originals(1, 10).await.expect("rows");
    assert_eq!(rows.len(), 4);
    for (row, record) in rows.iter().zip(&records) {
        assert_eq!((row.stored.seq, row.id, row.stored.kind), (record.seq, record.id, record.kind));
        assert_eq!((&row.stored.body, &row.subject), (&record.body, &record.subject));
        assert_eq!((&row.foreign, row.logged_at), (&record.foreign, record.logged_at));
        assert_eq!(row.trace, record.trace);
    }
    let entry = rows[3].clone().into_log_entry();
    assert_eq!(
        (TraceContext::of_headers(&entry.headers), entry.headers.len()),
        (traced.trace.clone(), 4)
    );
    let traces = store.traces(&[1, 2, 3, 4, 9]).await.expect("traces");
    assert_eq!(traces.into_iter().collect::<Vec<_>>(), [(4, traced.trace.expect("a context"))]);
    assert_eq!(store.originals(2, 1).await.expect("rows"), rows[1..2]);
    assert_eq!(store.original(2).await.expect("answers").as_ref(), Some(&rows[1]));
    assert_eq!(store.original(9).await.expect("answers"), None);
    assert_eq!(store.log_state().await.expect("a state").first_seq, Some(1));
}

async fn a_bare_row_keeps_what_every_store_accepts(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let mut odd = record(1);
    odd.subject = Subject::from_log("agent.task.a\0b.c".to_owned());
    let write = Write {
        old_through: 0,
        new_through: 1,
        records: &[odd.clone()],
        holes: &[],
        bare: true,
        lease_for: LONG,
    };
    store.write(&lease, write).await.expect("written bare");
    let row = store.original(1).await.expect("answers").expect("is there");
    assert_eq!((row.stored.body, row.id), (odd.body, odd.id));
    assert_eq!(row.subject.as_str(), "agent.task.a\u{fffd}b.c");
    assert_eq!(store.counts(None, 100).await.expect("counts").by_kind["task"], 1);
    let mut query = everything(5);
    query.filter.parse_parameter("subject", "agent.task.*.c").expect("a filter").expect("valid");
    assert_eq!(seqs(&*store, &query).await, [1]);
    query.filter.parse_parameter("task", "t1").expect("a filter").expect("valid");
    assert_eq!(seqs(&*store, &query).await, [0; 0]);
}

async fn a_subject_may_be_longer_than_an_index_entry(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let mut letters = fastrand::Rng::with_seed(1);
    let long: String = (0..4_000).map(|_| letters.alphanumeric()).collect();
    let subjects = [
        format!("agent.task.{long}.{long}"),
        format!("agent.task.{}.note.more", &long[..100]),
        format!("agent.task.{}.note.more", &long[..101]),
    ];
    let named = |(n, subject): (usize, &String)| {
        let mut record = record(1 + n as u64);
        record.subject = Subject::from_log(subject.as_str());
        record
    };
    let records: Vec<Record> = subjects.iter().enumerate().map(named).collect();
    write_all(&*store, &lease, 0, &records).await.expect("written");
    for (pattern, found) in [
        ("agent.task.*.>".to_owned(), &[1, 2, 3][..]),
        (format!("agent.task.{}.>", &long[..100]), &[2]),
        (format!("agent.*.{}.*.more", &long[..101]), &[3]),
        (format!("agent.task.{}.>", &long[..64]), &[]),
    ] {
        let mut query = everything(5);
        query.filter.parse_parameter("subject", &pattern).expect("a filter").expect("valid");
        assert_eq!(seqs(&*store, &query).await, found, "{pattern}");
    }
}

async fn an_id_is_found_at_its_lowest_sequence(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let mut records = [record(1), record(2), record(3), record(4)];
    records[3].id = records[1].id;
    write_all(&*store, &lease, 0, &records).await.expect("written");
    let ids = [records[3].id, records[2].id, Uuid::from_u128(77)];
    let found = store.find(&ids).await.expect("answers");
    assert_eq!(found.len(), 2);
    assert_eq!((found[&ids[0]], found[&ids[1]]), (2, 3));
    assert!(store.find(&[]).await.expect("answers").is_empty());
    let message = store.message(2).await.expect("answers").expect("is there");
    assert_eq!((message.seq, message.kind), (2, records[1].kind));
    assert_eq!(message.body, records[1].body);
    assert_eq!(store.message(5).await.expect("answers"), None);
}

async fn a_refused_row_leaves_the_store_as_it_was(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    write_all(&*store, &lease, 0, &[record(1)]).await.expect("written");
    // Inserts a row at a later sequence that no write made, so that the next write conflicts with it.
    server
        .sql(match server {
            Server::Sqlite(_) => {
                "INSERT INTO messages (seq, id, kind, type, subject, sender_id, created_at, \
                 logged_at, body) VALUES (3, x'00', 'task', 't', 's', 's', 0, 0, x'7b7d')"
            }
            Server::Postgres(_) => {
                "INSERT INTO messages (seq, id, kind, type, subject, sender_id, created_at, \
                 logged_at, body) VALUES (3, gen_random_uuid(), 'task', 't', 's', 's', now(), \
                 now(), '{}')"
            }
        })
        .await;
    let refused = write_all(&*store, &lease, 1, &[record(2), record(3)]).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    let state = store.log_state().await.expect("a state");
    assert_eq!(state.committed_through, 1);
    assert_eq!(store.counts(None, 100).await.expect("counts").by_kind["task"], 1);
    assert_eq!(seqs(&*store, &everything(10)).await, [1], "nothing past the watermark");
    write_all(&*store, &lease, 1, &[record(2)]).await.expect("written");
}

async fn counts_add_up(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let mut records: Vec<Record> = (1..=60).map(record).collect();
    for record in &mut records {
        let n = record.seq;
        record.sender_id = token(if n % 3 == 0 { "bob" } else { "alice" });
        record.type_ = token(if n % 2 == 0 { "even" } else { "odd" });
        record.task_id = (n % 4 != 0).then(|| token(if n > 30 { "late" } else { "early" }));
        record.kind = Kind::ALL[(n % 3) as usize];
    }
    let (first, second) = records.split_at(25);
    write_all(&*store, &lease, 0, first).await.expect("written");
    write_all(&*store, &lease, 25, second).await.expect("written");
    let model = |wanted: &dyn Fn(&Record) -> bool| {
        let mut counts = crate::store::Counts::default();
        for record in records.iter().filter(|record| wanted(record)) {
            *counts.by_kind.entry(record.kind.as_str().into()).or_default() += 1;
            *counts.by_type.entry(record.type_.to_string()).or_default() += 1;
            *counts.by_sender.entry(record.sender_id.to_string()).or_default() += 1;
        }
        (counts.types, counts.senders) =
            (counts.by_type.len() as u64, counts.by_sender.len() as u64);
        counts
    };
    assert_eq!(store.counts(None, 100).await.expect("counts"), model(&|_| true));
    for task in ["early", "late", "none"] {
        let task = token(task);
        let wanted = |record: &Record| record.task_id.as_ref() == Some(&task);
        assert_eq!(store.counts(Some(&task), 100).await.expect("counts"), model(&wanted));
    }
    // The names with the most messages, and how many names there are in all.
    let names = |map: &std::collections::BTreeMap<String, u64>| -> Vec<(String, u64)> {
        map.iter().map(|(name, n)| (name.clone(), *n)).collect()
    };
    let one = store.counts(None, 1).await.expect("counts");
    assert_eq!(names(&one.by_type), [("even".to_owned(), 30)], "of equal ones the first by name");
    assert_eq!(names(&one.by_sender), [("alice".to_owned(), 40)]);
    assert_eq!((one.by_kind.len(), one.types, one.senders), (3, 2, 2));
    let early = store.counts(Some(&token("early")), 1).await.expect("counts");
    assert_eq!((early.by_sender.len(), early.types, early.senders), (1, 2, 2));
}

async fn sequences_may_jump_past_partitions(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let places = [1, 999_999, 1_000_000, 1_000_001, 2_000_000, (1 << 32) + 5, (1 << 53) - 1];
    let records: Vec<Record> = places.into_iter().map(record).collect();
    let through = write_all(&*store, &lease, 0, &records[..5]).await.expect("written");
    let through = write_all(&*store, &lease, through, &records[5..6]).await.expect("a jump");
    write_all(&*store, &lease, through, &records[6..]).await.expect("another");
    assert_eq!(seqs(&*store, &everything(10)).await, places);
    let mut query = everything(3);
    query.descending = true;
    query.filter.parse_parameter("sender", "alice").expect("a filter").expect("valid");
    assert_eq!(seqs(&*store, &query).await, [places[6], places[5], places[4]]);
}

async fn a_dropped_write_leaves_no_transaction_behind(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let records: Vec<Record> = (1..=300).map(record).collect();
    for patience in [0, 50, 200, 1_000, 3_000] {
        let through = store.log_state().await.expect("a state").committed_through;
        let from = through as usize;
        let batch = &records[from..from + 50];
        let write = write_all(&*store, &lease, through, batch);
        let _ = tokio::time::timeout(Duration::from_micros(patience), write).await;
    }
    // A dropped write may still take effect, but only as a whole.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let through = store.log_state().await.expect("a state").committed_through;
        assert_eq!(through % 50, 0);
        let from = through as usize;
        match write_all(&*store, &lease, through, &records[from..from + 50]).await {
            Ok(_) => break,
            Err(StoreError::Fenced) if tokio::time::Instant::now() < deadline => {}
            Err(error) => panic!("{error}"),
        }
    }
    let through = store.log_state().await.expect("a state").committed_through;
    let all: Vec<u64> = (1..=through).collect();
    assert_eq!(seqs(&*store, &everything(1_000)).await, all);
    assert_eq!(store.counts(None, 100).await.expect("counts").by_sender["alice"], through);
}

async fn one_server_alone_on_the_memory_bus(server: Server) {
    let (first, second) = (server.open().await, server.open().await);
    let member = first.join(BusKind::Memory).await.expect("answers").expect("alone");
    assert_eq!(member.state(), MembershipState::Good);
    let refusal = second.join(BusKind::Memory).await.expect("answers").err().expect("refused");
    assert!(refusal.contains("another agentbus"), "{refusal}");
    let waiting = second.join(BusKind::Memory);
    let leaving = async {
        // Long enough for the second server to be refused once and to wait.
        tokio::time::sleep(crate::limits::JOIN_RETRY * 2).await;
        drop(member);
    };
    let (joined, ()) = tokio::join!(waiting, leaving);
    let member = joined.expect("answers").expect("free once the first is gone");
    let nats = first.join(BusKind::Nats).await.expect("answers").err().expect("refused");
    match &server {
        Server::Sqlite(_) => assert!(nats.contains("PostgreSQL"), "{nats}"),
        Server::Postgres(_) => {
            assert!(nats.contains("MESSAGE_BUS=memory") && nats.contains("127.0.0.1"), "{nats}");
            drop(member);
            let one = first.join(BusKind::Nats).await.expect("answers").expect("free");
            let two = second.join(BusKind::Nats).await.expect("answers").expect("beside");
            let alone = first.join(BusKind::Memory).await.expect("answers").err();
            let alone = alone.expect("refused");
            assert!(alone.contains("MESSAGE_BUS=nats"), "{alone}");
            assert_eq!((one.state(), two.state()), (MembershipState::Good, MembershipState::Good));
        }
    }
}

async fn the_log_is_recorded(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let epoch = Some(Uuid::from_u128(9));
    store.set_log(&lease, BusKind::Nats, epoch).await.expect("recorded");
    let state = store.log_state().await.expect("a state");
    assert_eq!((state.bus, state.stream_epoch), (Some(BusKind::Nats), epoch));
    store.set_log(&lease, BusKind::Memory, None).await.expect("recorded");
    let state = server.open().await.log_state().await.expect("a state");
    assert_eq!((state.bus, state.stream_epoch), (Some(BusKind::Memory), None));
}
