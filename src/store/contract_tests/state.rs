//! Agents, tasks and inboxes depend on the log alone, however it was split into writes.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;

use super::*;
use crate::limits::TASK_AGENTS;
use crate::store::state::{Agent, Inbox, Task, TaskState};

on_both!(
    the_state_follows_from_the_log,
    lists_come_in_pages,
    a_run_of_equal_statuses_has_one_beginning,
    an_offline_status_by_the_server_does_not_update_last_seen,
    the_first_end_of_a_task_counts,
    an_inbox_counts_without_reading_it,
    consuming_is_monotonic_over_processes,
    lapsed_statuses_are_found_by_time,
    nothing_is_folded_of_a_bare_row,
    a_fenced_write_folds_nothing,
);

fn at(second: i64) -> DateTime<Utc> {
    time("2026-01-01T00:00:00Z") + TimeDelta::seconds(second)
}

/// A status of alice, created at the second `seq`.
fn status(seq: u64, type_: &str, metadata: &str) -> Record {
    let mut record = record(seq);
    record.kind = Kind::Status;
    record.task_id = None;
    record.type_ = token(type_);
    record.created_at = at(seq as i64);
    record.body = Bytes::from(format!("{{\"metadata\":{metadata}}}"));
    record.subject = Subject::derive(Kind::Status, &record.sender_id, &record.type_);
    record
}

/// A message to bob that expires at the second `expires_at`, if that is set.
fn to_bob(seq: u64, expires_at: Option<i64>) -> Record {
    let mut record = status(seq, "note", "{}");
    record.kind = Kind::Message;
    record.subject = Subject::derive(Kind::Message, &token("worker"), &record.type_);
    record.recipient_id = Some(token("bob"));
    record.expires_at = expires_at.map(at);
    record
}

fn event(seq: u64, type_: &str) -> Record {
    let mut record = record(seq);
    record.type_ = token(type_);
    record
}

