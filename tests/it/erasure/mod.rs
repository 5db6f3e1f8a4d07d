//! Erasure of messages: section 17 of the contract.

mod everywhere;
mod rules;
mod servers;
mod work;

use agentbus::store::Store;
use agentbus::store::postgres::PostgresStore;
use agentbus::store::sqlite::SqliteStore;
use serde_json::{Value, json};

use crate::support::records::Record;
use crate::support::{Answer, Deployment, Http};

/// What no reader may find any more.
const SECRET: &str = "correct-horse-battery-staple";

fn secret(sender: &str) -> Value {
    json!({"kind": "message", "type": "note", "sender_id": sender, "recipient_id": "bob", "task_id": "t1",
        "conversation_id": "c1", "content": format!("it is {SECRET}"), "metadata": {SECRET: [SECRET]}})
}

async fn erase(http: &Http, id: &str) -> Answer {
    http.post_json(&format!("/v1/messages/{id}/erase"), &json!({"reason": "asked to"})).await
}

/// Publishes a message and waits until the store has it; returns its sequence and id.
async fn publish(http: &Http, message: &Value) -> (u64, String) {
    let answer = http.post_json("/v1/messages?ack=committed", message).await.expect(201).json();
    (answer["seq"].as_u64().expect("a sequence"), answer["id"].as_str().expect("an id").to_owned())
}

/// The erased form of a message, byte for byte, of those that [`secret`] makes.
fn erased(message: &Record) -> Record {
    let text = message.text().replacen(&format!("it is {SECRET}"), "", 1);
    let metadata = format!("{{\"{SECRET}\":[\"{SECRET}\"]}}");
    let text = text.replacen(&metadata, "{\"erased\":true}", 1);
    assert!(!text.contains(SECRET), "{text}");
    Record { seq: message.seq, bytes: text.into() }
}

/// The deployment's store, opened beside the server.
async fn store(deployment: &Deployment) -> Box<dyn Store> {
    match deployment.pg_url() {
        Some(url) => Box::new(PostgresStore::connect(url).await.expect("PostgreSQL opens")),
        None => {
            let dir = deployment.agentbus().data_dir();
            Box::new(SqliteStore::open(&dir).await.expect("SQLite opens"))
        }
    }
}
