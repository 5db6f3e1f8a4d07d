//! The message that reports a lapsed status cannot be suppressed, neither by guessing its id nor by a
//! thousand other lapses.

use std::time::Duration;

use agentbus::limits::{LAPSE_IDS, LAPSE_SCAN_ROWS};
use agentbus::presence::LapseIds;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use uuid::Uuid;

use crate::support::{Deployment, Http, eventually, for_each_mode};

const LIMIT: Duration = Duration::from_secs(120);
/// Time to live of the status: long enough for some thousand messages of an attacker to come before it
/// lapses.
const TTL_S: u64 = 40;
/// Messages of one batch.
const BATCH: usize = 1_000;

fn online(agent: &str, ttl_s: u64) -> Value {
    json!({"kind": "status", "type": "online", "sender_id": agent, "metadata": {"ttl_s": ttl_s}})
}

/// A message that takes an id.
fn taken(id: Uuid) -> Value {
    json!({"kind": "message", "type": "note", "sender_id": "mallory", "id": id, "content": "mine"})
}

/// Posts messages, and returns their sequences.
async fn post(http: &Http, messages: &[Value]) -> Vec<u64> {
    let mut seqs = Vec::with_capacity(messages.len());
    for some in messages.chunks(BATCH) {
        let path = "/v1/messages/batch?ack=committed";
        let answer = http.post_ndjson(path, some).await.expect(200).json();
        assert_eq!(answer["accepted"], some.len(), "all are taken");
        let results = answer["results"].as_array().expect("results").iter();
        seqs.extend(results.map(|result| result["seq"].as_u64().expect("a sequence")));
    }
    seqs
}

async fn status(http: &Http, agent: &str) -> Value {
    http.get(&format!("/v1/agents/{agent}")).await.expect(200).json()["status"].clone()
}

async fn wait_offline(http: &Http, agent: &str) {
    let what = format!("{agent} is reported offline");
    eventually(LIMIT, &what, async || (status(http, agent).await == "offline").then_some(())).await;
}

/// The secret of the deployment, as its store keeps it.
async fn secret(deployment: &Deployment) -> [u8; 32] {
    let sql = "SELECT secret FROM lease_secret";
    let secret: Vec<u8> = match deployment.pg_url() {
        Some(url) => {
            let mut store = sqlx::PgConnection::connect(url).await.expect("the database");
            sqlx::query_scalar(sql).fetch_one(&mut store).await.expect("a secret")
        }
        None => {
            let path = deployment.agentbus().data_dir().join("agentbus.db");
            let options = SqliteConnectOptions::new().filename(path).read_only(true);
            let mut store = options.connect().await.expect("the database");
            sqlx::query_scalar(sql).fetch_one(&mut store).await.expect("a secret")
        }
    };
    secret.try_into().expect("32 bytes")
}

for_each_mode! {
    async fn ids_posted_in_advance_do_not_stop_a_lapse(deployment: &Deployment) {
        let http = deployment.http();
        // How earlier versions derived the id: all but the sequence was public.
        let guess = |seq: u64| {
            taken(Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("ttl\0ann\0{seq}").as_bytes()))
        };
        // The guesses take sequences below those that they guess for.
        let guesses: Vec<Value> = (501..=1_000).map(guess).collect();
        post(http, &guesses).await;
        let seq = post(http, &[online("ann", 1)]).await[0];
        assert!((501..=1_000).contains(&seq), "it is among those that were guessed");
        wait_offline(http, "ann").await;
    }

    async fn a_thousand_conflicts_stop_no_other_lapse(deployment: &Deployment) {
        let http = deployment.http();
        let ids = LapseIds::new(&secret(deployment).await);
        // More lapses than one scan takes, all before the one that is checked.
        let names: Vec<String> = (0..LAPSE_SCAN_ROWS + 100).map(|n| format!("agent-{n:04}")).collect();
        let statuses: Vec<Value> = names.iter().map(|name| online(name, TTL_S)).collect();
        let seqs = post(http, &statuses).await;
        let id = |name: &str, seq, turn| ids.id(&name.parse().expect("a token"), seq, turn);
        let mut conflicts = Vec::new();
        for (name, seq) in names.iter().zip(&seqs) {
            conflicts.extend((0..LAPSE_IDS).map(|turn| taken(id(name, *seq, turn))));
        }
        post(http, &conflicts).await;
        let seqs = post(http, &[online("bob", TTL_S), online("cid", TTL_S)]).await;
        // The attacker also repeats, for one agent, all ids but the last.
        let some: Vec<Value> =
            (0..LAPSE_IDS - 1).map(|turn| taken(id("cid", seqs[1], turn))).collect();
        post(http, &some).await;
        wait_offline(http, "bob").await;
        wait_offline(http, "cid").await;
        assert_eq!(status(http, &names[0]).await, "online", "the conflicts were real");
        eventually(LIMIT, "the conflicts are logged", async || {
            let log = deployment.agentbus().log();
            log.lines().any(|line| line.contains("WARN") && line.contains("ids of lapsed statuses")).then_some(())
        })
        .await;
    }
}
