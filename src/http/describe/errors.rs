//! The error responses of a route: those that its handler's attribute lists in `x-codes`, and those of all routes like it.
//! Equal responses of several routes are one component.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Described;
use crate::http::problem;
use crate::services::Code;
use crate::services::calls::{Call, Need};

/// The extension in which an attribute lists the codes of its route, and a response its own.
const CODES: &str = "x-codes";

/// Adds the error responses to an operation, and what they refer to to the components.
pub(super) fn add(
    route: &Described,
    operation: &mut Map<String, Value>,
    components: &mut Map<String, Value>,
) {
    let own = operation.remove(CODES).unwrap_or_default();
    let own = own.as_array().map(Vec::as_slice).unwrap_or_default();
    let is_listed = |code: &Code| own.iter().any(|listed| listed == code.as_str());
    let has_body = operation.contains_key("requestBody");
    let mut by_status = BTreeMap::<u16, Vec<Code>>::new();
    for &code in Code::ALL {
        if is_listed(&code) || is_common(code, route, has_body) {
            by_status.entry(problem::status(code).as_u16()).or_default().push(code);
        }
    }
    let responses = operation.entry("responses").or_insert_with(|| json!({}));
    for (status, codes) in by_status {
        let response = &mut responses[status.to_string()];
        if response.is_object() {
            // The route's attribute has its own content for this status.
            complete(response, status, &codes);
            continue;
        }
        let name = codes.iter().map(|code| code.as_str()).collect::<Vec<_>>().join(".");
        *response = json!({ "$ref": format!("#/components/responses/{name}") });
        components.entry(name).or_insert_with(|| {
            let schema = json!({ "$ref": "#/components/schemas/Problem" });
            let content = json!({ "application/problem+json": { "schema": schema } });
            let mut response = json!({ "content": content });
            complete(&mut response, status, &codes);
            response
        });
    }
}

/// Adds what the codes of an error response mean, and its headers.
fn complete(response: &mut Value, status: u16, codes: &[Code]) {
    let meanings: Vec<String> = codes.iter().map(|&code| meaning(code)).collect();
    response["description"] = json!(meanings.join("\n"));
    response[CODES] = json!(codes);
    for name in headers(status) {
        response["headers"][name] = json!({ "$ref": format!("#/components/headers/{name}") });
    }
}

fn meaning(code: Code) -> String {
    format!("- `{}`: {}", code.as_str(), code.meaning())
}

/// Whether all routes like this one may answer with the code.
fn is_common(code: Code, route: &Described, has_body: bool) -> bool {
    let is_unsafe = route.method != "GET";
    let need = route.call.need();
    match code {
        Code::MalformedRequest
        | Code::UriTooLong
        | Code::HeadersTooLarge
        | Code::UnknownHost
        | Code::InternalError
        | Code::Overloaded
        | Code::Starting => true,
        Code::Unauthenticated | Code::RateLimited => need != Need::Open,
        Code::Forbidden => matches!(need, Need::Read | Need::Can(_)),
        Code::ForbiddenOrigin
        | Code::PayloadTooLarge
        | Code::IncompleteBody
        | Code::RequestTimeout => is_unsafe,
        Code::MalformedJson | Code::UnsupportedMediaType => has_body,
        // These ignore their query (docs/api.md, section 3).
        Code::InvalidParameter => !matches!(route.call, Call::CheckLife | Call::ReadMetrics),
        _ => false,
    }
}

/// The headers of an error response.
fn headers(status: u16) -> &'static [&'static str] {
    match status {
        401 => &["X-Request-Id", "WWW-Authenticate"],
        429 => &["X-Request-Id", "Retry-After", "RateLimit"],
        503 => &["X-Request-Id", "Retry-After"],
        _ => &["X-Request-Id"],
    }
}
