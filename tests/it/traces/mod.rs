//! Traces (#18): the context of who publishes or enqueues goes to whatever comes of it, and agentbus's own spans stand
//! between.

mod away;
mod context;
mod spans;

use crate::support::{Answer, Http};
use reqwest::Method;
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// The context of a caller that records its trace.
fn caller() -> String {
    format!("00-{TRACE}-{SPAN}-01")
}

/// Posts JSON with these headers.
async fn post(http: &Http, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let headers: Vec<_> =
        [("content-type", "application/json")].into_iter().chain(headers.iter().copied()).collect();
    http.request(Method::POST, path, &headers, body.to_string()).await.expect("an answer")
}

fn message(to: &str) -> Value {
    json!({"kind": "message", "type": "ask", "sender_id": "ann", "recipient_id": to, "content": "x"})
}

/// Makes a webhook for messages to the role `agent`.
async fn webhook(http: &Http, url: &str, filter: &str) {
    let body = json!({"url": url, "filter": filter});
    http.post_json("/v1/webhooks", &body).await.expect(201);
}