/// A seeded random log with few different names.
fn random_log(dice: &mut fastrand::Rng, last: u64) -> Vec<Record> {
    let mut name = |names: &[&str]| token(names[dice.usize(..names.len())]);
    let mut records = Vec::new();
    for seq in 1..=last {
        let mut record = status(seq, "x", "{}");
        record.sender_id = name(&["a", "b", "c", "D", "e-1"]);
        record.type_ = name(&["online", "online", "busy", "completed", "failed"]);
        record.kind = match name(&["m", "s", "s", "t"]).as_str() {
            "m" => Kind::Message,
            "s" => Kind::Status,
            _ => Kind::Task,
        };
        let sometimes = |value: Token| Some(value).filter(|value| value.as_str() != "none");
        record.sender_role = sometimes(name(&["coder", "tester", "none"]));
        record.task_id = sometimes(name(&["t1", "t2", "T3", "none", "none"]));
        record.recipient_id = sometimes(name(&["a", "b", "offline-1", "none"]));
        record.expires_at = (name(&["y", "n", "n"]).as_str() == "y").then(|| at(seq as i64 + 7));
        record.body = Bytes::from_static(match name(&["ttl", "none", "bad"]).as_str() {
            "ttl" => br#"{"a":"\u0000","metadata":{"ttl_s":5}}"#,
            "bad" => br#"{"metadata":{"ttl_s":"5"}}"#,
            _ => b"{}",
        });
        // The migration reads statuses by PostgreSQL's JSON, which refuses `\u0000`.
        if record.kind == Kind::Status && record.body.starts_with(b"{\"a\"") {
            record.body = Bytes::from_static(br#"{"metadata":{"ttl_s":5}}"#);
        }
        records.push(record);
    }
    records
}

/// Reference model: the agents and tasks that the contract derives from a log, in the simplest code.
fn model(log: &[Record], now: DateTime<Utc>) -> (Vec<Agent>, Vec<Task>) {
    let mut agents: BTreeMap<&str, Agent> = BTreeMap::new();
    let mut tasks: BTreeMap<&str, (Task, BTreeSet<&str>)> = BTreeMap::new();
    for record in log {
        if record.kind != Kind::Task {
            let id = record.sender_id.as_str();
            let agent = agents.entry(id).or_insert_with(|| Agent {
                agent_id: id.to_owned(),
                role: None,
                status: None,
                since: None,
                last_seen: None,
                expires_at: None,
                inbox: Inbox::default(),
            });
            agent.last_seen = Some(record.created_at);
            if let Some(role) = &record.sender_role {
                agent.role = Some(role.to_string());
            }
            if record.kind == Kind::Status {
                if agent.status.as_deref() != Some(record.type_.as_str()) {
                    agent.since = Some(record.created_at);
                }
                agent.status = Some(record.type_.to_string());
                let has_ttl = record.body.ends_with(b"{\"ttl_s\":5}}");
                agent.expires_at = has_ttl.then(|| record.created_at + TimeDelta::seconds(5));
            }
        }
        let Some(task) = record.task_id.as_ref().map(Token::as_str) else { continue };
        let (task, senders) = tasks.entry(task).or_insert_with(|| {
            let task = Task {
                task_id: task.to_owned(),
                outcome: None,
                last_event: None,
                agents: Vec::new(),
                agent_count: 0,
                messages: 0,
                late_events: 0,
                first_seq: record.seq,
                last_seq: 0,
            };
            (task, BTreeSet::new())
        });
        senders.insert(record.sender_id.as_str());
        task.messages += 1;
        task.last_seq = record.seq;
        if record.kind == Kind::Task {
            task.last_event = Some(record.type_.to_string());
            let ends = ["completed", "failed", "cancelled"].contains(&record.type_.as_str());
            match &task.outcome {
                Some(_) => task.late_events += 1,
                None if ends => task.outcome = Some(record.type_.to_string()),
                None => {}
            }
        }
    }
    for (id, agent) in &mut agents {
        agent.inbox.waiting = log
            .iter()
            .filter(|record| record.recipient_id.as_ref().map(Token::as_str) == Some(*id))
            .filter(|record| record.expires_at.is_none_or(|end| end > now))
            .count() as u64;
    }
    let tasks = tasks.into_values().map(|(mut task, senders)| {
        task.agent_count = senders.len() as u64;
        task.agents = senders.into_iter().take(TASK_AGENTS).map(str::to_owned).collect();
        task
    });
    (agents.into_values().collect(), tasks.collect())
}

async fn assert_state(store: &dyn Store, log: &[Record], now: DateTime<Utc>) {
    let (agents, tasks) = model(log, now);
    let as_of = log.last().map_or(0, |record| record.seq);
    let told = store.agents(None, 100, now).await.expect("agents");
    assert_eq!((told.value.items, told.value.more, told.as_of), (agents.clone(), false, as_of));
    let told = store.tasks(None, None, 100, None).await.expect("tasks");
    assert_eq!((told.value.items, told.value.more, told.as_of), (tasks.clone(), false, as_of));
    for agent in agents {
        let told = store.agent(&token(&agent.agent_id), now).await.expect("an agent");
        assert_eq!((told.value, told.as_of), (Some(agent), as_of));
    }
    for task in tasks {
        let told = store.task(&token(&task.task_id), None).await.expect("a task");
        assert_eq!((told.value, told.as_of), (Some(task), as_of));
    }
}

/// The state must be the same after writes of several sizes, and after the migration has computed it from the
/// rows.
async fn the_state_follows_from_the_log(server: Server) {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let store = server.open().await;
    let lease = lease(&*store).await;
    assert_state(&*store, &[], at(0)).await;
    let log = random_log(&mut dice, 300);
    let mut through = 0;
    while through < log.len() {
        let end = (through + dice.usize(1..25)).min(log.len());
        write_all(&*store, &lease, through as u64, &log[through..end]).await.expect("written");
        through = end;
        if dice.u8(..4) == 0 {
            assert_state(&*store, &log[..end], at(dice.i64(0..310))).await;
        }
    }
    assert_state(&*store, &log, at(200)).await;
    store.close().await;
    let undo = "DROP TABLE agents; DROP TABLE tasks; DROP TABLE inboxes; \
                DROP TABLE inbox_cursors; DROP INDEX messages_expiring; \
                DELETE FROM _sqlx_migrations WHERE version = 2";
    server.sql(undo).await;
    let store = server.open().await;
    assert_state(&*store, &log, at(200)).await;
    let late = write_all(&*store, &lease, 300, &[record(301)]).await;
    match server {
        Server::Postgres(_) => assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}"),
        Server::Sqlite(_) => assert_eq!(late.expect("written"), 301),
    }
}

