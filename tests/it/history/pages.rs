//! History: every filter is compared with a simple model; pages in both directions, times, and recorded
//! traffic of a squad.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::streams;
use crate::support::wire::{self, BATCH, MESSAGES, NDJSON, SOON};
use crate::support::{Http, eventually, for_each_mode, squad};
use chrono::{DateTime, SecondsFormat, Utc};
use fastrand::Rng;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

const AGENTS: [&str; 4] = ["ann", "bob", "cyd", "dan"];
const TYPES: [&str; 4] = ["note", "started", "completed", "online"];
const IDS: [&str; 2] =
    ["0f3a1b5c-7d2e-4f60-8a9b-c0d1e2f3a4b5", "11111111-2222-4333-8444-555555555555"];

/// Parameters of a query, in order.
type Query = Vec<(&'static str, String)>;

fn text(query: &Query) -> String {
    query.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// A random message in which each member that a filter can use has one of a few values.
fn drawn(rng: &mut Rng) -> Value {
    let content = rng.u16(..).to_string();
    let mut body =
        json!({"type": rng.choice(TYPES), "sender_id": rng.choice(AGENTS), "content": content});
    body["kind"] = json!(rng.choice(["message", "status", "task"]));
    let optional = [
        ("sender_role", ["planner", "coder"]),
        ("recipient_id", [AGENTS[0], AGENTS[1]]),
        ("conversation_id", ["c1", "c2"]),
        ("in_reply_to", IDS),
        ("task_id", ["t1", "t2"]),
    ];
    for (name, values) in optional {
        if rng.bool() || (name == "task_id" && body["kind"] == "task") {
            body[name] = json!(rng.choice(values));
        }
    }
    if rng.u8(..8) == 0 {
        body["expires_at"] = json!("2001-02-03T04:05:06Z");
    }
    body
}

/// A value for a filter: one that some messages have, or one that no message has.
fn value(rng: &mut Rng, name: &str) -> String {
    let pool: &[&str] = match name {
        "subject" => &[
            "agent.>",
            "agent.task.>",
            "agent.*.*.completed",
            "agent.message.coder.*",
            "agent.status.ann.online",
            "agent.task.t1.*",
            ">",
            "*.message.agent.note",
            "agent.*",
            "agent.task.t2.started",
            "other.>",
        ],
        "kind" => &["message", "status", "task"],
        "type" => &["note", "started", "completed", "online", "never"],
        "sender" | "recipient" => &["ann", "bob", "cyd", "dan", "eve"],
        "task" => &["t1", "t2", "t3"],
        "conversation" => &["c1", "c2", "c3"],
        _ => &[IDS[0], IDS[1], "22222222-2222-4333-8444-555555555555"],
    };
    (*rng.choice(pool).expect("a value")).to_owned()
}

/// The model: whether a message that was read back passes the filters of a query.
fn matches(query: &Query, body: &Value) -> bool {
    let broadcasts = query.iter().any(|(name, value)| *name == "broadcast" && value == "true");
    let mut alternatives: BTreeMap<&str, bool> = BTreeMap::new();
    for (name, value) in query {
        let member = match *name {
            "subject" | "kind" | "type" | "in_reply_to" => name.to_string(),
            "sender" | "recipient" | "task" | "conversation" => format!("{name}_id"),
            "between" => {
                let (a, b) = value.split_once(',').expect("two agents");
                let of =
                    |from: &str, to: &str| body["sender_id"] == from && body["recipient_id"] == to;
                *alternatives.entry(name).or_default() |= of(a, b) || of(b, a);
                continue;
            }
            _ => continue,
        };
        let holds = match *name {
            "subject" => wire::wildcard(value, body["subject"].as_str().expect("subject")),
            "recipient" if broadcasts && body["recipient_id"].is_null() => true,
            _ => body[member] == **value,
        };
        *alternatives.entry(name).or_default() |= holds;
    }
    alternatives.values().all(|holds| *holds)
}

fn json_of(bodies: &[String]) -> Vec<Value> {
    bodies.iter().map(|body| serde_json::from_str(body).expect("JSON")).collect()
}

/// The messages of `all` that the query should select, according to [`matches`]. Pages of the server are compared
/// with them.
fn model<'a>(query: &Query, all: &'a [String]) -> Vec<&'a String> {
    all.iter()
        .zip(json_of(all))
        .filter(|(_, body)| matches(query, body))
        .map(|(text, _)| text)
        .collect()
}

