//! The OpenAPI 3.1 document.

use serde_json::{Map, Value, json};
use utoipa::{PartialSchema as _, ToSchema as _};

use super::schemas::Problem;
use super::{Described, errors};
use crate::services::calls::{Call, Need};

const ABOUT: &str = "A message backend for squads of software agents: one durable order of typed messages, live streams, \
    replay from any sequence, inboxes and work queues. Errors are problem documents (RFC 9457): decide by `code`.";

const TAGS: [(&str, &str); 8] = [
    ("Messages", "Publish, read history, watch live."),
    ("Agents and tasks", "The state that follows from the messages."),
    ("Inboxes", "The messages for one agent."),
    ("Queues", "Jobs that go to one worker each."),
    ("Processing", "Consumers, dead letters, webhooks."),
    ("Schemas", "Rules for the content and metadata of messages."),
    ("Access", "Keys, sessions, tickets, the audit log."),
    ("Server", "Health, counters, descriptions."),
];

/// The whole document.
pub(super) fn document(routes: Vec<Described>) -> Value {
    let (mut paths, mut schemas, mut responses) = (Map::new(), Map::new(), Map::new());
    let problem = [(Problem::name().into_owned(), Problem::schema())];
    let mut of_problem = problem.to_vec();
    Problem::schemas(&mut of_problem);
    for (name, schema) in of_problem {
        schemas.insert(name, json!(schema));
    }
    for mut route in routes {
        for (name, schema) in std::mem::take(&mut route.schemas) {
            schemas.insert(name, json!(schema));
        }
        let item = paths.entry(route.path.clone()).or_insert_with(|| json!({}));
        item[route.method.to_ascii_lowercase()] = operation(&route, &mut responses);
    }
    refine(&mut schemas);
    close_requests(&paths, &mut schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "agentbus",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
        },
        "servers": [{ "url": "/", "description": "This server." }],
        "tags": TAGS.map(|(name, description)| json!({ "name": name, "description": description })),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": responses,
            "headers": headers(),
            "securitySchemes": security_schemes(),
        },
    })
}

fn security_schemes() -> Value {
    json!({
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "A key: `ab_…`. With `AUTH=off` a request without one may do nearly everything.",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "agentbus_session",
            "description": "The cookie of `POST /v1/session`. With TLS its name begins with `__Host-`.",
        },
    })
}

fn headers() -> Value {
    let text =
        |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    json!({
        "X-Request-Id": text("The id of the request in the server's log: the one that the client sent, or a new one."),
        "WWW-Authenticate": text("Always `Bearer` (RFC 6750)."),
        "RateLimit": text("The limit, what is left of it, and the seconds until more is."),
        "Retry-After": { "description": "Seconds to wait.", "schema": { "type": "integer" } },
    })
}

/// An operation with its id, what it needs, and its error responses.
fn operation(route: &Described, errors: &mut Map<String, Value>) -> Value {
    let Value::Object(mut operation) = route.operation.clone() else { return Value::Null };
    operation.insert("operationId".to_owned(), json!(operation_id(route.call)));
    let need = match route.call.need() {
        Need::Open => None,
        Need::Credential => Some(String::new()),
        Need::Read => Some("read".to_owned()),
        Need::Can(capability) => Some(format!("can {capability}")),
    };
    let is_open = need.is_none();
    if let Some(need) = need.filter(|need| !need.is_empty()) {
        operation.insert("x-needs".to_owned(), json!(need));
    }
    // The empty one: with AUTH=off none is needed.
    let security = if is_open { json!([]) } else { json!([{}, { "key": [] }, { "session": [] }]) };
    operation.insert("security".to_owned(), security);
    if let Some(body) = operation.get_mut("requestBody") {
        allow_absence(body);
    }
    errors::add(route, &mut operation, errors);
    if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
        for response in responses.values_mut().filter(|response| response.get("$ref").is_none()) {
            response["headers"]["X-Request-Id"] =
                json!({ "$ref": "#/components/headers/X-Request-Id" });
        }
    }
    Value::Object(operation)
}

/// The name of a call in camel case.
fn operation_id(call: Call) -> String {
    let name = format!("{call:?}");
    let (first, rest) = name.split_at(1);
    format!("{}{rest}", first.to_ascii_lowercase())
}

/// Describes a body that may be left out: its attribute says that it may be null.
fn allow_absence(body: &mut Value) {
    let schema = &mut body["content"]["application/json"]["schema"];
    let Some(choices) = schema["oneOf"].as_array() else { return };
    let value = choices.iter().find(|choice| choice["type"] != "null").cloned();
    *schema = value.unwrap_or_default();
    body["required"] = json!(false);
}

/// Adds what the attributes of schemas cannot say.
fn refine(schemas: &mut Map<String, Value>) {
    if let Some(message) = schemas.get_mut("NewMessage") {
        message["if"] =
            json!({ "properties": { "kind": { "const": "task" } }, "required": ["kind"] });
        message["then"] = json!({ "properties": { "task_id": {} }, "required": ["task_id"] });
    }
    if let Some(message) = schemas.get_mut("Message") {
        // Other NATS clients and newer servers may have written more members.
        message["additionalProperties"] = json!(true);
    }
    if let Some(schema) = schemas.get_mut("NewPayloadSchema") {
        // `true` and `false` are JSON Schemas, too.
        schema["properties"]["schema"]["type"] = json!(["object", "boolean"]);
    }
    if let Some(change) = schemas.get_mut("WebhookChange") {
        change["minProperties"] = json!(1);
        change["maxProperties"] = json!(1);
    }
}

/// Requests have no members but those that are described.
fn close_requests(paths: &Map<String, Value>, schemas: &mut Map<String, Value>) {
    let operations = paths.values().filter_map(Value::as_object).flat_map(Map::values);
    let mut open: Vec<String> =
        operations.flat_map(|operation| references(&operation["requestBody"])).collect();
    while let Some(name) = open.pop() {
        let Some(schema) = schemas.get_mut(&name) else { continue };
        if schema["type"] == "object" && schema.get("additionalProperties").is_none() {
            schema["additionalProperties"] = json!(false);
            open.extend(references(schema));
        }
    }
}

/// The names of the schemas that a value refers to.
fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| match (name.as_str(), value.as_str()) {
                ("$ref", Some(to)) => {
                    to.rsplit('/').next().map(str::to_owned).into_iter().collect()
                }
                _ => references(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}
