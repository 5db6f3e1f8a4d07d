//! A filter passes the same messages live, in a replay and in history, as the same bytes: those that the
//! contract says.

use crate::support::records::{Record, assert_same, history, of_frames, pages};
use crate::support::streams::{LIMIT, publish, publish_one, replay};
use crate::support::wire::{self, committed};
use crate::support::{Deployment, Http, Mode, Sse, for_each_mode};
use serde_json::{Value, json};

const REPLIES: [&str; 2] =
    ["0190b1f0-0000-7000-8000-000000000001", "0190b1f0-0000-7000-8000-000000000002"];

const FILTERS: [&str; 39] = [
    "",
    "kind=task",
    "kind=task&kind=status",
    "type=t1",
    "type=t1&type=t2",
    "type=absent",
    "type=absent&type=t0",
    "sender=s0",
    "sender=s1&sender=s2",
    "recipient=r1",
    "recipient=r1&broadcast=true",
    "recipient=r1&broadcast=false",
    "recipient=r0&recipient=r1",
    "recipient=r0&recipient=r1&broadcast=true",
    "task=k1",
    "task=k0&task=k2",
    "conversation=c0",
    "conversation=c0&conversation=c1",
    "in_reply_to=0190b1f0-0000-7000-8000-000000000001",
    "in_reply_to=0190b1f0-0000-7000-8000-000000000001&in_reply_to=0190b1f0-0000-7000-8000-000000000002",
    "subject=agent.>",
    "subject=>",
    "subject=*.message.>",
    "subject=agent.task.*.t1",
    "subject=agent.message.planner.*",
    "subject=agent.message.agent.t0",
    "subject=agent.status.s0.t0",
    "subject=agent.status.s0.t0&subject=agent.status.s1.>",
    "subject=agent.*.*.t2&kind=status",
    "subject=agent.task.>&type=t2&sender=s1&sender=s2",
    "subject=agent.*",
    "subject=agent.message.*",
    "subject=other.>",
    "kind=message&type=t1&sender=s0",
    "kind=message&type=t1&type=t2&sender=s0&sender=s2&conversation=c0",
    "recipient=r0&broadcast=true&conversation=c1&kind=message",
    "recipient=r0&broadcast=true&in_reply_to=0190b1f0-0000-7000-8000-000000000002&sender=s1",
    "task=k1&kind=task&type=t0",
    "kind=status&task=k1&recipient=r1",
];

fn one_of<T: Clone>(of: &[T]) -> T {
    of[fastrand::usize(0..of.len())].clone()
}

/// A random message, with or without the members that the filters test.
fn random() -> Value {
    let kind = one_of(&["message", "status", "task"]);
    let mut message = json!({"kind": kind, "type": one_of(&["t0", "t1", "t2", "t3"])});
    message["sender_id"] = one_of(&["s0", "s1", "s2", "s3"]).into();
    let mut maybe = |name: &str, values: &[&str], always: bool| {
        if always || fastrand::bool() {
            message[name] = one_of(values).into();
        }
    };
    maybe("recipient_id", &["r0", "r1", "r2"], false);
    maybe("task_id", &["k0", "k1", "k2"], kind == "task");
    maybe("conversation_id", &["c0", "c1", "c2"], false);
    maybe("in_reply_to", &REPLIES, false);
    if kind == "message" {
        maybe("sender_role", &["agent", "planner"], false);
    }
    message
}

/// Whether a message passes the query's filters by section 5 of the contract.
fn passes(query: &str, message: &Value) -> bool {
    let pairs: Vec<(&str, &str)> =
        query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let broadcasts = pairs.contains(&("broadcast", "true"));
    pairs.iter().filter(|(name, _)| *name != "broadcast").all(|(name, _)| {
        let mut values = pairs.iter().filter(|(other, _)| other == name).map(|(_, value)| *value);
        let member = match *name {
            "sender" => "sender_id",
            "recipient" => "recipient_id",
            "task" => "task_id",
            "conversation" => "conversation_id",
            name => name,
        };
        match message[member].as_str() {
            None => *name == "recipient" && broadcasts,
            Some(found) if *name == "subject" => {
                values.any(|pattern| wire::wildcard(pattern, found))
            }
            Some(found) => values.any(|value| value == found),
        }
    })
}

struct Live {
    query: &'static str,
    stream: Sse,
    seen: Vec<Record>,
}

