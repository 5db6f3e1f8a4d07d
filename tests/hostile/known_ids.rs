//! Repeats of known ids cost no more memory than a few of their messages.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::measure::{begin_peak, peak};
use crate::support::{Http, eventually, for_each_mode};

const LIMIT: Duration = Duration::from_secs(120);
/// How many messages are in the log already.
const KNOWN: u128 = 100;
/// Size of each content in bytes: nearly the largest that a message may have.
const CONTENT: usize = 1_000_000;
/// How many batches with those ids are sent at once.
const AT_ONCE: usize = 4;
/// How many bytes the batches may cost together: far below the 400 MB of the messages that they repeat.
const MAY_COST: u64 = 100 << 20;

fn message(n: u128, content: &str) -> Value {
    json!({"kind": "message", "type": "note", "sender_id": "a", "id": Uuid::from_u128(n), "content": content})
}

/// Sends different messages under known ids, until all are refused. A busy server that has not read a stored
/// message in time responds with 503, and the request is repeated.
async fn all_are_refused(http: &Http, known: &[Value]) {
    eventually(LIMIT, "each is compared with the first of its id", async || {
        let answer = http.post_ndjson("/v1/messages/batch", known).await.expect(200).json();
        let results = answer["results"].as_array().expect("results");
        let conflicts = results.iter().filter(|result| result["status"] == 409).count();
        for result in results {
            let late = result["status"] == 503 && result["error"]["outcome"] == "unknown";
            assert!(result["status"] == 409 || late, "{result}");
        }
        (conflicts == known.len()).then_some(())
    })
    .await;
}

for_each_mode! {
    async fn a_batch_of_known_ids_does_not_load_their_messages(deployment: &Deployment) {
        let http = deployment.http();
        let large = "x".repeat(CONTENT);
        let ids: Vec<u128> = (1..=KNOWN).collect();
        for some in ids.chunks(7) {
            let batch: Vec<Value> = some.iter().map(|n| message(*n, &large)).collect();
            let answer = http.post_ndjson("/v1/messages/batch?ack=committed", &batch).await.expect(200);
            assert_eq!(answer.json()["accepted"], some.len());
        }
        // The memory that publishing has left allocated could hide what is loaded below.
        deployment.agentbus().restart().await;
        let pid = deployment.agentbus().pid();
        let before = begin_peak(pid);
        let known: Vec<Value> = ids.iter().map(|n| message(*n, "other")).collect();
        futures_util::future::join_all((0..AT_ONCE).map(|_| all_are_refused(http, &known))).await;
        let cost = peak(pid).saturating_sub(before);
        eprintln!("{AT_ONCE} batches of {KNOWN} known ids: {before} bytes before, {cost} more");
        assert!(cost <= MAY_COST, "{} MiB", cost >> 20);

        let same = http.post_ndjson("/v1/messages/batch", &[message(1, &large), message(101, "new")]).await;
        let results = same.expect(200).json()["results"].clone();
        assert_eq!((&results[0]["status"], &results[0]["duplicate"]), (&json!(200), &json!(true)));
        assert_eq!((&results[1]["status"], &results[1]["duplicate"]), (&json!(201), &json!(false)));
    }
}
