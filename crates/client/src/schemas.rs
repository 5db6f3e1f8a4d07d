//! Payload schemas: what the messages of a type must be (contract, section 13).

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::client::Client;
use crate::document::{Document, list, read};
use crate::error::Error;

/// A version of a schema.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Schema {
    /// The kind of its messages: `message`, `status` or `task`.
    pub kind: String,
    /// The type of its messages.
    #[serde(rename = "type")]
    pub type_: String,
    /// From 1 on; the newest counts.
    pub version: u64,
    /// `off`, `warn` or `enforce`.
    pub mode: String,
    /// What `content` is: `text`, or `json` in a text.
    pub content: String,
    /// JSON Schema 2020-12 for `{content, metadata}`; not in the list of schemas.
    pub schema: Option<Box<RawValue>>,
    /// When the version was made (RFC 3339).
    pub created_at: String,
    /// The key that made it.
    pub created_by: Option<String>,
}

/// A schema to put. A field that is `None` gets the server's default.
#[derive(Clone, Debug, Serialize)]
pub struct NewSchema {
    /// JSON Schema 2020-12 for `{content, metadata}`.
    pub schema: Box<RawValue>,
    /// `text` or `json`; `None` is `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// `off`, `warn` or `enforce`; `None` is `enforce`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

#[derive(Deserialize)]
struct Incompatible {
    incompatible: u64,
}

impl Client {
    /// The newest version of each schema, without the schemas themselves.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn schemas(&self) -> Result<Vec<Document<Schema>>, Error> {
        list(&self.call(self.get("/v1/schemas", &[])).await?, "schemas")
    }

    /// The newest version of the schema of a type.
    ///
    /// # Errors
    /// There is none; the server refuses or cannot be reached.
    pub async fn schema(&self, kind: &str, type_: &str) -> Result<Document<Schema>, Error> {
        self.call(self.get(&path(kind, type_), &[])).await.map(Document::new)
    }

    /// The versions of the schema of a type that are kept, newest first.
    ///
    /// # Errors
    /// There is none; the server refuses or cannot be reached.
    pub async fn schema_versions(
        &self,
        kind: &str,
        type_: &str,
    ) -> Result<Vec<Document<Schema>>, Error> {
        let path = format!("{}/versions", path(kind, type_));
        list(&self.call(self.get(&path, &[])).await?, "versions")
    }

    /// Makes a new version of the schema of a type; none if it is as the newest is.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn put_schema(
        &self,
        kind: &str,
        type_: &str,
        schema: &NewSchema,
    ) -> Result<Document<Schema>, Error> {
        let request = self.request(Method::PUT, &path(kind, type_), &[]);
        self.call(request.json(schema)).await.map(Document::new)
    }

    /// How many of the last 1,000 messages of a type a schema would refuse. Stores nothing.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn check_schema(
        &self,
        kind: &str,
        type_: &str,
        schema: &NewSchema,
    ) -> Result<u64, Error> {
        let query = [("check", "true".to_owned())];
        let request = self.request(Method::PUT, &path(kind, type_), &query);
        let checked: Incompatible = read(&self.call(request.json(schema)).await?)?;
        Ok(checked.incompatible)
    }

    /// Deletes the schema of a type with all its versions.
    ///
    /// # Errors
    /// There is none; the server refuses or cannot be reached.
    pub async fn delete_schema(&self, kind: &str, type_: &str) -> Result<(), Error> {
        self.call_ending(self.request(Method::DELETE, &path(kind, type_), &[]), 404).await.map(drop)
    }
}

fn path(kind: &str, type_: &str) -> String {
    format!("/v1/schemas/{kind}/{type_}")
}
