//! Consumers, dead letters and jobs go on where the backup has them.

use serde_json::json;

use super::{Drill, done};
use crate::support::exec;
use crate::support::wire::SOON;
use crate::support::{Deployment, Mode, eventually, for_each_mode, jobs};

for_each_mode! {
    |builder| builder.env("PROCESSOR_EXEC", crate::support::exec::COMMAND).env("DRAIN_S", "1");

    async fn a_consumer_goes_on_after_what_it_has_handled(deployment: &Deployment) {
        let (drill, http) = (Drill::of(deployment).await, deployment.http());
        exec::post(http, "bad").await;
        let handled = exec::post_many(http, "good", 10).await;
        exec::processed(http, handled).await;
        eventually(SOON, "the dead letter is there", async || {
            (exec::dead_letters(http).await.len() == 1).then_some(())
        })
        .await;
        let name = exec::consumer(http).await["name"].as_str().expect("a name").to_owned();
        http.post_json(&format!("/v1/consumers/{name}/pause"), &json!({})).await.expect(200);
        let waiting = exec::post_many(http, "good", 5).await;
        crate::support::wire::committed(http, waiting).await;
        assert_eq!(drill.back_up("b").await, waiting);
        deployment.agentbus().kill9();

        let mut env = drill.empty("restored").await;
        env.insert("RAN".to_owned(), drill.at("ran"));
        done(&["restore", &drill.at("b")], &env).await;
        let server = drill.serve(&env).await;
        let restored = server.http();
        let letters = exec::dead_letters(&restored).await;
        assert_eq!(letters.len(), 1, "{letters:?}");
        restored.post_json(&format!("/v1/consumers/{name}/resume"), &json!({})).await.expect(200);
        let new = exec::post(&restored, "good").await;
        exec::processed(&restored, new).await;
        let expected: Vec<u64> = (handled + 1..=waiting).chain([new]).collect();
        let mut seqs: Vec<u64> =
            exec::ran(&drill.folder.join("ran")).into_iter().map(|(seq, _)| seq).collect();
        seqs.sort_unstable();
        if deployment.mode() == Mode::Nats {
            // With the stream went what its consumer knew: from the position in the backup on, all is handled again.
            seqs.retain(|seq| *seq > handled);
            seqs.dedup();
        }
        assert_eq!(seqs, expected, "nothing is missing or handled again");
        server.terminate().await;
    }
}

#[tokio::test]
async fn jobs_in_the_store_and_their_leases_go_on() {
    for mode in [Mode::MemorySqlite, Mode::MemoryPostgres] {
        let deployment = Deployment::start(mode).await;
        let (drill, http) = (Drill::of(&deployment).await, deployment.http());
        jobs::configure(http, "builds", 300, 3).await;
        for number in 0..3 {
            jobs::enqueue(http, "builds", &jobs::job(number)).await;
        }
        let leased = jobs::one(http, "builds").await;
        drill.back_up("b").await;
        deployment.agentbus().kill9();

        let env = drill.empty("restored").await;
        done(&["restore", &drill.at("b")], &env).await;
        let server = drill.serve(&env).await;
        let restored = server.http();
        jobs::counts(&restored, "builds", 2, 1, 0).await;
        jobs::end_bare(&restored, &leased, "ack").await.expect(200);
        assert_eq!(jobs::work(&restored, "builds", 2, 2).await.len(), 2);
        jobs::counts(&restored, "builds", 0, 0, 0).await;
        server.terminate().await;
    }
}
