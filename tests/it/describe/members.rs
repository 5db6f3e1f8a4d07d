//! Bodies of requests: the description and the parsers know the same members.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Operation, operations};
use crate::support::described::resolve;
use crate::support::keys::Secured;
use crate::support::{Http, Mode};

/// The schema of an operation's JSON body.
fn body(operation: &Operation) -> Option<&'static Value> {
    let document = agentbus::http::openapi();
    let schema = &operation.value["requestBody"]["content"]["application/json"]["schema"];
    let choices = schema["oneOf"].as_array();
    // A body that may be left out is described as null or an object.
    let schema = choices.map_or(schema, |choices| choices.last().expect("a choice"));
    let schema = resolve(document, schema);
    let schema =
        if schema["type"] == "array" { resolve(document, &schema["items"]) } else { schema };
    schema.is_object().then_some(schema)
}

fn members(schema: &Value) -> BTreeSet<String> {
    schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

/// The members that the server does not know in this body.
async fn unknown(http: &Http, operation: &Operation, names: &BTreeSet<String>) -> BTreeSet<String> {
    // Values that are right nowhere; but for the action, which decides what other members there are.
    let value = |name: &str| if name == "action" { json!("nack") } else { json!([[]]) };
    let members: Map<String, Value> =
        names.iter().map(|name| (name.clone(), value(name))).collect();
    let is_batch = operation.value["requestBody"]["content"]["application/x-ndjson"].is_object();
    let body = if is_batch { json!([members]) } else { Value::Object(members) };
    let path = operation.path.replace("{queue}", "q").replace("{kind}", "task");
    let path = path.replace("{action}", "nack").replace("{type}", "t").replace("{token}", "t");
    let path = path.replace("{name}", "agent-processor");
    let path = path.replace("{id}", &uuid::Uuid::now_v7().to_string());
    let method = operation.method.parse().expect("a method");
    let answer = http
        .request(method, &path, &[("content-type", "application/json")], body.to_string())
        .await
        .expect("an answer");
    let answer = answer.json();
    let errors =
        if is_batch { &answer["results"][0]["error"]["errors"] } else { &answer["errors"] };
    let errors = errors.as_array().unwrap_or_else(|| panic!("{path}: {answer}"));
    let is_unknown = |error: &&Value| {
        let detail = error["detail"].as_str().expect("a detail");
        ["is not a member", "is set by the server", "cannot be changed"]
            .iter()
            .any(|rule| detail.contains(rule))
    };
    let name = |error: &Value| error["pointer"].as_str().expect("a pointer")[1..].to_owned();
    errors.iter().filter(is_unknown).map(name).collect()
}

#[tokio::test]
async fn a_body_has_the_members_that_it_describes_and_no_others() {
    let secured = Secured::start(Mode::MemorySqlite).await;
    let of_bodies: Vec<(Operation, BTreeSet<String>)> = operations()
        .into_iter()
        .filter_map(|operation| body(&operation).map(members).map(|known| (operation, known)))
        .collect();
    let mut all: BTreeSet<String> =
        of_bodies.iter().flat_map(|(_, members)| members.iter().cloned()).collect();
    all.extend(["seq", "subject", "created_at", "key_id", "never_known"].map(str::to_owned));
    assert!(of_bodies.len() > 15, "few bodies: {}", of_bodies.len());
    for (operation, described) in of_bodies {
        let unknown = unknown(&secured.root, &operation, &all).await;
        let known: BTreeSet<String> = all.difference(&unknown).cloned().collect();
        assert_eq!(known, described, "{} {}", operation.method, operation.path);
    }
}
