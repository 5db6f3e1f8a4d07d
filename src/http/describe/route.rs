//! A route as its handler's attribute describes it.

use serde_json::Value;
use utoipa::openapi::{RefOr, Schema};

use crate::services::calls::Call;

/// A route with its description.
pub struct Described {
    pub call: Call,
    /// The method in upper case.
    pub method: String,
    pub path: String,
    /// The operation object (OpenAPI 3.1).
    pub operation: Value,
    /// The schemas that the operation refers to.
    pub schemas: Vec<(String, RefOr<Schema>)>,
}
