//! A reader sees the tasks whose events its scope covers, and those in which it has a part.

use super::*;
use crate::store::state::TaskState;

on_both!(a_scope_shows_tasks_that_it_covers_and_own_parts);

/// Task `t1` is from alice to bob, `t2` from carl, `t3` about dora only in its last message.
async fn a_scope_shows_tasks_that_it_covers_and_own_parts(server: Server) {
    let store = server.open().await;
    let lease = lease(&*store).await;
    let of = |seq, task: &str, from: &str, to: &str| {
        let mut event = record(seq);
        event.sender_id = token(from);
        event.recipient_id = (!to.is_empty()).then(|| token(to));
        event.task_id = Some(token(task));
        event.subject = Subject::derive(Kind::Task, &token(task), &event.type_);
        event
    };
    let mut remark = of(6, "t3", "alice", "dora");
    remark.kind = Kind::Message;
    remark.subject = Subject::derive(Kind::Message, &token("worker"), &remark.type_);
    let log = [
        of(1, "t1", "alice", "bob"),
        of(2, "t2", "carl", ""),
        of(3, "t3", "alice", ""),
        of(4, "t1", "bob", ""),
        of(5, "t3", "carl", ""),
        remark,
    ];
    write_all(&*store, &lease, 0, &log).await.expect("written");
    let all: &[&str] = &["t1", "t2", "t3"];
    for (scope, expected) in [
        ("", &[][..]),
        ("as=alice", &["t1", "t3"]),
        ("as=bob", &["t1"]),
        ("as=carl", &["t2", "t3"]),
        ("as=dora", &["t3"]),
        ("as=nobody", &[]),
        ("as=bob&as=carl", all),
        ("read=agent.task.t2.>", &["t2"]),
        ("read=agent.*.t2.>&as=dora", &["t2", "t3"]),
        ("read=agent.task.t2.*", &[]),
        ("read=agent.task.*.progress", &[]),
        ("read=agent.message.>", &[]),
        ("read=agent.task.>", all),
        ("read=agent.task.*.>&as=nobody", all),
    ] {
        let scope = within("", scope).scope;
        let scope = scope.as_deref();
        for limit in [1, 2, 100] {
            let (mut names, mut after) = (Vec::new(), None);
            loop {
                let page = store.tasks(None, after.as_ref(), limit, scope).await.expect("tasks");
                assert_eq!(page.as_of, 6);
                names.extend(page.value.items.into_iter().map(|task| task.task_id));
                after = names.last().map(|name| token(name));
                if !page.value.more {
                    break;
                }
            }
            assert_eq!(names, expected, "{scope:?}");
        }
        let done = store.tasks(Some(TaskState::Done), None, 9, scope).await.expect("tasks");
        assert_eq!(done.value.items, []);
        for task in ["t1", "t2", "t3", "t4"] {
            let found = store.task(&token(task), scope).await.expect("answers");
            assert_eq!(found.value.is_some(), expected.contains(&task), "{task} for {scope:?}");
            assert_eq!(found.as_of, 6);
        }
    }
}
