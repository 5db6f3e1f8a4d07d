//! Several servers: what one erased the others forget, and what one began another one ends.

use std::time::{Duration, Instant};

use agentbus::store::{AuditRow, Erasure};
use serde_json::json;

use super::{SECRET, erase, publish, secret, store};
use crate::support::streams::{LIMIT, message, replay};
use crate::support::{Deployment, Mode, eventually, for_each_mode, metrics};

/// Within this time every server forgets what another one erased; the machine may be busy.
const FORGETS: Duration = Duration::from_secs(1);

#[tokio::test]
async fn every_server_drops_it_within_a_second() {
    let deployment = Deployment::start(Mode::Nats).await;
    let second = deployment.second_server().await;
    let (http, other) = (deployment.http(), second.http());
    let (seq, id) = publish(http, &secret("ann")).await;
    publish(http, &message(1)).await;
    let from = format!("from={seq}");
    let shown = async || {
        let (replayed, _) = replay(&mut other.stream(&from, None).await).await;
        assert_eq!(replayed.len(), 2);
        replayed[0].text().to_owned()
    };
    assert!(shown().await.contains(SECRET), "the ring of the other server has it");
    erase(http, &id).await.expect(200);
    let erased = Instant::now();
    let own = replay(&mut http.stream(&from, None).await).await.0;
    assert!(!own[0].text().contains(SECRET), "the erasing server is through");
    eventually(LIMIT, "the other server forgets it", async || {
        let begun = erased.elapsed();
        let is_gone = !shown().await.contains(SECRET);
        assert!(is_gone || begun < FORGETS, "after {begun:?}");
        is_gone.then_some(())
    })
    .await;
}

for_each_mode! {
    async fn what_a_server_began_any_server_ends(deployment: &Deployment) {
        let http = deployment.http();
        let (seq, id) = publish(http, &secret("ann")).await;
        let entry = AuditRow {
            seq: 0,
            at: agentbus::message::truncate_to_micros(chrono::Utc::now()),
            actor_id: None,
            actor_name: "a server that was killed".to_owned(),
            action: "message.erase".to_owned(),
            target: id.clone(),
            detail: "{}".to_owned(),
            outcome: "done".to_owned(),
        };
        let body = http.get(&format!("/v1/messages/{id}")).await.expect(200).text();
        let body = body.replacen(&format!("\"seq\":{seq},"), "", 1);
        let erasure = Erasure {
            seq,
            id: id.parse().expect("an id"),
            body: agentbus::message::erase(body.as_bytes()),
            reason: "asked to".to_owned(),
            at: entry.at,
            is_done: false,
        };
        let store = store(deployment).await;
        store.begin_erasure(&erasure, &entry).await.expect("recorded");
        eventually(LIMIT, "the erasure is finished", async || {
            let text = http.get(&format!("/v1/messages/{id}")).await.expect(200).text();
            (!text.contains(SECRET)).then_some(())
        })
        .await;
        eventually(LIMIT, "none is pending", async || {
            (metrics::value(http, "agentbus_erasures_pending").await == 0.0).then_some(())
        })
        .await;
        let (replayed, _) = replay(&mut http.stream("from=start", None).await).await;
        assert_eq!(replayed.len(), 1);
        assert_eq!(replayed[0].json()["metadata"], json!({"erased": true}));
        let found = store.erasure(seq).await.expect("the store answers");
        assert_eq!(found, Some(Erasure { is_done: true, ..erasure }));
        store.close().await;
    }
}
