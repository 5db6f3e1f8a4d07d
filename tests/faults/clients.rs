//! The Python, TypeScript and Rust clients through kills of the server and of NATS: each consumer sees each message once and in
//! order, each job is done, and what is done twice is explained.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::load::PATIENCE;
use crate::support::program::{Client, Program};
use crate::support::wire::{SOON, committed};
use crate::support::{Deployment, Http, Mode, eventually, times};

const CONSUMERS: [Client; 4] =
    [Client::Python, Client::PythonAsync, Client::TypeScript, Client::Rust];
const PRODUCERS: [Client; 3] = [Client::Python, Client::TypeScript, Client::Rust];
/// The Rust client does not say which of its jobs has ended; `it::client::work` tests its workers.
const WORKERS: [Client; 3] = [Client::Python, Client::PythonAsync, Client::TypeScript];

const TASK: &str = "clients-1";
const QUEUE: &str = "clients";
/// How many jobs a worker has at once.
const CONCURRENCY: usize = 4;
/// Time limit for a program to go on after a fault, and to see the last message.
const LIMIT: Duration = Duration::from_secs(240);

fn arguments(pairs: &[(&str, String)]) -> Vec<String> {
    pairs.iter().flat_map(|(name, value)| [format!("--{name}"), value.clone()]).collect()
}

/// Messages, and the programs that publish and follow them.
struct Traffic {
    messages: usize,
    producers: Vec<(Client, Program)>,
    consumers: Vec<(Client, Program)>,
}

impl Traffic {
    fn start(url: &str, messages: usize) -> Self {
        let each = messages / PRODUCERS.len();
        let produce = |client: Client| {
            let options = [
                ("task", TASK.to_owned()),
                ("count", each.to_string()),
                ("sender", format!("{client:?}")),
            ];
            (client, client.start("produce", url, &arguments(&options)))
        };
        let consume = |client: Client| {
            let count = (each * PRODUCERS.len()).to_string();
            let options =
                [("from", "start".to_owned()), ("task", TASK.to_owned()), ("count", count)];
            (client, client.start("consume", url, &arguments(&options)))
        };
        Self {
            messages: each * PRODUCERS.len(),
            producers: PRODUCERS.map(produce).into(),
            consumers: CONSUMERS.map(consume).into(),
        }
    }

    /// Waits until so many messages are acknowledged.
    async fn acknowledged(&self, count: usize) {
        eventually(PATIENCE, "messages are acknowledged", async || {
            let acks: usize = self.producers.iter().map(|(_, p)| p.lines().len()).sum();
            (acks >= count.min(self.messages)).then_some(())
        })
        .await;
    }

    async fn check(self, http: &Http) {
        let mut acknowledged = BTreeSet::new();
        for (client, producer) in &self.producers {
            let acks = producer.finished(LIMIT).await;
            assert_eq!(acks.len(), self.messages / self.producers.len(), "{client:?}");
            acknowledged.extend(acks.iter().map(|ack| ack["seq"].as_u64().expect("a sequence")));
        }
        assert_eq!(acknowledged.len(), self.messages, "each message has a sequence of its own");
        let acknowledged: Vec<u64> = acknowledged.into_iter().collect();
        // An acknowledgement says that the bus has the message; history follows.
        committed(http, *acknowledged.last().expect("messages")).await;
        assert_eq!(in_history(http).await, acknowledged, "what is kept is what was acknowledged");
        for (client, consumer) in &self.consumers {
            let events = consumer.finished(LIMIT).await;
            let gaps: Vec<&Value> = events.iter().filter(|event| !event["gap"].is_null()).collect();
            assert!(gaps.is_empty(), "{client:?}: {gaps:?}");
            let seen: Vec<u64> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
            assert_eq!(seen, acknowledged, "{client:?} saw each message once, in order");
        }
    }
}

/// The sequences of all messages of the task.
async fn in_history(http: &Http) -> Vec<u64> {
    let (mut found, mut after) = (Vec::new(), 0);
    loop {
        let path = format!("/v1/messages?task={TASK}&limit=1000&after={after}");
        let page = http.get(&path).await.expect(200).json();
        let messages = page["messages"].as_array().expect("messages");
        found.extend(messages.iter().filter_map(|message| message["seq"].as_u64()));
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => return found,
        }
    }
}

