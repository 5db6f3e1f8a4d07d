//! The number of webhooks stays within its limit, however many are created at once; and a deleted webhook
//! leaves the metrics.

use std::time::Duration;

use agentbus::limits::MAX_WEBHOOKS;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Http, Mode, eventually, for_each_mode};

const LIMIT: Duration = Duration::from_secs(60);
const WEBHOOKS: &str = "/v1/webhooks";

/// A webhook whose filter matches no message.
fn silent() -> Value {
    json!({"url": "http://127.0.0.1:9/", "filter": "agent.task.nobody.*"})
}

async fn count(http: &Http, path: &str, member: &str) -> usize {
    http.get(path).await.expect(200).json()[member].as_array().expect("a list").len()
}

/// How many series of a consumer the metrics have.
async fn series(http: &Http, consumer: &str) -> usize {
    let metrics = http.get("/metrics").await.expect(200).text();
    let label = format!("{{consumer=\"{consumer}\"}}");
    metrics.lines().filter(|line| line.contains(&label)).count()
}

/// How many series have `consumer` as their only label, for each consumer.
const SERIES: usize = 10;

for_each_mode! {
    |builder| builder.env("WEBHOOK_ALLOW_PRIVATE", "true");

    async fn concurrent_requests_create_no_more_than_the_limit(deployment: &Deployment) {
        let http = deployment.http();
        let mut posts = JoinSet::new();
        for _ in 0..3 * MAX_WEBHOOKS {
            let http = http.clone();
            posts.spawn(async move { http.post_json(WEBHOOKS, &silent()).await.status });
        }
        let (mut made, mut refused) = (0, 0);
        while let Some(status) = posts.join_next().await {
            match status.expect("no panic") {
                201 => made += 1,
                409 => refused += 1,
                other => panic!("answered {other}"),
            }
        }
        assert_eq!((made, refused), (MAX_WEBHOOKS, 2 * MAX_WEBHOOKS));
        assert_eq!(count(http, WEBHOOKS, "webhooks").await, MAX_WEBHOOKS);
        // The refused requests left nothing behind.
        assert_eq!(count(http, "/v1/consumers", "consumers").await, MAX_WEBHOOKS + 1);
    }

    async fn a_deleted_webhook_leaves_the_metrics(deployment: &Deployment) {
        let http = deployment.http();
        let other = match deployment.mode() {
            Mode::Nats => Some(deployment.second_server().await),
            Mode::MemorySqlite | Mode::MemoryPostgres => None,
        };
        let servers: Vec<Http> =
            [http.clone()].into_iter().chain(other.as_ref().map(|other| other.http())).collect();
        let made = http.post_json(WEBHOOKS, &silent()).await.expect(201).json();
        let id = made["id"].as_str().expect("an id").to_owned();
        let consumer = format!("webhook-{id}");
        for server in &servers {
            eventually(LIMIT, "its metrics are reported", async || {
                (series(server, &consumer).await == SERIES).then_some(())
            })
            .await;
        }
        http.delete(&format!("{WEBHOOKS}/{id}")).await.expect(204);
        for server in &servers {
            eventually(LIMIT, "its metrics are removed", async || {
                (series(server, &consumer).await == 0).then_some(())
            })
            .await;
        }
    }
}
