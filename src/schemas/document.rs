//! `{content, metadata}` of a message as a value.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::fault::Violation;

/// What `content` is for a schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentForm {
    /// A string.
    #[default]
    Text,
    /// The value that its text, which must be JSON, stands for.
    Json,
}

impl ContentForm {
    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl FromStr for ContentForm {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be text or json"),
        }
    }
}

/// The value that a schema describes. `metadata` is a JSON object.
///
/// # Errors
/// `content` should be JSON and is not, or a part cannot be read as a value.
pub(super) fn document(
    form: ContentForm,
    content: &str,
    metadata: &str,
) -> Result<Value, Violation> {
    let content = match form {
        ContentForm::Text => Value::String(content.to_owned()),
        ContentForm::Json => serde_json::from_str(content).map_err(|error| {
            Violation::one("/content", format!("must be a text that is JSON: {error}"))
        })?,
    };
    // A number may be larger than any that a program computes with.
    let metadata: Value = serde_json::from_str(metadata)
        .map_err(|error| Violation::one("/metadata", format!("cannot be checked: {error}")))?;
    let members = [("content".to_owned(), content), ("metadata".to_owned(), metadata)];
    Ok(Value::Object(Map::from_iter(members)))
}
