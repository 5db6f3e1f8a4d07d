//! Payload schemas: put, list, read, try, delete (contract, section 13).
//!
//! Invariants: a schema is stored only if it can be compiled, and cannot be slow. When a call returns, this server holds
//! to the change.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::audit::Audit;
use super::calls::Call;
use super::{Code, Error};
use crate::access::Principal;
use crate::clock::Clock;
use crate::limits::{
    CHECKED_MESSAGES, CHECKED_PAGES, MAX_PAGE_BYTES, MAX_SCHEMA_VERSIONS, MAX_SCHEMAS,
};
use crate::message::{
    FieldError, Filter, Kind, ObjectReader, Query, Token, content_and_metadata, format_micros,
    truncate_to_micros,
};
use crate::schemas::{ContentForm, Mode, Registry, Schema as Compiled};
use crate::store::{SchemaRow, Store, Stored};
use crate::yielding::yield_between_items;

/// The deepest that the JSON of a schema nests, as deep as it can be read again.
const DEPTH: usize = 120;

/// A version of a schema, as the API shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Schema {
    kind: String,
    #[serde(rename = "type")]
    type_: String,
    version: u64,
    mode: String,
    content: String,
    /// Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<Box<RawValue>>,
    created_at: String,
    created_by: Option<String>,
    #[serde(skip)]
    is_first: bool,
}

/// A schema to be put.
#[derive(Clone, Debug)]
pub struct NewSchema {
    /// JSON without white space.
    json: String,
    content: ContentForm,
    mode: Mode,
}

/// Manages the payload schemas of a deployment.
pub struct Schemas {
    pub(super) store: Arc<dyn Store>,
    pub(super) registry: Registry,
    pub(super) audit: Audit,
    pub(super) clock: Clock,
    /// Lets one call at a time compile a schema or try one on messages.
    pub(super) turn: Semaphore,
}

impl NewSchema {
    /// Reads a schema from JSON: `{schema, content?, mode?}`.
    ///
    /// # Errors
    /// All invalid members together.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let mut form = ObjectReader::parse(json).map_err(Error::unreadable_body)?;
        let schema = form.required_raw("schema");
        let json = schema.and_then(|schema| form.compact("schema", schema, DEPTH));
        let content = form.text("content", str::parse).unwrap_or_default();
        let mode = form.text("mode", str::parse).unwrap_or_default();
        let new = json.map(|json| Self { json, content, mode });
        form.finish("a schema", new).map_err(Error::unreadable_body)
    }

    async fn compile(&self) -> Result<Arc<Compiled>, Error> {
        let (json, content) = (self.json.clone(), self.content);
        let compiled = tokio::task::spawn_blocking(move || Compiled::compile(&json, content)).await;
        let compiled = compiled.map_err(|error| Error::internal(error.to_string()))?;
        compiled.map(Arc::new).map_err(|faults| {
            let below = |FieldError { pointer, detail }| FieldError {
                pointer: format!("/schema{pointer}"),
                detail,
            };
            Error::body(faults.into_iter().map(below).collect())
        })
    }
}

impl Schema {
    /// Whether it is the first version of its type.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.is_first
    }

    fn listed(row: SchemaRow) -> Self {
        Self {
            kind: row.kind,
            type_: row.type_,
            version: row.version,
            mode: row.mode,
            content: row.content,
            schema: None,
            created_at: format_micros(row.created_at),
            created_by: row.created_by,
            is_first: false,
        }
    }

    fn whole(row: SchemaRow) -> Self {
        let schema = RawValue::from_string(row.schema.clone()).ok();
        Self { schema, ..Self::listed(row) }
    }
}

impl Schemas {
    /// Stores a schema as the next version of its type, and checks messages with it from then on. One that is as the
    /// newest version is makes none.
    ///
    /// # Errors
    /// The caller lacks a grant; the schema cannot be used; there are too many; the store is unavailable.
    pub async fn put(
        &self,
        principal: &Principal,
        kind: Kind,
        type_: &Token,
        new: NewSchema,
    ) -> Result<Schema, Error> {
        Call::PutSchema.check(principal)?;
        let turn = self.turn.acquire().await;
        new.compile().await?;
        drop(turn);
        let before = self.newest(kind, type_).await?;
        if let Some(before) = &before
            && before.schema == new.json
            && before.content == new.content.as_str()
            && before.mode == new.mode.as_str()
        {
            return Ok(Schema::whole(before.clone()));
        }
        let row = SchemaRow {
            kind: kind.as_str().to_owned(),
            type_: type_.to_string(),
            version: 0,
            schema: new.json,
            content: new.content.as_str().to_owned(),
            mode: new.mode.as_str().to_owned(),
            created_at: truncate_to_micros(self.clock.now()),
            created_by: principal.identity().map(Cow::into_owned),
            change: Uuid::new_v4(),
        };
        let stored = self.store.put_schema(&row, MAX_SCHEMAS, MAX_SCHEMA_VERSIONS).await?;
        let Some(version) = stored else {
            let detail = format!(
                "there are {MAX_SCHEMAS} schemas, as many as there may be: delete some first"
            );
            return Err(Error::new(Code::TooManySchemas, detail));
        };
        let detail = json!({ "version": version, "mode": row.mode, "content": row.content });
        self.audit.done(principal, "schema.put", &target(kind, type_), detail).await;
        self.registry.load().await?;
        Ok(Schema { is_first: before.is_none(), ..Schema::whole(SchemaRow { version, ..row }) })
    }

