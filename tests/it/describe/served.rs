//! What is described is served: each status of success and each member of a response is in the recorded conversation.

use std::collections::BTreeSet;

use agentbus::http::openapi;
use agentbus::services::Code;
use serde_json::Value;

use super::operations;
use crate::support::described::{resolve, route};

/// The recorded conversations with servers of each mode.
const RECORDED: [&str; 3] = [
    include_str!("../transcripts/recorded/memory_sqlite.txt"),
    include_str!("../transcripts/recorded/memory_postgres.txt"),
    include_str!("../transcripts/recorded/nats.txt"),
];

/// Tags of operations whose responses depend on the key: `access::matrix` asks for them; and the descriptions themselves.
const ELSEWHERE: [&str; 3] = ["Access", "Schemas", "Server"];

/// Members that need a rare condition: other tests see them.
const RARE: [&str; 11] = [
    "AcceptedItem.warnings",
    "Failure.needs",
    "Failure.outcome",
    "Message.key_id",
    "Problem.needs",
    "Problem.outcome",
    "Receipt.warnings",
    "Redriven.skipped",
    "SettledItem.lease_expires_at",
    "SettledItem.lease_token",
    "Task.agent_count",
];

/// A recorded response: `GET /v1/x 200`, and its body if it is JSON.
fn responses() -> Vec<(String, String, String, Option<Value>)> {
    let mut found = Vec::new();
    // Names stand for numbers that differ from run to run.
    let numbers = regex::Regex::new(r":\{[a-z_ 0-9]+\}").expect("a pattern");
    for exchange in RECORDED.iter().flat_map(|text| text.split("\n\n")) {
        let asked = exchange.lines().find_map(|line| line.strip_prefix("> "));
        let Some((method, path)) = asked.and_then(|asked| asked.split_once(' ')) else { continue };
        let given: Vec<&str> =
            exchange.lines().filter_map(|line| line.strip_prefix("< ")).collect();
        let Some(status) = given.first() else { continue };
        let body = given.iter().rev().find(|line| line.starts_with('{'));
        let body = body.map(|body| numbers.replace_all(body, ":0"));
        let body = body.and_then(|body| serde_json::from_str(&body).ok());
        let path = path.trim_end_matches(" HTTP/1.0");
        found.push((method.to_owned(), path.to_owned(), (*status).to_owned(), body));
    }
    found
}

fn is_elsewhere(operation: &Value) -> bool {
    ELSEWHERE.iter().any(|tag| operation["tags"][0] == *tag)
}

#[test]
fn each_success_that_is_described_is_in_the_conversation() {
    let document = openapi();
    let seen: BTreeSet<String> = responses()
        .into_iter()
        .filter_map(|(method, path, status, _)| {
            let (template, _) = route(document, &path)?;
            Some(format!("{method} {template} {status}"))
        })
        .collect();
    assert!(seen.len() > 80, "the recorded conversation was not read: {seen:?}");
    let mut missing = Vec::new();
    for operation in operations() {
        if is_elsewhere(operation.value) || operation.path == "/v1/stream" {
            continue;
        }
        let statuses = operation.value["responses"].as_object().expect("responses").keys();
        for status in statuses.filter(|status| status.starts_with('2')) {
            let described = format!("{} {} {status}", operation.method, operation.path);
            missing.extend((!seen.contains(&described)).then_some(described));
        }
    }
    assert!(missing.is_empty(), "described, but not in the conversation: {missing:#?}");
}

/// Adds the members of a value, as `Schema.member`.
fn collect(schema: &Value, value: &Value, seen: &mut BTreeSet<String>) {
    let document = openapi();
    let name = schema["$ref"].as_str().and_then(|to| to.rsplit('/').next()).unwrap_or_default();
    let schema = resolve(document, schema);
    for choice in
        ["oneOf", "allOf"].iter().flat_map(|of| schema[of].as_array().into_iter().flatten())
    {
        collect(choice, value, seen);
    }
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                if let Some(schema) = schema["properties"].get(member) {
                    seen.insert(format!("{name}.{member}"));
                    collect(schema, value, seen);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(&schema["items"], item, seen)),
        _ => {}
    }
}

/// Adds the members that a schema describes, as `Schema.member`.
fn members(schema: &Value, all: &mut BTreeSet<String>) {
    let document = openapi();
    let name = schema["$ref"].as_str().and_then(|to| to.rsplit('/').next()).unwrap_or_default();
    let schema = resolve(document, schema);
    let parts =
        ["oneOf", "allOf"].iter().flat_map(|of| schema[of].as_array().into_iter().flatten());
    parts
        .chain([&schema["items"]])
        .filter(|part| part.is_object())
        .for_each(|part| members(part, all));
    for (member, schema) in schema["properties"].as_object().into_iter().flatten() {
        if all.insert(format!("{name}.{member}")) {
            members(schema, all);
        }
    }
}

#[test]
fn each_member_that_is_described_is_in_the_conversation() {
    let document = openapi();
    let (mut described, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let json = |operation: &'static Value, status: &str| -> &'static Value {
        let response = resolve(document, &operation["responses"][status]);
        let content = response["content"].as_object().into_iter().flatten();
        let mut of_json = content.filter(|(media_type, _)| media_type.ends_with("json"));
        of_json.next().map_or(&Value::Null, |(_, content)| &content["schema"])
    };
    for operation in operations().into_iter().filter(|operation| !is_elsewhere(operation.value)) {
        for status in operation.value["responses"].as_object().expect("responses").keys() {
            members(json(operation.value, status), &mut described);
        }
    }
    for (method, path, status, body) in responses() {
        let Some((_, item)) = route(document, &path) else { continue };
        let operation = &item[method.to_ascii_lowercase()];
        if let Some(body) = body.filter(|_| operation["responses"][&status].is_object()) {
            collect(json(operation, &status), &body, &mut seen);
        }
    }
    let is_rare = |member: &&String| RARE.contains(&member.as_str());
    let missing: Vec<_> = described.difference(&seen).filter(|member| !is_rare(member)).collect();
    assert!(missing.is_empty(), "described, but not in the conversation: {missing:#?}");
}

#[test]
fn the_document_and_the_page_for_people_know_the_same_codes() {
    let page = include_str!("../../../docs/api.md");
    let described = openapi().to_string();
    for code in Code::ALL {
        let code = code.as_str();
        assert!(page.contains(&format!("| `{code}` |")), "the table of docs/api.md lacks {code}");
        let transport = ["method_not_allowed"].contains(&code);
        assert!(transport || described.contains(&format!("\"{code}\"")), "no route has {code}");
    }
}
