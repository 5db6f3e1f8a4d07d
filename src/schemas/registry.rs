//! The schemas as this server knows them: a compiled snapshot of the store's table.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::RwLock;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::fault::Violation;
use super::schema::Schema;
use crate::limits::LONG_CHECKS;
use crate::message::{Kind, Token};
use crate::renewal::Snapshot;
use crate::store::{SchemaRow, SchemaTable, Store, StoreError, Versions};

/// What happens to a message that does not match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is checked.
    Off,
    /// It is accepted, with a warning.
    Warn,
    /// It is refused.
    #[default]
    Enforce,
}

impl Mode {
    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Enforce => "enforce",
        }
    }
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "warn" => Ok(Self::Warn),
            "enforce" => Ok(Self::Enforce),
            _ => Err("must be off, warn or enforce"),
        }
    }
}

/// A schema that messages are checked with.
#[derive(Debug)]
pub struct Active {
    /// What happens to a message that does not match.
    pub mode: Mode,
    schema: Arc<Schema>,
    change: Uuid,
}

/// All schemas. Clones share them.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    /// Whether there are none, which a message sees without a lock.
    is_empty: AtomicBool,
    table: RwLock<Table>,
    long_checks: Semaphore,
}

#[derive(Clone, Default)]
struct Table {
    version: u64,
    by_kind: HashMap<Kind, HashMap<Token, Arc<Active>>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    /// An empty registry for the schemas of a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(Arc::new(Inner {
            store,
            is_empty: AtomicBool::new(true),
            table: RwLock::default(),
            long_checks: Semaphore::new(LONG_CHECKS),
        }))
    }

    /// The schema of a type; `None` if it has none, or one with the mode `off`.
    #[must_use]
    pub fn of(&self, kind: Kind, type_: &Token) -> Option<Arc<Active>> {
        if self.0.is_empty.load(Ordering::Acquire) {
            return None;
        }
        self.0.table.read().by_kind.get(&kind)?.get(type_).cloned()
    }

    /// Checks a message with a schema, on another thread if that could take long.
    ///
    /// # Errors
    /// Why it does not match.
    pub async fn check(
        &self,
        schema: &Arc<Schema>,
        content: &str,
        metadata: &str,
    ) -> Result<(), Violation> {
        {
            let message = schema.prepare(content, metadata)?;
            if !message.may_take_long() {
                return schema.check(&message);
            }
        }
        // As a value a message takes many times its bytes, so none waits as one.
        let _turn = self.0.long_checks.acquire().await;
        let message = schema.prepare(content, metadata)?;
        let schema = Arc::clone(schema);
        let checked = tokio::task::spawn_blocking(move || schema.check(&message)).await;
        checked.unwrap_or_else(|_| Err(Violation::one("", "could not be checked")))
    }

    /// Reads all schemas again.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn load(&self) -> Result<(), StoreError> {
        let table = self.0.store.schemas().await?;
        let before = self.0.table.read().clone();
        if table.version < before.version {
            return Ok(());
        }
        // Compiling takes up to a second a schema.
        let compiled = tokio::task::spawn_blocking(move || before.next(table)).await;
        let Ok(next) = compiled else {
            return Err(StoreError::Unavailable("schemas could not be compiled".to_owned()));
        };
        let mut current = self.0.table.write();
        if next.version >= current.version {
            self.0.is_empty.store(next.by_kind.is_empty(), Ordering::Release);
            *current = next;
        }
        Ok(())
    }
}

#[async_trait]
impl Snapshot for Registry {
    fn name(&self) -> &'static str {
        "schemas"
    }

    fn is_current(&self, stored: &Versions) -> bool {
        stored.schemas == self.0.table.read().version
    }

    async fn renew(&self) -> Result<(), StoreError> {
        self.load().await
    }
}

impl Table {
    /// The newer table, with what is compiled already. Rows that this version cannot use check nothing, and are logged.
    fn next(&self, table: SchemaTable) -> Self {
        let mut next = Self { version: table.version, ..Self::default() };
        for row in table.schemas {
            match self.active(&row) {
                Ok((_, _, active)) if active.mode == Mode::Off => {}
                Ok((kind, type_, active)) => {
                    next.by_kind.entry(kind).or_default().insert(type_, active);
                }
                Err(fault) => tracing::error!(
                    kind = row.kind,
                    type_ = row.type_,
                    version = row.version,
                    fault,
                    "a schema in the store cannot be used, so it checks nothing: put another"
                ),
            }
        }
        next
    }

    fn active(&self, row: &SchemaRow) -> Result<(Kind, Token, Arc<Active>), String> {
        let kind: Kind = row.kind.parse()?;
        let type_: Token = row.type_.parse()?;
        let known = self.by_kind.get(&kind).and_then(|types| types.get(&type_));
        if let Some(known) = known.filter(|known| known.change == row.change) {
            return Ok((kind, type_, Arc::clone(known)));
        }
        let mode = row.mode.parse()?;
        let compiled = Schema::compile(&row.schema, row.content.parse()?);
        let schema = compiled.map_err(|faults| match faults.first() {
            Some(fault) => format!("{}: {}", fault.pointer, fault.detail),
            None => "unknown".to_owned(),
        })?;
        Ok((kind, type_, Arc::new(Active { mode, schema: Arc::new(schema), change: row.change })))
    }
}

impl Active {
    /// The schema.
    #[must_use]
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }
}
