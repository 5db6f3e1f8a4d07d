//! Recorded traffic of a real squad of agents: every way of reading it returns the same bytes, and the counts
//! are correct.

use std::collections::BTreeMap;

use crate::support::records::{Record, assert_same, history, of_frames, pages};
use crate::support::streams::{LIMIT, publish, replay};
use crate::support::wire::committed;
use crate::support::{eventually, for_each_mode, squad};
use serde_json::{Value, json};

/// The members that the client has set, as they were posted.
fn posted(line: &Record) -> Value {
    let mut message = line.json();
    let members = message.as_object_mut().expect("an object");
    for server in ["seq", "id", "subject", "created_at"] {
        assert!(members.remove(server).is_some(), "{server} is missing: {members:?}");
    }
    message
}

/// A posted message with the members that the server fills in for the client.
fn completed(mut message: Value) -> Value {
    let members = message.as_object_mut().expect("an object");
    members.entry("metadata").or_insert_with(|| json!({}));
    if members["kind"] == "message" {
        members.entry("sender_role").or_insert_with(|| "agent".into());
    }
    message
}

fn counts<'a>(messages: impl Iterator<Item = &'a Value>) -> Value {
    let mut counts: BTreeMap<&str, BTreeMap<String, u64>> =
        ["by_kind", "by_type", "by_sender"].map(|by| (by, BTreeMap::new())).into();
    for message in messages {
        for (by, member) in [("by_kind", "kind"), ("by_type", "type"), ("by_sender", "sender_id")] {
            let value = message[member].as_str().expect("text").to_owned();
            *counts.entry(by).or_default().entry(value).or_default() += 1;
        }
    }
    json!(counts)
}

/// Counts without those that are 0: a kind without messages may be absent or 0.
fn without_zeros(mut counts: Value) -> Value {
    for by in counts.as_object_mut().expect("an object").values_mut() {
        by.as_object_mut().expect("an object").retain(|_, count| *count != 0);
    }
    counts
}

fn most_frequent(messages: &[Value], member: &str) -> String {
    let mut counts = BTreeMap::new();
    for value in messages.iter().filter_map(|message| message[member].as_str()) {
        *counts.entry(value).or_insert(0) += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.expect("a value").0.to_owned()
}

for_each_mode! {
    async fn real_traffic_is_the_same_bytes_on_every_path(deployment: &Deployment) {
        let Some(messages) = squad::messages() else { return };
        let http = deployment.http();
        let filters = [
            format!("task={}", most_frequent(&messages, "task_id")),
            format!("sender={}&kind=message&kind=task", most_frequent(&messages, "sender_id")),
            format!("type={}", most_frequent(&messages, "type")),
        ];
        let mut live = Vec::new();
        for filter in &filters {
            let mut stream = http.stream(filter, None).await;
            stream.expect_ready().await;
            live.push(stream);
        }
        let (first, rest) = messages.split_at(messages.len() / 3);
        let mut seqs = publish(http, first).await;
        seqs.extend(publish(http, rest).await);
        let last = *seqs.last().expect("a message");
        assert!(seqs.iter().copied().eq(1..=messages.len() as u64), "not in input order");
        committed(http, last).await;

        let everything = history(http, "").await;
        assert_eq!(everything.len(), messages.len());
        for (line, message) in everything.iter().zip(&messages) {
            assert_eq!(posted(line), completed(message.clone()), "at {}", line.seq);
        }
        let mut whole = http.stream("from=start", None).await;
        assert_same("replay of all", &replay(&mut whole).await.0, &everything);
        assert_same("small pages of all", &pages(http, "", 13).await, &everything);
        for (filter, stream) in filters.iter().zip(&mut live) {
            let kept = history(http, filter).await;
            assert!(!kept.is_empty() && kept.len() < everything.len(), "{filter}");
            assert_same(filter, &pages(http, filter, 10).await, &kept);
            let seen = of_frames(&stream.collect_messages(kept.len(), LIMIT).await);
            assert_same(&format!("{filter}, live"), &seen, &kept);
            let mut again = http.stream(&format!("from=start&{filter}"), None).await;
            assert_same(&format!("{filter}, replayed"), &replay(&mut again).await.0, &kept);
        }
    }

    async fn real_traffic_in_one_batch_is_counted_by_kind_type_and_sender(deployment: &Deployment) {
        let (Some(messages), Some(text)) = (squad::messages(), squad::text()) else { return };
        let http = deployment.http();
        let answer = http.post("/v1/messages/batch", "application/x-ndjson", text).await;
        let answer = answer.expect(200).json();
        assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(messages.len()), &json!(0)));
        committed(http, messages.len() as u64).await;

        let counted = async |query: &str, wanted: Value| {
            let what = format!("/v1/stats{query} counts {wanted}");
            eventually(LIMIT, &what, async || {
                let stats = http.get(&format!("/v1/stats{query}")).await.expect(200).json();
                (without_zeros(stats["counts"].clone()) == wanted).then_some(())
            })
            .await;
        };
        counted("", counts(messages.iter())).await;
        let task = most_frequent(&messages, "task_id");
        let of_task = messages.iter().filter(|message| message["task_id"] == *task);
        counted(&format!("?task={task}"), counts(of_task)).await;
        counted("?task=absent", counts([].iter())).await;
    }
}