    /// How many of the last messages of a type, of those that the caller may read, a schema would not match. Stores
    /// nothing.
    ///
    /// # Errors
    /// The caller lacks a grant; the schema cannot be used; the store is unavailable.
    pub async fn check(
        &self,
        principal: &Principal,
        kind: Kind,
        type_: &Token,
        new: NewSchema,
    ) -> Result<usize, Error> {
        Call::PutSchema.check(principal)?;
        let _turn = self.turn.acquire().await;
        let schema = new.compile().await?;
        let mut filter = Filter::default();
        for (name, value) in [("kind", kind.as_str()), ("type", type_.as_str())] {
            if let Some(Err(rule)) = filter.parse_parameter(name, value) {
                return Err(Error::internal(rule));
            }
        }
        let mut query = Query {
            filter: filter.within(principal.scope()),
            after: None,
            before: None,
            since: None,
            until: None,
            between: None,
            limit: CHECKED_MESSAGES,
            limit_bytes: MAX_PAGE_BYTES,
            descending: true,
        };
        let mut incompatible = 0;
        for _ in 0..CHECKED_PAGES {
            let page = self.store.page(&query).await?;
            query.limit -= page.messages.len();
            incompatible += self.incompatible(&schema, &page.messages).await;
            query.before = page.next;
            if page.next.is_none() || query.limit == 0 {
                break;
            }
        }
        Ok(incompatible)
    }

    /// How many messages do not match a schema.
    async fn incompatible(&self, schema: &Arc<Compiled>, messages: &[Stored]) -> usize {
        let mut count = 0;
        for (at, message) in messages.iter().enumerate() {
            yield_between_items(at).await;
            let matches = match content_and_metadata(&message.body) {
                None => false,
                Some((content, metadata)) => {
                    self.registry.check(schema, &content, metadata).await.is_ok()
                }
            };
            count += usize::from(!matches);
        }
        count
    }

    /// The newest version of each schema, by kind and type, without the schemas themselves.
    ///
    /// # Errors
    /// The caller lacks a grant; the store is unavailable.
    pub async fn all(&self, principal: &Principal) -> Result<Vec<Schema>, Error> {
        Call::ListSchemas.check(principal)?;
        let table = self.store.schemas().await?;
        Ok(table.schemas.into_iter().map(Schema::listed).collect())
    }

    /// The newest version of one schema.
    ///
    /// # Errors
    /// The caller lacks a grant; there is none; the store is unavailable.
    pub async fn one(
        &self,
        principal: &Principal,
        kind: Kind,
        type_: &Token,
    ) -> Result<Schema, Error> {
        Call::ReadSchema.check(principal)?;
        let newest = self.newest(kind, type_).await?;
        newest.map(Schema::whole).ok_or_else(Self::missing)
    }

    /// The versions of one schema that are kept, newest first.
    ///
    /// # Errors
    /// The caller lacks a grant; there is none; the store is unavailable.
    pub async fn versions(
        &self,
        principal: &Principal,
        kind: Kind,
        type_: &Token,
    ) -> Result<Vec<Schema>, Error> {
        Call::ReadSchemaVersions.check(principal)?;
        let rows = self.store.schema_versions(kind.as_str(), type_.as_str(), MAX_SCHEMA_VERSIONS);
        let rows = rows.await?;
        if rows.is_empty() {
            return Err(Self::missing());
        }
        Ok(rows.into_iter().map(Schema::whole).collect())
    }

    /// Deletes a schema with all its versions.
    ///
    /// # Errors
    /// The caller lacks a grant; there is none; the store is unavailable.
    pub async fn delete(
        &self,
        principal: &Principal,
        kind: Kind,
        type_: &Token,
    ) -> Result<(), Error> {
        Call::DeleteSchema.check(principal)?;
        if !self.store.delete_schema(kind.as_str(), type_.as_str()).await? {
            return Err(Self::missing());
        }
        self.audit.done(principal, "schema.delete", &target(kind, type_), json!({})).await;
        Ok(self.registry.load().await?)
    }

    /// The error for a schema that does not exist.
    #[must_use]
    pub fn missing() -> Error {
        Error::not_found("there is no schema for this kind and type")
    }

    async fn newest(&self, kind: Kind, type_: &Token) -> Result<Option<SchemaRow>, Error> {
        let rows = self.store.schema_versions(kind.as_str(), type_.as_str(), 1).await?;
        Ok(rows.into_iter().next())
    }
}

fn target(kind: Kind, type_: &Token) -> String {
    format!("{}/{type_}", kind.as_str())
}