/// Posts generated messages, and returns all of history.
async fn generated(http: &Http, rng: &mut Rng, count: usize) -> Vec<String> {
    let messages: Vec<Value> = (0..count).map(|_| drawn(rng)).collect();
    let seqs = streams::publish(http, &messages).await;
    wire::committed(http, *seqs.last().expect("some")).await;
    let all = wire::pages(http, "").await;
    assert_eq!(wire::seqs_of(&all), seqs);
    all
}

const FILTERS: [&str; 8] =
    ["subject", "kind", "type", "sender", "recipient", "task", "conversation", "in_reply_to"];

for_each_mode! {
    async fn every_filter_alone_answers_as_the_plain_model(d: &Deployment) {
        let seed = fastrand::u64(..);
        let mut rng = Rng::with_seed(seed);
        let all = generated(d.http(), &mut rng, 400).await;
        for name in FILTERS {
            for alternatives in [1, 1, 1, 1, 1, 1, 2, 2, 3] {
                let query: Query = (0..alternatives).map(|_| (name, value(&mut rng, name))).collect();
                let found = wire::pages(d.http(), &text(&query)).await;
                assert_eq!(found.iter().collect::<Vec<_>>(), model(&query, &all), "{query:?}, seed {seed}");
            }
        }
        let between = ["ann,bob", "bob,ann", "cyd,ann", "cyd,dan", "eve,ann"].map(|value| vec![("between", value)]);
        let broadcast = ["true", "false"].map(|value| vec![("recipient", "ann"), ("broadcast", value)]);
        for query in between.into_iter().chain(broadcast) {
            let query: Query = query.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
            let found = wire::pages(d.http(), &text(&query)).await;
            assert_eq!(found.iter().collect::<Vec<_>>(), model(&query, &all), "{query:?}, seed {seed}");
        }
    }

    async fn filters_combined_answer_as_the_plain_model(d: &Deployment) {
        let seed = fastrand::u64(..);
        let mut rng = Rng::with_seed(seed);
        let all = generated(d.http(), &mut rng, 400).await;
        for _ in 0..150 {
            let mut query = Query::new();
            for name in FILTERS {
                if rng.u8(..3) == 0 {
                    query.extend((0..rng.usize(1..=3)).map(|_| (name, value(&mut rng, name))));
                }
            }
            if rng.u8(..8) == 0 {
                query.push(("between", "bob,ann".to_owned()));
            }
            if query.iter().any(|(name, _)| *name == "recipient") && rng.bool() {
                query.push(("broadcast", "true".to_owned()));
            }
            rng.shuffle(&mut query);
            let mut expected = model(&query, &all);
            let (first, last) = (wire::seq_of(&all[0]), wire::seq_of(&all[399]));
            if rng.bool() {
                let after = rng.u64(first.saturating_sub(2)..last + 2);
                query.push(("after", after.to_string()));
                expected.retain(|body| wire::seq_of(body) > after);
            }
            if rng.bool() {
                let before = rng.u64(first.saturating_sub(2)..last + 2);
                query.push(("before", before.to_string()));
                expected.retain(|body| wire::seq_of(body) < before);
            }
            if rng.bool() {
                query.push(("order", "desc".to_owned()));
                expected.reverse();
            }
            let limit = rng.usize(1..=60);
            query.push(("limit", limit.to_string()));
            expected.truncate(limit);
            let page = wire::page(d.http(), &text(&query)).await;
            assert_eq!(page.messages.iter().collect::<Vec<_>>(), expected, "{query:?}, seed {seed}");
        }
    }

    async fn the_same_shape_of_query_is_answered_for_any_values(d: &Deployment) {
        let all = generated(d.http(), &mut Rng::new(), 100).await;
        for (a, b) in AGENTS.into_iter().flat_map(|a| AGENTS.map(|b| (a, b))) {
            let query = |parts: &[(&'static str, &str)]| {
                parts.iter().map(|(name, value)| (*name, (*value).to_owned())).collect::<Query>()
            };
            for query in [
                query(&[("sender", a), ("recipient", b)]),
                query(&[("sender", a), ("recipient", b), ("recipient", "ann"), ("type", "note")]),
                query(&[("between", "ann,bob"), ("sender", a)]),
                query(&[("between", &format!("{a},{b}")), ("recipient", b)]),
            ] {
                let found = wire::pages(d.http(), &text(&query)).await;
                assert_eq!(found.iter().collect::<Vec<_>>(), model(&query, &all), "{query:?}");
            }
        }
    }

    async fn pages_of_any_size_visit_everything_once_in_either_direction(d: &Deployment) {
        let mut rng = Rng::new();
        let all = generated(d.http(), &mut rng, 230).await;
        let reversed: Vec<String> = all.iter().rev().cloned().collect();
        for limit in [1, 7, 99, 230, 231, 1_000] {
            assert_eq!(wire::pages(d.http(), &format!("limit={limit}")).await, all);
            assert_eq!(wire::pages(d.http(), &format!("limit={limit}&order=asc")).await, all);
            assert_eq!(wire::pages(d.http(), &format!("limit={limit}&order=desc")).await, reversed);
        }
        let query = vec![("type", "note".to_owned())];
        let notes: Vec<String> = model(&query, &all).into_iter().cloned().collect();
        assert_eq!(wire::pages(d.http(), "type=note&limit=3").await, notes);
        let reversed: Vec<String> = notes.into_iter().rev().collect();
        assert_eq!(wire::pages(d.http(), "type=note&limit=3&order=desc").await, reversed);

        let page = wire::page(d.http(), "").await;
        assert_eq!((page.messages.len(), page.next), (100, Some(wire::seq_of(&all[99]))), "100 by default");
        assert_eq!(page.committed_through, wire::seq_of(&all[229]));
        let page = wire::page(d.http(), "order=desc&limit=10").await;
        assert_eq!(page.next, Some(wire::seq_of(&all[220])));
        for (query, at_the_end) in [("limit=1000", 230), ("sender=eve", 0), ("limit=1000&order=desc", 230),
            ("after=9007199254740991", 0), ("after=5&before=6", 0), ("after=6&before=5", 0)] {
            let page = wire::page(d.http(), query).await;
            assert_eq!((page.messages.len(), page.next), (at_the_end, None), "{query}");
        }
    }

    async fn paging_forward_misses_nothing_while_more_is_added(d: &Deployment) {
        let writing = AtomicBool::new(true);
        let writers = join_all((0..3).map(async |writer| {
            let mut seqs = Vec::new();
            for _ in 0..15 {
                let messages: Vec<Value> = (0..20).map(|_| json!({"kind": "status", "type": "busy",
                    "sender_id": AGENTS[writer], "content": "x".repeat(fastrand::usize(..300))})).collect();
                seqs.extend(streams::publish(d.http(), &messages).await);
            }
            seqs
        }));
        let write = async {
            let seqs: BTreeSet<u64> = writers.await.into_iter().flatten().collect();
            wire::committed(d.http(), *seqs.last().expect("some")).await;
            writing.store(false, Ordering::Relaxed);
            seqs
        };
        // Follows history until the writers have ended and the end is reached.
        let follow = async |filter: &str| {
            let (mut seen, mut after, mut through) = (Vec::new(), 0, 0);
            loop {
                let was_writing = writing.load(Ordering::Relaxed);
                let limit = fastrand::usize(1..=40);
                let page = wire::page(d.http(), &format!("{filter}after={after}&limit={limit}")).await;
                let seqs = wire::seqs_of(&page.messages);
                assert!(page.committed_through >= through, "it never falls");
                assert!(seqs.iter().all(|seq| *seq > after && *seq <= page.committed_through), "{seqs:?}");
                through = page.committed_through;
                after = page.next.or(seqs.last().copied()).unwrap_or(after);
                seen.extend(seqs);
                if !was_writing && page.next.is_none() {
                    return seen;
                }
            }
        };
        let (written, followed, of_ann) = tokio::join!(write, follow(""), follow("sender=ann&"));
        assert_eq!(written.len(), 900);
        assert_eq!(followed, written.into_iter().collect::<Vec<_>>());
        assert_eq!(of_ann, wire::seqs_of(&wire::pages(d.http(), "sender=ann&limit=1000").await));
        assert_eq!(of_ann.len(), 300);
    }

    async fn times_bound_the_messages(d: &Deployment) {
        let post = async |content: &str| {
            let body = json!({"kind": "message", "type": "note", "sender_id": "a", "content": content});
            let ack = d.http().post_json(&format!("{MESSAGES}?ack=committed"), &body).await.expect(201).json();
            ack["created_at"].as_str().expect("created_at").parse::<DateTime<Utc>>().expect("a time")
        };
        // A time between the creation of this message and of the next, by any clock of this machine.
        let between = async |created: DateTime<Utc>| {
            let later = created + chrono::Duration::milliseconds(50);
            eventually(SOON, "time passes", async || (Utc::now() > later).then(Utc::now)).await
        };
        let a = between(post("1").await).await;
        let b = between(post("2").await).await;
        let c = between(post("3").await).await;
        let contents = async |query: String| {
            let found = json_of(&wire::pages(d.http(), &query).await);
            found.iter().map(|body| body["content"].as_str().expect("content")).collect::<String>()
        };
        let z = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Micros, true);
        let offset = |time: DateTime<Utc>| {
            let zone = chrono::FixedOffset::east_opt(-12_600).expect("a zone");
            time.with_timezone(&zone).to_rfc3339_opts(SecondsFormat::Nanos, false).replace('+', "%2B")
        };
        assert_eq!(contents(format!("since={}", z(a))).await, "23");
        assert_eq!(contents(format!("since={}", offset(b))).await, "3");
        assert_eq!(contents(format!("until={}", z(b))).await, "12");
        assert_eq!(contents(format!("until={}", offset(a))).await, "1");
        assert_eq!(contents(format!("since={}&until={}", z(a), offset(b))).await, "2");
        assert_eq!(contents(format!("since={}&order=desc&limit=1", z(a))).await, "32");
        assert_eq!(contents(format!("since={}", z(c))).await, "");
        assert_eq!(contents(format!("since={}&until={}", z(b), z(a))).await, "");
        assert_eq!(contents("since=2020-01-01T00:00:00Z&until=2999-12-31T23:59:60Z".to_owned()).await, "123");
        assert_eq!(contents(format!("until={}&sender=b", z(c))).await, "");
    }

    async fn all_bad_parameters_are_refused_by_name(d: &Deployment) {
        let alone = [
            "foo=1", "Limit=1", "limit=1001", "limit=x", "limit=-1", "limit=1e2", "after=-1", "after=1.5", "after=",
            "before=x", "before=99999999999999999999", "order=up", "since=yesterday", "since=2026-01-01",
            "until=1700000000", "kind=bogus", "type=a.b", "type=a%20b", "sender=", "sender=a.b", "recipient=*",
            "task=%C3%A9", "conversation=a%00b", "in_reply_to=zz", "in_reply_to=0f3a1b5c7d2e4f608a9bc0d1e2f3a4b5",
            "between=a", "between=a,b,c", "between=a,", "between=a%20b,c", "subject=", "subject=agent..x",
            "subject=agent.>.x", "subject=.agent", "subject=agent.%20.x", "broadcast=maybe"
        ];
        for query in alone {
            let answer = d.http().get(&format!("{MESSAGES}?{query}")).await;
            assert_eq!(answer.status, 422, "?{query}: {}", answer.text());
            let (name, _) = query.split_once('=').expect("a name");
            assert_eq!(wire::named(&wire::problem(&answer, 422), "parameter"), wire::names([name]), "?{query}");
        }
        let all = "foo=1&bar=2&limit=x&order=up&since=yesterday&until=x&kind=bogus&kind=task&after=-1&before=x\
            &subject=agent..x&in_reply_to=zz&between=a&sender=a%20b&recipient=.&task=.&conversation=.&type=.\
            &broadcast=maybe";
        let problem = wire::problem(&d.http().get(&format!("{MESSAGES}?{all}")).await, 422);
        let expected = ["foo", "bar", "limit", "order", "since", "until", "kind", "after", "before", "subject",
            "in_reply_to", "between", "sender", "recipient", "task", "conversation", "type", "broadcast"];
        assert_eq!(wire::named(&problem, "parameter"), wire::names(expected));
    }

    async fn a_message_that_is_not_there_is_404(d: &Deployment) {
        for id in [IDS[0], "nothing", "1", "%20"] {
            wire::problem(&d.http().get(&format!("{MESSAGES}/{id}")).await, 404);
        }
        let page = wire::page(d.http(), "").await;
        assert_eq!((page.messages.len(), page.next), (0, None));
    }

    async fn a_real_squads_traffic_comes_back_byte_for_byte(d: &Deployment) {
        #[derive(Deserialize)]
        struct Posted<'a> {
            #[serde(borrow)]
            metadata: Option<&'a RawValue>,
        }
        let (Some(text), Some(posted)) = (squad::text(), squad::messages()) else { return };
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let mut seqs = Vec::new();
        for lines in lines.chunks(1_000) {
            let answer = d.http().post(BATCH, NDJSON, lines.join("\n")).await.expect(200).json();
            assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(lines.len()), &json!(0)));
            let results = answer["results"].as_array().expect("results");
            seqs.extend(results.iter().map(|result| result["seq"].as_u64().expect("seq")));
        }
        wire::committed(d.http(), *seqs.last().expect("some")).await;
        let history = wire::pages(d.http(), "limit=333").await;
        assert_eq!(wire::seqs_of(&history), seqs);
        for ((line, posted), (bytes, read)) in lines.iter().zip(&posted).zip(history.iter().zip(json_of(&history))) {
            for (name, value) in posted.as_object().expect("an object") {
                assert_eq!(&read[name], value, "{name} of {line}");
            }
            let raw: Posted<'_> = serde_json::from_str(line).expect("JSON");
            let metadata = raw.metadata.map_or("{}".to_owned(), |raw| wire::compact(raw.get()));
            assert!(bytes.contains(&format!("\"metadata\":{metadata},\"created_at\":")), "{bytes}");
            assert_eq!(bytes, &wire::compact(bytes), "one line, no white space between tokens");
        }
        let mut stream = d.http().stream("from=start", None).await;
        let streamed = stream.collect_messages(history.len(), SOON).await;
        let streamed = streamed.iter().map(|frame| frame.data.as_deref());
        assert!(streamed.eq(history.iter().map(|body| Some(body.as_bytes()))), "the same bytes as in history");
        for body in history.iter().step_by(97) {
            let id = serde_json::from_str::<Value>(body).expect("JSON")["id"].as_str().expect("id").to_owned();
            assert_eq!(&d.http().get(&format!("{MESSAGES}/{id}")).await.expect(200).text(), body);
        }
        let filters = [("sender", "sender_id"), ("type", "type"), ("task", "task_id"), ("recipient", "recipient_id")];
        for (name, member) in filters {
            let Some(value) = posted.iter().rev().find_map(|body| body[member].as_str()) else { continue };
            let query: Query = vec![(name, value.to_owned())];
            let found = wire::pages(d.http(), &self::text(&query)).await;
            assert_eq!(found.iter().collect::<Vec<_>>(), model(&query, &history), "{query:?}");
        }
    }
}
