//! Holds each response against the description of the interface (`/openapi.json`): its status, its error code, its
//! members.
//!
//! Invariant: every response of the black-box tests comes through here, so whatever they make the server answer is
//! described, or a test fails.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use super::http::Answer;

/// Bodies beyond this are not checked: they are long for their number of equal items.
const CHECKED_BYTES: usize = 32 * 1024;

/// Fails the test if the response is not described.
#[track_caller]
pub fn check(method: &Method, path: &str, answer: &Answer) {
    let document = agentbus::http::openapi();
    let Some((template, item)) = route(document, path) else { return };
    let Some(operation) = item.get(method.as_str().to_ascii_lowercase()) else {
        assert!(answer.status >= 400 || *method == Method::HEAD || *method == Method::OPTIONS);
        return;
    };
    let what = || format!("{method} {template} -> {}: {}", answer.status, answer.text());
    if answer.status == 404 && answer.text().contains("there is nothing at") {
        // The listener for monitoring has few routes.
        return;
    }
    let response = &operation["responses"][answer.status.to_string()];
    assert!(response.is_object(), "a status that is not described: {}", what());
    let response = resolve(document, response);
    if answer.bytes.is_empty() {
        return;
    }
    let media_type = answer.header("content-type").unwrap_or_default();
    let content = &response["content"][media_type];
    assert!(content.is_object(), "{media_type} is not described: {}", what());
    if !media_type.ends_with("json") || answer.bytes.len() > CHECKED_BYTES {
        return;
    }
    // A message may have numbers that this parser does not take.
    let Ok(body) = serde_json::from_slice::<Value>(&answer.bytes) else { return };
    if media_type == "application/problem+json" {
        let codes = response["x-codes"].as_array().cloned().unwrap_or_default();
        assert!(codes.contains(&body["code"]), "a code that is not described: {}", what());
    }
    if let Err(fault) = holds(document, &content["schema"], &body) {
        panic!("{fault}: {}", what());
    }
}

/// The path in the document that a request's path matches; the one with the fewest parameters.
pub fn route<'a>(document: &'a Value, path: &str) -> Option<(&'a str, &'a Value)> {
    let asked: Vec<&str> = path.split('?').next()?.split('/').collect();
    let matches = |template: &str| {
        let template: Vec<&str> = template.split('/').collect();
        let same = |(part, asked): (&&str, &&str)| part == asked || part.starts_with('{');
        template.len() == asked.len() && template.iter().zip(&asked).all(same)
    };
    let paths = document["paths"].as_object()?.iter();
    let found = paths.filter(|(template, _)| matches(template));
    let found = found.min_by_key(|(template, _)| template.matches('{').count())?;
    Some((found.0.as_str(), found.1))
}

/// The value that a reference leads to; other values are returned as they are.
pub fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(to) => {
            document.pointer(to.trim_start_matches('#')).expect("a reference leads somewhere")
        }
        None => value,
    }
}

/// Whether a value is as its schema says, and has no other members.
fn holds(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let schema = resolve(document, schema);
    if let Some(choices) = schema["oneOf"].as_array() {
        let faults: Vec<String> =
            choices.iter().filter_map(|choice| holds(document, choice, value).err()).collect();
        let fits = choices.len() - faults.len();
        return if fits == 1 { Ok(()) } else { Err(format!("fits {fits} of several: {faults:?}")) };
    }
    match value {
        Value::Object(members) => {
            if !is_closed(document, schema) {
                return Ok(());
            }
            let (known, required) = properties(document, schema);
            for name in required {
                if !members.contains_key(name) {
                    return Err(format!("the member {name} is described as always there"));
                }
            }
            for (name, value) in members {
                match known.iter().find(|(known, _)| *known == name) {
                    Some((_, schema)) => holds(document, schema, value)?,
                    None if schema["additionalProperties"].is_object() => {}
                    None => return Err(format!("the member {name} is not described")),
                }
            }
            Ok(())
        }
        Value::Array(items) => {
            items.iter().try_for_each(|item| holds(document, &schema["items"], item))
        }
        _ => fits(schema, value),
    }
}

/// Whether a schema lists the members of its objects.
fn is_closed(document: &Value, schema: &Value) -> bool {
    schema["additionalProperties"] != true && !properties(document, schema).0.is_empty()
        || schema["additionalProperties"].is_object() && schema["type"] == "object"
}

/// The members that a schema lists, and those that must be there.
fn properties<'a>(
    document: &'a Value,
    schema: &'a Value,
) -> (Vec<(&'a str, &'a Value)>, BTreeSet<&'a str>) {
    let schema = resolve(document, schema);
    let listed = schema["properties"].as_object();
    let mut known: Vec<(&str, &Value)> =
        listed.into_iter().flatten().map(|(name, schema)| (name.as_str(), schema)).collect();
    let required = schema["required"].as_array();
    let mut required: BTreeSet<&str> =
        required.into_iter().flatten().filter_map(Value::as_str).collect();
    for part in schema["allOf"].as_array().into_iter().flatten() {
        let (more, needed) = properties(document, part);
        known.extend(more);
        required.extend(needed);
    }
    (known, required)
}

/// Whether a text, number, truth value or null is of a type and value that the schema allows.
fn fits(schema: &Value, value: &Value) -> Result<(), String> {
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return Ok(()),
    };
    let is_of = |name: &&str| match value {
        Value::Null => *name == "null",
        Value::Bool(_) => *name == "boolean",
        Value::Number(number) => *name == "number" || *name == "integer" && !number.is_f64(),
        _ => *name == "string",
    };
    if !types.iter().any(is_of) {
        return Err(format!("{value} is not of type {types:?}"));
    }
    match schema["enum"].as_array() {
        Some(allowed) if !allowed.contains(value) => Err(format!("{value} is none of {allowed:?}")),
        _ => Ok(()),
    }
}