async fn lists_come_in_pages(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let mut log = Vec::new();
    for n in 0..25_u64 {
        let mut agent = status(2 * n + 1, "online", "{}");
        agent.sender_id = token(&format!("agent-{n:02}"));
        let mut task = event(2 * n + 2, if n % 5 == 0 { "failed" } else { "begun" });
        task.task_id = Some(token(&format!("task-{n:02}")));
        log.extend([agent, task]);
    }
    write_all(&*store, &lease, 0, &log).await.expect("written");
    let (mut after, mut names, mut pages) = (None, Vec::new(), 0);
    loop {
        let page = store.agents(after.as_ref(), 10, at(0)).await.expect("agents").value;
        names.extend(page.items.iter().map(|agent| agent.agent_id.clone()));
        pages += 1;
        after = names.last().map(|name| token(name));
        if !page.more {
            break;
        }
        assert_eq!(page.items.len(), 10);
    }
    assert_eq!((names.len(), pages, names.is_sorted()), (25, 3, true));
    let of = async |state, after: Option<&str>, limit| {
        let after = after.map(token);
        let page = store.tasks(state, after.as_ref(), limit, None).await.expect("tasks").value;
        let ids: Vec<_> = page.items.into_iter().map(|task| task.task_id).collect();
        (ids, page.more)
    };
    let (done, more) = of(Some(TaskState::Done), None, 3).await;
    assert_eq!((done, more), (["task-00", "task-05", "task-10"].map(String::from).into(), true));
    let (done, more) = of(Some(TaskState::Done), Some("task-10"), 3).await;
    assert_eq!((done, more), (["task-15", "task-20"].map(String::from).into(), false));
    assert_eq!(of(Some(TaskState::Open), None, 100).await.0.len(), 20);
    assert_eq!(of(None, Some("task-23"), 100).await.0, ["task-24"]);
}

async fn a_run_of_equal_statuses_has_one_beginning(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let alice = token("alice");
    let mut through = 0;
    // The types of the statuses of each write, and the second since which the last status holds after that
    // write.
    let writes: [(&[&str], u64); 6] = [
        (&["online", "online"], 1),
        (&["online"], 1),
        (&["busy", "online"], 5),
        (&["online", "online"], 5),
        (&["busy"], 8),
        (&["online", "busy", "busy"], 10),
    ];
    for (types, since) in writes {
        let log: Vec<_> =
            (through + 1..).zip(types).map(|(seq, type_)| status(seq, type_, "{}")).collect();
        through = write_all(&*store, &lease, through, &log).await.expect("written");
        let told = store.agent(&alice, at(0)).await.expect("an agent").value.expect("is there");
        assert_eq!(told.since, Some(at(since as i64)), "after {types:?}");
        assert_eq!(told.last_seen, Some(at(through as i64)));
    }
}

