//! The AsyncAPI 3.0 document: subjects, messages, the events of streams, webhooks.

use serde_json::{Map, Value, json};

/// The schemas that the document shares with the OpenAPI document.
const SHARED: [&str; 5] = ["Message", "NewMessage", "Kind", "Name", "Sequence"];

/// The whole document.
pub(super) fn document(openapi: &Value) -> Value {
    let mut schemas = event_schemas();
    for name in SHARED.into_iter().chain(["Time"]) {
        schemas.insert(name.to_owned(), openapi["components"]["schemas"][name].clone());
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "agentbus",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What agentbus sends and takes as messages. The OpenAPI document describes its HTTP routes.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "http": { "host": "127.0.0.1:8080", "protocol": "http", "description": "An agentbus server." },
            "nats": {
                "host": "127.0.0.1:4222",
                "protocol": "nats",
                "description": "The NATS servers behind it, with MESSAGE_BUS=nats. A client that may publish there is trusted like a server.",
            },
        },
        "channels": channels(),
        "operations": operations(),
        "components": { "messages": messages(), "schemas": schemas },
    })
}

fn parameter(description: &str) -> Value {
    json!({ "description": description })
}

fn channels() -> Value {
    let nats = json!([{ "$ref": "#/servers/nats" }]);
    let http = json!([{ "$ref": "#/servers/http" }]);
    let kept = json!({ "message": { "$ref": "#/components/messages/message" } });
    let kind = parameter("The type of the message.");
    json!({
        "messages": {
            "address": "agent.message.{role}.{type}",
            "description": "Messages to read.",
            "servers": nats,
            "parameters": { "role": parameter("The role of the sender."), "type": kind },
            "messages": kept,
        },
        "statuses": {
            "address": "agent.status.{agent}.{type}",
            "description": "Statuses of agents.",
            "servers": nats,
            "parameters": { "agent": parameter("The sender."), "type": kind },
            "messages": kept,
        },
        "tasks": {
            "address": "agent.task.{task}.{type}",
            "description": "Events of tasks.",
            "servers": nats,
            "parameters": { "task": parameter("The task."), "type": kind },
            "messages": kept,
        },
        "stream": {
            "address": "/v1/stream",
            "description": "Server-Sent Events: replay from any sequence, then live. The `id` of an event is the cursor to resume from.",
            "servers": http,
            "messages": stream_messages(),
        },
        "webhook": {
            "address": null,
            "description": "POST requests to the address of a webhook, signed as Standard Webhooks says. 2xx acknowledges; anything else is retried.",
            "messages": { "delivery": { "$ref": "#/components/messages/delivery" } },
        },
    })
}

/// The events of a stream.
const EVENTS: [&str; 9] = [
    "ready",
    "message",
    "status",
    "task",
    "gap",
    "caught_up",
    "heartbeat",
    "denied",
    "unavailable",
];

fn stream_messages() -> Value {
    let messages = EVENTS.map(|event| {
        (event.to_owned(), json!({ "$ref": format!("#/components/messages/event_{event}") }))
    });
    Value::Object(messages.into_iter().collect())
}

fn operations() -> Value {
    let operation = |action: &str, channel: &str, summary: &str| {
        json!({
            "action": action,
            "channel": { "$ref": format!("#/channels/{channel}") },
            "summary": summary,
        })
    };
    json!({
        "publishMessage": operation("receive", "messages", "The server takes messages that other NATS clients publish."),
        "publishStatus": operation("receive", "statuses", "The server takes statuses that other NATS clients publish."),
        "publishTask": operation("receive", "tasks", "The server takes events of tasks that other NATS clients publish."),
        "watch": operation("send", "stream", "The server sends each message that the filters match, once and in order."),
        "deliver": operation("send", "webhook", "The server delivers each message that the filter of the webhook matches, at least once."),
    })
}

fn messages() -> Value {
    let mut all = Map::new();
    let schema = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    all.insert(
        "message".to_owned(),
        json!({
            "summary": "A message as JetStream holds it: without `seq`, which is its stream sequence.",
            "headers": { "type": "object", "properties": {
                "Agentbus": { "type": "string", "const": "1" },
                "Nats-Msg-Id": { "type": "string", "description": "The id of the message." },
            } },
            "payload": schema("NewMessage"),
        }),
    );
    all.insert(
        "delivery".to_owned(),
        json!({
            "summary": "A delivery of a webhook.",
            "headers": { "type": "object", "properties": {
                "webhook-id": { "type": "string", "description": "The id of the message." },
                "webhook-timestamp": { "type": "string", "description": "Seconds since 1970." },
                "webhook-signature": { "type": "string", "description": "`v1,` and the HMAC-SHA256 in Base64." },
            } },
            "payload": schema("Message"),
        }),
    );
    for event in EVENTS {
        let (summary, payload) = match event {
            "message" | "status" | "task" => ("A message of this kind.", schema("Message")),
            "ready" => (
                "The first event. Its id is a cursor: the stream has nothing at or below it.",
                schema("Ready"),
            ),
            "gap" => ("Requested sequences that neither bus nor store has.", schema("Gap")),
            "caught_up" => ("The replay has ended: what follows is live.", schema("CaughtUp")),
            "denied" => {
                ("The last event: the credential was revoked or has expired.", schema("Denied"))
            }
            "heartbeat" => (
                "Without data, after 15 s of silence. Its id is how far the filter has looked.",
                schema("Nothing"),
            ),
            _ => (
                "The server cannot serve the stream now. The client reconnects by itself.",
                schema("Nothing"),
            ),
        };
        let message = json!({
            "name": event,
            "summary": summary,
            "contentType": "application/json",
            "payload": payload,
        });
        all.insert(format!("event_{event}"), message);
    }
    Value::Object(all)
}

fn event_schemas() -> Map<String, Value> {
    let sequence = || json!({ "$ref": "#/components/schemas/Sequence" });
    let object = |required: &[&str], properties: Value| json!({ "type": "object", "required": required, "properties": properties });
    let schemas = [
        (
            "Ready",
            object(
                &["head", "first", "replaying"],
                json!({
                    "head": sequence(),
                    "first": sequence(),
                    "replaying": { "type": "boolean" },
                }),
            ),
        ),
        (
            "Gap",
            object(
                &["from", "to", "reason"],
                json!({
                    "from": sequence(),
                    "to": sequence(),
                    "reason": { "type": "string", "enum": ["expired", "abandoned", "ahead_of_log"] },
                }),
            ),
        ),
        ("CaughtUp", object(&["seq"], json!({ "seq": sequence() }))),
        (
            "Denied",
            object(
                &["code"],
                json!({ "code": { "type": "string", "enum": ["revoked", "expired"] } }),
            ),
        ),
        ("Nothing", json!({ "type": "string", "maxLength": 0, "description": "No data." })),
    ];
    schemas.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}