/// Jobs, and the programs that work on them.
struct Jobs {
    ids: BTreeSet<String>,
    workers: Vec<(Client, Program)>,
}

impl Jobs {
    async fn start(http: &Http, url: &str, count: usize) -> Self {
        let rules = json!({"lease_s": 10, "max_deliver": 100, "backoff_s": [0.1]});
        http.put_json(&format!("/v1/queues/{QUEUE}"), &rules).await.expect(201);
        let mut ids = BTreeSet::new();
        for number in 0..count {
            let job = json!({"type": "count", "payload": number});
            let made = http.post_json(&format!("/v1/queues/{QUEUE}/jobs"), &job).await.expect(201);
            ids.insert(made.json()["job_id"].as_str().expect("an id").to_owned());
        }
        let work = |client: Client| {
            let options = [
                ("queue", QUEUE.to_owned()),
                ("concurrency", CONCURRENCY.to_string()),
                ("takes-ms", "20".to_owned()),
                ("worker", format!("{client:?}")),
            ];
            (client, client.start("work", url, &arguments(&options)))
        };
        Self { ids, workers: WORKERS.map(work).into() }
    }

    async fn check(self, http: &Http, faults: usize) {
        eventually(LIMIT, "all jobs are done", async || {
            let queue = http.get(&format!("/v1/queues/{QUEUE}")).await;
            let left = ["waiting", "leased", "delayed"].map(|name| queue.json()[name].as_u64());
            (queue.status == 200 && left == [Some(0); 3]).then_some(())
        })
        .await;
        let queue = http.get(&format!("/v1/queues/{QUEUE}")).await.expect(200).json();
        assert_eq!(queue["dead_letters"], 0, "{queue}");
        let mut begun = BTreeMap::<String, usize>::new();
        let mut ended = BTreeSet::new();
        for (_, worker) in &self.workers {
            for line in worker.ended().await {
                let members = line.as_object().expect("an object").iter();
                // What has happened to which job; the other member is the attempt.
                let mut named = members.filter_map(|(what, id)| Some((what, id.as_str()?)));
                let (what, id) = named.next().expect("what has happened");
                let id = id.to_owned();
                match what.as_str() {
                    "begun" => *begun.entry(id).or_default() += 1,
                    // `lost` and `unknown`: the answer to an acknowledgement, or the server itself, was lost.
                    "acked" | "lost" | "unknown" => {
                        ended.insert(id);
                    }
                    other => panic!("{id} {other}"),
                }
            }
        }
        for id in &self.ids {
            assert!(begun.contains_key(id), "{id} was never begun");
            assert!(ended.contains(id), "no worker has ended {id}");
        }
        // A fault may repeat what was in flight then: also a job that is done, and under the number of its first attempt,
        // since NATS may lose what it had not synced.
        let repeats = begun.values().sum::<usize>() - self.ids.len();
        let most = faults * self.workers.len() * CONCURRENCY;
        eprintln!("{} jobs, {faults} faults, {repeats} repeats", self.ids.len());
        assert!(repeats <= most, "{repeats} repeats in {faults} faults");
    }
}

#[tokio::test]
async fn see_each_message_once_and_do_each_job() {
    let deployment = Deployment::start(Mode::Nats).await;
    let nats = deployment.nats().expect("on NATS");
    let (server, http) = (deployment.agentbus(), deployment.http());
    let (messages, kills) = (times(1_200, 20_000), times(4, 20));
    let jobs = Jobs::start(http, deployment.bus(), times(200, 2_000)).await;
    let traffic = Traffic::start(deployment.bus(), messages);
    for kill in 0..kills {
        traffic.acknowledged((kill + 1) * messages / (kills + 2)).await;
        server.kill9();
        server.restart_listening().await;
        if kill % 2 == 1 {
            nats.kill9();
            nats.restart().await;
        }
        eventually(SOON, "the server is ready", async || {
            let answer = http.request(reqwest::Method::GET, "/readyz", &[], "").await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }
    traffic.check(http).await;
    jobs.check(http, kills + kills / 2).await;
}