async fn an_offline_status_by_the_server_does_not_update_last_seen(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let alice = token("alice");
    let lapse = r#"{"reason":"ttl","expired_seq":1}"#;
    let log = [status(1, "online", r#"{"ttl_s":2}"#), status(2, "offline", lapse)];
    write_all(&*store, &lease, 0, &log).await.expect("written");
    let told = store.agent(&alice, at(0)).await.expect("an agent").value.expect("is there");
    assert_eq!((told.status.as_deref(), told.since), (Some("offline"), Some(at(2))));
    assert_eq!((told.last_seen, told.expires_at), (Some(at(1)), None));
    // An `offline` status by the agent itself updates it.
    write_all(&*store, &lease, 2, &[status(3, "offline", "{}")]).await.expect("written");
    let told = store.agent(&alice, at(0)).await.expect("an agent").value.expect("is there");
    assert_eq!((told.since, told.last_seen), (Some(at(2)), Some(at(3))));
}

async fn the_first_end_of_a_task_counts(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let task = async || {
        let task = store.task(&token("t1"), None).await.expect("answers").value.expect("a task");
        (task.outcome, task.last_event, task.late_events, task.messages)
    };
    let some = |text: &str| Some(text.to_owned());
    write_all(&*store, &lease, 0, &[event(1, "begun")]).await.expect("written");
    assert_eq!(task().await, (None, some("begun"), 0, 1));
    let log = [event(2, "failed"), event(3, "completed"), event(4, "progress")];
    write_all(&*store, &lease, 1, &log).await.expect("written");
    assert_eq!(task().await, (some("failed"), some("progress"), 2, 4));
    // A later message about the task is not an event of the task.
    let mut remark = to_bob(6, None);
    remark.task_id = Some(token("t1"));
    remark.type_ = token("completed");
    write_all(&*store, &lease, 4, &[event(5, "cancelled"), remark]).await.expect("written");
    assert_eq!(task().await, (some("failed"), some("cancelled"), 3, 6));
}

async fn an_inbox_counts_without_reading_it(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let bob = token("bob");
    let inbox = async |now| {
        let told = store.inbox(&bob, at(now)).await.expect("an inbox");
        (told.value.consumed_through, told.value.waiting)
    };
    assert_eq!(inbox(0).await, (0, 0));
    let log = [to_bob(1, None), to_bob(2, Some(50)), status(3, "x", "{}"), to_bob(4, None)];
    write_all(&*store, &lease, 0, &log).await.expect("written");
    assert_eq!((inbox(49).await, inbox(50).await), ((0, 3), (0, 2)));
    assert!(store.consume(&bob, 1).await.expect("consumed"));
    assert_eq!((inbox(49).await, inbox(50).await), ((1, 2), (1, 1)));
    assert!(store.consume(&bob, 3).await.expect("consumed"), "a sequence that is not its own");
    assert_eq!((inbox(49).await, inbox(50).await), ((3, 1), (3, 1)));
    write_all(&*store, &lease, 4, &[to_bob(5, Some(9)), to_bob(6, None)]).await.expect("written");
    assert_eq!((inbox(0).await, inbox(9).await), ((3, 3), (3, 2)));
    assert!(store.consume(&bob, 6).await.expect("consumed"));
    assert_eq!(inbox(0).await, (6, 0));
    // Every name has an inbox. A name that never sent anything is not an agent.
    assert_eq!(store.agent(&bob, at(0)).await.expect("answers").value, None);
}

async fn consuming_is_monotonic_over_processes(server: Server) {
    let (first, second) = (server.open().await, server.open().await);
    let lease = lease(&*first).await;
    let log: Vec<_> = (1..=40).map(|seq| to_bob(seq, None)).collect();
    write_all(&*first, &lease, 0, &log).await.expect("written");
    let bob = token("bob");
    assert!(!first.consume(&bob, 41).await.expect("answers"), "above the watermark");
    assert_eq!(
        first.inbox(&bob, at(0)).await.expect("an inbox").value,
        Inbox { consumed_through: 0, waiting: 40 }
    );
    assert!(first.consume(&bob, 0).await.expect("answers"), "nothing");
    let acks = (1..=40_u64).rev().chain(1..=40).map(|through| {
        let store = if through % 2 == 0 { &first } else { &second };
        let bob = &bob;
        async move { store.consume(bob, through).await }
    });
    for done in futures_util::future::join_all(acks).await {
        assert!(done.expect("consumed"));
    }
    assert!(second.consume(&bob, 7).await.expect("a lower one changes nothing"));
    let inbox = first.inbox(&bob, at(0)).await.expect("an inbox").value;
    assert_eq!(inbox, Inbox { consumed_through: 40, waiting: 0 });
}

async fn lapsed_statuses_are_found_by_time(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let lapsed = async |now, limit| {
        let told = store.lapsed(at(now), None, limit).await.expect("answers").value;
        let seqs: Vec<u64> = told.statuses.iter().map(|status| status.seq).collect();
        (seqs, told.next)
    };
    assert_eq!(lapsed(1_000, 10).await, (vec![], None));
    let mut log = vec![
        status(1, "online", r#"{"ttl_s":30}"#),
        status(2, "online", r#"{"ttl_s":10}"#),
        status(3, "online", "{}"),
        status(4, "online", r#"{"ttl_s":20}"#),
    ];
    for (record, name) in log.iter_mut().zip(["a", "b", "c", "d"]) {
        record.sender_id = token(name);
    }
    write_all(&*store, &lease, 0, &log).await.expect("written");
    assert_eq!(lapsed(11, 10).await, (vec![], Some(at(12))));
    assert_eq!(lapsed(12, 10).await, (vec![2], Some(at(24))));
    assert_eq!(lapsed(31, 2).await, (vec![2, 4], None));
    // Reads page by page. Each page begins after the last status of the page before.
    let (mut last, mut paged) = (None, Vec::new());
    while let Some(next) = {
        let told = store.lapsed(at(31), last.as_ref(), 1).await.expect("answers").value;
        told.statuses.into_iter().next()
    } {
        paged.push((next.agent.to_string(), next.seq));
        last = Some(next);
    }
    let expected = [("b", 2), ("d", 4), ("a", 1)];
    assert_eq!(paged, expected.map(|(agent, seq)| (agent.to_owned(), seq)));
    let mut again = status(5, "online", r#"{"ttl_s":10}"#);
    again.sender_id = token("b");
    write_all(&*store, &lease, 4, &[again]).await.expect("written");
    assert_eq!(lapsed(14, 10).await, (vec![], Some(at(15))));
}

async fn nothing_is_folded_of_a_bare_row(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let mut message = to_bob(1, None);
    message.task_id = Some(token("t1"));
    let write = Write {
        old_through: 0,
        new_through: 1,
        records: &[message],
        holes: &[],
        bare: true,
        lease_for: LONG,
    };
    store.write(&lease, write).await.expect("written bare");
    let (agents, task) = (store.agents(None, 9, at(0)).await, store.task(&token("t1"), None).await);
    let (agents, task) = (agents.expect("agents"), task.expect("answers"));
    assert_eq!((agents.value.items, agents.as_of), (vec![], 1));
    assert_eq!((task.value, task.as_of), (None, 1));
    assert_eq!(store.inbox(&token("bob"), at(0)).await.expect("an inbox").value, Inbox::default());
}

async fn a_fenced_write_folds_nothing(server: Server) {
    let store = server.open().await;
    let frozen = lease(&*store).await;
    let log = [to_bob(1, None), event(2, "completed")];
    write_all(&*store, &frozen, 0, &log).await.expect("written");
    lease(&*store).await;
    let late = write_all(&*store, &frozen, 2, &[to_bob(3, None), event(4, "begun")]).await;
    assert!(matches!(late, Err(StoreError::Fenced)));
    assert_state(&*store, &log, at(0)).await;
    assert_eq!(store.inbox(&token("bob"), at(0)).await.expect("an inbox").value.waiting, 1);
}
