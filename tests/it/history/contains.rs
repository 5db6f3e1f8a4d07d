//! `contains`: the pages of a search together have exactly the messages whose content contains the text.

use fastrand::Rng;
use serde_json::{Value, json};

use crate::support::keys::Secured;
use crate::support::nats::publish_raw;
use crate::support::wire::{self, MESSAGES};
use crate::support::{Mode, eventually, for_each_mode, streams};

/// The headers of a message of another NATS client: none.
const HEADERS: &[u8] = b"NATS/1.0\r\n\r\n";

/// A message with a few random words; one in a hundred has `needle`.
fn drawn(rng: &mut Rng) -> Value {
    let words = ["hay", "Needle", "need", "le", "caf\u{e9}", "\"", "\\n", "\n", "%", "+&="];
    let mut content: Vec<&str> =
        (0..rng.usize(..5)).map(|_| words[rng.usize(..words.len())]).collect();
    if rng.u8(..100) == 0 {
        content.insert(rng.usize(..=content.len()), "needle");
    }
    let sender = ["ann", "bob"][rng.usize(..2)];
    json!({"kind": "message", "type": "needle", "sender_id": sender, "content": content.concat(),
           "metadata": {"note": "needle"}})
}

/// The bodies of `all` whose content contains a text, and which a sender sent, if one is given.
fn model(all: &[String], text: &str, sender: Option<&str>) -> Vec<String> {
    let wanted = |body: &&String| {
        let body: Value = serde_json::from_str(body).expect("JSON");
        body["content"].as_str().expect("a text").contains(text)
            && sender.is_none_or(|sender| body["sender_id"] == sender)
    };
    all.iter().filter(wanted).cloned().collect()
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

for_each_mode! {
    async fn a_search_has_what_the_plain_model_has(d: &Deployment) {
        let seed = fastrand::u64(..);
        let mut rng = Rng::with_seed(seed);
        let messages: Vec<Value> = (0..2_000).map(|_| drawn(&mut rng)).collect();
        let seqs = streams::publish(d.http(), &messages).await;
        wire::committed(d.http(), seqs[1_999]).await;
        let all = wire::pages(d.http(), "limit=1000").await;
        assert_eq!(all.len(), 2_000);
        for text in ["needle", "\\n", "\n", "caf\u{e9}\"", "%+&=", "Needleneedle", "nothing"] {
            let query = format!("contains={}", encoded(text));
            for (filter, sender) in [("", None), ("&sender=bob", Some("bob"))] {
                for (limit, order) in [(1_000, "asc"), (1_000, "desc"), (7, "asc"), (40, "desc")] {
                    let mut expected = model(&all, text, sender);
                    if expected.len() / limit > 50 {
                        continue;
                    }
                    if order == "desc" {
                        expected.reverse();
                    }
                    let query = format!("{query}{filter}&limit={limit}&order={order}");
                    assert_eq!(wire::pages(d.http(), &query).await, expected, "?{query}, seed {seed}");
                }
            }
        }
        let page = wire::page(d.http(), "contains=nothing").await;
        assert_eq!((page.next, page.committed_through), (None, seqs[1_999]));
    }

    async fn only_history_searches_and_only_for_a_text(d: &Deployment) {
        let long = "\u{e9}".repeat(1_024);
        streams::publish_one(d.http(), &json!({"kind": "message", "type": "note", "sender_id": "ann", "content": long}))
            .await;
        let query = format!("contains={}", encoded(&long));
        eventually(wire::SOON, "the message is found", async || {
            (wire::page(d.http(), &query).await.messages.len() == 1).then_some(())
        })
        .await;
        for query in [format!("contains={}x", encoded(&long)), "contains=".to_owned(), "contains=a&contains=b".to_owned()] {
            let answer = d.http().get(&format!("{MESSAGES}?{query}")).await;
            assert_eq!(wire::named(&wire::problem(&answer, 422), "parameter"), wire::names(["contains"]));
        }
        let answer = d.http().get("/v1/stream?contains=a").await;
        assert_eq!(wire::named(&wire::problem(&answer, 422), "parameter"), wire::names(["contains"]));
    }
}

#[tokio::test]
async fn bytes_never_match_and_foreign_text_does() {
    let d = crate::support::Deployment::start(Mode::Nats).await;
    let url = d.nats().expect("a server").url();
    publish_raw(&url, "agent.task.t1.done", HEADERS, b"plain AAAA").await;
    publish_raw(&url, "agent.task.t1.done", HEADERS, &[0; 30]).await;
    let sent =
        json!({"kind": "message", "type": "note", "sender_id": "ann", "content": "AAAA too"});
    let last = streams::publish_one(d.http(), &sent).await;
    wire::committed(d.http(), last).await;
    let all = wire::pages(d.http(), "").await;
    assert!(all.len() == 3 && all[1].contains(r#""content":"AAAA"#), "{all:?}");
    assert_eq!(wire::pages(d.http(), "contains=AAAA").await, [all[0].clone(), all[2].clone()]);
}

/// Searches in more messages than one page looks at.
async fn a_page_says_how_far_it_looked(mode: Mode) {
    let secured = Secured::start(mode).await;
    let note = |n: usize| {
        let (to, content) = if n % 4_000 == 3_999 { ("bob", "a needle") } else { ("cy", "hay") };
        json!({"kind": "message", "type": "note", "sender_id": "ann", "recipient_id": to, "content": content})
    };
    let messages: Vec<Value> = (0..12_500).map(note).collect();
    let seqs = streams::publish(&secured.root, &messages).await;
    let (first, last) = (seqs[0], seqs[12_499]);
    assert_eq!(last - first, 12_499);
    wire::committed(&secured.root, last).await;
    let bob = secured.key(json!({"as": ["bob"]})).await;
    // With `sender`, the index of senders answers, and the grant is tested on each row.
    let found = [seqs[3_999], seqs[7_999], seqs[11_999]];
    for http in [&secured.root, &bob.http] {
        let page = wire::page(http, "sender=ann&contains=nothing").await;
        assert_eq!((page.messages.len(), page.next), (0, Some(first + 9_999)));
        let page = wire::page(http, "sender=ann&contains=nothing&order=desc").await;
        assert_eq!((page.messages.len(), page.next), (0, Some(last - 9_999)));
        let page = wire::page(http, "sender=ann&contains=needle").await;
        assert_eq!(
            (wire::seqs_of(&page.messages), page.next),
            (found[..2].to_vec(), Some(first + 9_999))
        );
        let page = wire::page(http, "sender=ann&contains=needle&limit=1").await;
        assert_eq!((wire::seqs_of(&page.messages), page.next), (vec![found[0]], Some(found[0])));
        let mut all = found.to_vec();
        assert_eq!(wire::seqs_of(&wire::pages(http, "sender=ann&contains=needle").await), all);
        all.reverse();
        assert_eq!(
            wire::seqs_of(&wire::pages(http, "sender=ann&contains=needle&order=desc").await),
            all
        );
        assert!(wire::pages(http, "sender=ann&contains=nothing").await.is_empty());
    }
    assert!(
        wire::pages(&bob.http, "sender=ann&contains=hay").await.is_empty(),
        "hidden by the grant"
    );
}

#[tokio::test]
async fn a_page_says_how_far_it_looked_in_sqlite() {
    a_page_says_how_far_it_looked(Mode::MemorySqlite).await;
}

#[tokio::test]
async fn a_page_says_how_far_it_looked_in_postgresql() {
    a_page_says_how_far_it_looked(Mode::MemoryPostgres).await;
}