async fn follow(http: &Http, queries: &[&'static str]) -> Vec<Live> {
    let mut live = Vec::new();
    for query in queries {
        let mut stream = http.stream(query, None).await;
        stream.expect_ready().await;
        live.push(Live { query, stream, seen: Vec::new() });
    }
    live
}

/// Compares the live streams, new replays and pages of history, and returns what each filter passed.
async fn the_same_everywhere(http: &Http, live: &mut [Live], head: u64) -> Vec<Vec<Record>> {
    committed(http, head).await;
    let mut all = Vec::new();
    for Live { query, stream, seen } in live {
        let kept = history(http, query).await;
        assert_same(&format!("small pages of ?{query}"), &pages(http, query, 7).await, &kept);
        let mut again = http.stream(&format!("from=start&{query}"), None).await;
        assert!(again.expect_ready().await.replaying);
        assert_same(&format!("replay of ?{query}"), &replay(&mut again).await.0, &kept);
        let more = stream.collect_messages(kept.len() - seen.len(), LIMIT).await;
        seen.extend(of_frames(&more));
        assert_same(&format!("live of ?{query}"), seen, &kept);
        all.push(kept);
    }
    all
}

for_each_mode! {
    async fn a_filter_means_the_same_live_replayed_and_in_history(deployment: &Deployment) {
        let http = deployment.http();
        let mut live = follow(http, &FILTERS).await;
        // A wrong message in one round would come before the right ones of the next.
        for _ in 0..3 {
            let mut posted: Vec<Value> = (0..100).map(|_| random()).collect();
            let singles = posted.split_off(80);
            publish(http, &posted).await;
            let mut head = 0;
            for message in &singles {
                head = publish_one(http, message).await;
            }
            let kept = the_same_everywhere(http, &mut live, head).await;
            let everything = &kept[0];
            assert_eq!(everything.len() as u64, head);
            for (query, kept) in FILTERS.iter().zip(&kept) {
                let wanted = everything.iter().filter(|line| passes(query, &line.json()));
                let wanted: Vec<Record> = wanted.cloned().collect();
                assert_same(&format!("?{query} against the contract"), kept, &wanted);
            }
        }
    }

    async fn a_replay_that_begins_anywhere_is_filtered_as_history_is(deployment: &Deployment) {
        let http = deployment.http();
        let posted: Vec<Value> = (0..300).map(|_| random()).collect();
        publish(http, &posted).await;
        committed(http, 300).await;
        for query in FILTERS {
            let after = fastrand::u64(0..300);
            let mut stream = http.stream(query, Some(after)).await;
            assert_eq!(stream.expect_ready().await.id, after);
            let mut kept = history(http, query).await;
            kept.retain(|line| line.seq > after);
            let replayed = replay(&mut stream).await.0;
            assert_same(&format!("?{query} after {after}"), &replayed, &kept);
        }
    }
}

/// Filters use the subject on which a message of another client was published, whatever it looks like.
#[tokio::test]
async fn foreign_messages_are_filtered_by_their_subject_alike_everywhere() {
    const QUERIES: [&str; 13] = [
        "",
        "subject=agent.message.>",
        "subject=agent.message.*.*",
        "subject=agent.message.*.*.extra",
        "subject=agent.task.t.>",
        "subject=agent.task.*.a$b",
        "subject=agent.status.*",
        "kind=status",
        "type=unknown",
        "type=done",
        "sender=unknown",
        "sender=nobody&sender=s1",
        "task=t",
    ];
    let deployment = Deployment::start(Mode::Nats).await;
    let http = deployment.http();
    let jetstream = deployment.nats().expect("NATS").jetstream().await;
    let mut live = follow(http, &QUERIES).await;
    for _ in 0..2 {
        let mut head = publish_one(http, &random()).await;
        let whole = r#"{"kind":"task","type":"done","task_id":"t","sender_id":"s1","content":"x"}"#;
        for (subject, payload) in [
            ("agent.message.planner.done", "just text"),
            ("agent.message.planner.done.extra", "just text"),
            ("agent.message.planner.done.extra.more", ""),
            ("agent.task.t.done", whole),
            ("agent.task.t.done", r#"{"broken"#),
            ("agent.task.t.a$b", whole),
            ("agent.task.t", "no type"),
            ("agent.status.s1", "\0"),
            ("agent.status.s1.done", "[1]"),
        ] {
            let ack = jetstream.publish(subject, payload.into()).await.expect("publish");
            head = ack.await.expect("an ack").sequence;
        }
        let kept = the_same_everywhere(http, &mut live, head).await;
        assert_eq!(kept[0].len() as u64, head, "none is dropped");
        let count =
            |query| kept[QUERIES.iter().position(|of| *of == query).expect("a query")].len();
        let rounds = kept[0].len() / 10;
        assert_eq!(count("subject=agent.message.*.*.extra"), rounds);
        assert_eq!(count("subject=agent.task.*.a$b"), rounds);
        assert_eq!(count("subject=agent.status.*"), rounds);
    }
}
