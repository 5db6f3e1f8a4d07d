//! The description of the interface: OpenAPI 3.1 and AsyncAPI 3.0 documents (contract, section 12).
//!
//! Invariant: both are made from the table of routes, the attributes of the handlers, and the codes of errors. A route
//! without a description does not build; `tests/it/describe` holds the rest against what the server takes and answers.

mod asyncapi;
mod errors;
mod openapi;
pub(super) mod params;
mod route;
pub(super) mod schemas;

use std::sync::OnceLock;

use axum::extract::State;
use axum::response::Response;
use serde_json::Value;

use super::encode::json;
use super::params::NoParams;
pub(super) use route::Described;

/// Makes the documents, each once, from all routes.
#[derive(Clone, Copy)]
pub(super) struct Documents(pub(super) fn() -> Vec<Described>);

impl Documents {
    pub(super) fn openapi(self) -> &'static Value {
        static DOCUMENT: OnceLock<Value> = OnceLock::new();
        DOCUMENT.get_or_init(|| openapi::document((self.0)()))
    }

    fn asyncapi(self) -> &'static Value {
        static DOCUMENT: OnceLock<Value> = OnceLock::new();
        DOCUMENT.get_or_init(|| asyncapi::document(self.openapi()))
    }
}

/// Describes all routes: OpenAPI 3.1.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "Server",
    responses((status = 200, description = "This document.", body = Object)),
)]
pub(super) async fn openapi(State(documents): State<Documents>, _: NoParams) -> Response {
    json(documents.openapi())
}

/// Describes subjects, messages, the events of streams and webhooks: AsyncAPI 3.0.
#[utoipa::path(
    get,
    path = "/asyncapi.json",
    tag = "Server",
    responses((status = 200, description = "The AsyncAPI document.", body = Object)),
)]
pub(super) async fn asyncapi(State(documents): State<Documents>, _: NoParams) -> Response {
    json(documents.asyncapi())
}
