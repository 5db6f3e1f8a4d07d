//! Payload schemas (contract, section 13).

use serde_json::Value;
use utoipa::ToSchema;

use super::base::{Name, Time};
use super::messages::Kind;

/// What a message of the type has in `content`.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum ContentForm {
    Text,
    Json,
}

/// What happens to a message that does not match: nothing, a warning, or 422.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum SchemaMode {
    Off,
    Warn,
    Enforce,
}

/// A version of a schema to make.
#[derive(ToSchema)]
#[schema(example = json!({
    "schema": {"properties": {"content": {"type": "object", "required": ["verdict"]}}}, "content": "json", "mode": "enforce"
}))]
pub struct NewPayloadSchema {
    /// JSON Schema 2020-12 for `{content, metadata}`, without references outside of itself.
    #[schema(value_type = Object)]
    schema: Value,
    /// The default is `text`.
    #[schema(required = false)]
    content: ContentForm,
    /// The default is `enforce`.
    #[schema(required = false)]
    mode: SchemaMode,
}

/// A version of a schema.
#[derive(ToSchema)]
pub struct PayloadSchema {
    kind: Kind,
    r#type: Name,
    version: u64,
    mode: SchemaMode,
    content: ContentForm,
    /// JSON Schema 2020-12 for `{content, metadata}`. Not in lists.
    #[schema(required = false, value_type = Value)]
    schema: Value,
    created_at: Time,
    /// The id of the key that made it. Null if none did.
    #[schema(required = true)]
    created_by: Option<String>,
}

/// The newest version of each schema.
#[derive(ToSchema)]
pub struct PayloadSchemaList {
    schemas: Vec<PayloadSchema>,
}

/// The versions of a schema, newest first.
#[derive(ToSchema)]
pub struct PayloadSchemaVersions {
    versions: Vec<PayloadSchema>,
}

/// What a schema would have refused.
#[derive(ToSchema)]
pub struct Incompatible {
    /// How many of the last 1,000 messages of the type the schema would refuse.
    incompatible: u64,
}

one_of! {
    /// The version; with `check=true`, what it would have refused.
    VersionOrCheck: PayloadSchema, Incompatible
}
