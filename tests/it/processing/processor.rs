//! Background processing in every mode: attempts, dead letters, pauses, resets, restarts.

use crate::support::exec;
use crate::support::exec::{
    LIMIT, consumer, consumer_is, dead_letters, post, post_many, processed, ran, ran_at, ran_seqs,
};
use crate::support::{eventually, for_each_mode};
use serde_json::json;

for_each_mode! {
    |builder| builder.env("PROCESSOR_EXEC", crate::support::exec::COMMAND).env("DRAIN_S", "1");

    async fn failures_are_retried_and_become_dead_letters(deployment: &Deployment) {
        let http = deployment.http();
        for content in ["good", "second time", "busy", "bad"] {
            post(http, content).await;
        }
        let now = processed(http, 4).await;
        let mut attempts = ran(&ran_at(deployment.agentbus()));
        attempts.sort_unstable();
        assert_eq!(attempts, [(1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3), (4, 1)]);
        assert_eq!(now["state"], "running");
        assert_eq!(now["max_deliver"], 3);
        let letters = dead_letters(http).await;
        assert_eq!(letters.len(), 2, "{letters:?}");
        let busy = letters.iter().find(|letter| letter["seq"] == 3).expect("the busy one");
        assert_eq!(busy["source"], "agent-processor");
        assert_eq!(busy["attempts"].as_array().map(Vec::len), Some(3), "{busy}");
        assert_eq!(busy["attempts"][2]["error"], "exit code 75: asked for another attempt");
        let bad = letters.iter().find(|letter| letter["seq"] == 4).expect("the bad one");
        assert_eq!(bad["attempts"].as_array().map(Vec::len), Some(1), "{bad}");
        assert_eq!(bad["attempts"][0]["error"], "exit code 3");
        let now = consumer_is(http, "totals are reported", |now| now["failed"] == 5).await;
        assert_eq!((&now["processed"], &now["dead_letters"]), (&json!(2), &json!(2)), "{now}");

        for metric in ["processed_total{consumer=\"agent-processor\"} 2", "dead_letters{consumer=\"agent-processor\"} 2"] {
            eventually(LIMIT, "metrics show it", async || {
                let metrics = http.get("/metrics").await.expect(200).text();
                metrics.contains(&format!("agentbus_consumer_{metric}")).then_some(())
            })
            .await;
        }

        // The message goes only to this consumer, with its attempts reset.
        let path = format!("/v1/dead-letters/{}/redrive", busy["id"].as_str().expect("an id"));
        http.request(reqwest::Method::POST, &path, &[], "").await.expect("an answer").expect(200);
        eventually(LIMIT, "it is tried again", async || {
            let again = ran(&ran_at(deployment.agentbus())).iter().filter(|ran| **ran == (3, 1)).count();
            (again == 2).then_some(())
        })
        .await;
    }

    async fn totals_and_position_survive_restarts(deployment: &Deployment) {
        let (http, agentbus) = (deployment.http(), deployment.agentbus());
        post_many(http, "good", 50).await;
        processed(http, 50).await;
        agentbus.restart().await;
        let last = post_many(http, "good", 10).await;
        processed(http, last).await;
        agentbus.restart().await;
        let stats = http.get("/v1/stats").await.expect(200).json();
        assert_eq!(stats["pool"]["processed_count"], 60, "{stats}");
        assert_eq!(stats["pool"]["error_count"], 0);
        assert!(stats["pool"]["total_duration"].as_f64() > Some(0.0));
        let queue = json!({"total_enqueued": 60, "total_dequeued": 60, "current_size": 0});
        assert_eq!(stats["queue"], queue);
        let attempts = ran(&ran_at(agentbus));
        assert_eq!(attempts.len(), 60, "each once: {attempts:?}");
    }

    async fn restarts_make_no_dead_letters(deployment: &Deployment) {
        let (http, agentbus) = (deployment.http(), deployment.agentbus());
        let path = ran_at(agentbus);
        post(http, "slow").await;
        for restart in 1..=4 {
            eventually(exec::REDELIVERY, "it runs", async || {
                (ran(&path).len() == restart).then_some(())
            })
            .await;
            agentbus.restart().await;
        }
        assert!(ran(&path).iter().all(|ran| *ran == (1, 1)), "{:?}", ran(&path));
        assert!(dead_letters(http).await.is_empty());
        let now = consumer(http).await;
        assert_eq!(now["lag"]["messages"], 1, "{now}");
    }

    async fn a_paused_consumer_delivers_nothing(deployment: &Deployment) {
        let (http, path) = (deployment.http(), ran_at(deployment.agentbus()));
        post(http, "good").await;
        processed(http, 1).await;
        let control = async |what: &str, body: &serde_json::Value| {
            http.post_json(&format!("/v1/consumers/agent-processor/{what}"), body).await
        };
        let now = control("pause", &json!({})).await.expect(200).json();
        assert_eq!((&now["state"], now["reason"].is_string()), (&json!("paused"), true));
        deployment.agentbus().restart().await;
        post_many(http, "good", 20).await;
        let now = consumer_is(http, "they wait", |now| now["lag"]["messages"] == 20).await;
        assert_eq!((&now["state"], &now["processed_through"]), (&json!("paused"), &json!(1)));
        assert!(now["lag"]["seconds"].as_f64() >= Some(0.0));
        consumer_is(http, "none of them is in flight", |now| {
            (&now["in_flight"], &now["pending"]) == (&json!(0), &json!(20))
        })
        .await;
        assert_eq!(ran_seqs(&path), [1]);
        control("resume", &json!({})).await.expect(200);
        processed(http, 21).await;
        assert_eq!(ran_seqs(&path), (1..=21).collect::<Vec<_>>());

        control("reset", &json!({"from": 20})).await.expect(200);
        eventually(LIMIT, "two run again", async || (ran(&path).len() == 23).then_some(())).await;
        processed(http, 21).await;
        control("reset", &json!({"from": 1})).await.expect(200);
        eventually(LIMIT, "all run again", async || (ran(&path).len() == 44).then_some(())).await;
        processed(http, 21).await;
        assert_eq!(ran(&path).len(), 44);

        for (what, body, status) in [
            ("reset", json!({"from": 23}), 422),
            ("reset", json!({"from": -1}), 422),
            ("reset", json!({}), 422),
            ("reset", json!({"from": 1, "to": 2}), 422),
            ("pause", json!([]), 422),
            ("resume", json!({"x": 1}), 422),
        ] {
            control(what, &body).await.expect(status);
        }
        for what in ["pause", "resume", "reset"] {
            http.post_json(&format!("/v1/consumers/nobody/{what}"), &json!({"from": 1}))
                .await
                .expect(if what == "reset" { 404 } else { 422 });
        }
        http.post_json("/v1/consumers/nobody/pause", &json!({})).await.expect(404);
        http.get("/v1/consumers/agent-processor/pause").await.expect(405);
    }

    async fn a_killed_server_loses_nothing(deployment: &Deployment) {
        let (http, agentbus) = (deployment.http(), deployment.agentbus());
        post(http, "slow").await;
        let path = ran_at(agentbus);
        eventually(LIMIT, "it runs", async || (!ran(&path).is_empty()).then_some(())).await;
        let last = post_many(http, "good", 40).await;
        agentbus.kill9();
        agentbus.restart().await;
        eventually(exec::REDELIVERY, "all ran, and the killed attempt again", async || {
            let slow = ran(&path).iter().filter(|(seq, _)| *seq == 1).count();
            (ran_seqs(&path) == (1..=last).collect::<Vec<_>>() && slow == 2).then_some(())
        })
        .await;
        assert!(ran(&path).contains(&(1, 2)), "the attempt that was cut off counts");
        assert!(dead_letters(http).await.is_empty());
    }
}
