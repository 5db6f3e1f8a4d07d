//! Keys on the store itself, through the same service as over HTTP.
//!
//! The operator of a store may do everything. Servers learn of a change as they do of another server's.

use std::sync::Arc;
use std::time::Duration;

use agentbus_client::{Document, Key, NewKey, Problem};
use serde::Serialize;

use crate::access::Principal;
use crate::cli::failure::Failure;
use crate::cli::own_store;
use crate::cli::serve::configuration;
use crate::cli::serve_args::Overrides;
use crate::clock::Clock;
use crate::services::keys::{self, Keys};
use crate::services::{Code, Error};
use crate::store::Store;

/// The keys of a store.
pub struct StoreKeys {
    store: Arc<dyn Store>,
    keys: Keys,
    operator: Principal,
}

impl StoreKeys {
    /// Opens the store of the settings; creates a SQLite file only if `create` is set.
    ///
    /// # Errors
    /// A setting is wrong, or the store does not exist or cannot be opened.
    pub async fn open(settings: &Overrides, create: bool) -> Result<Self, Failure> {
        let config = configuration(settings, Vec::new())?;
        if !create {
            own_store::check_exists(&config.store)
                .map_err(|fault| format!("{fault}; for the keys of a server set AGENTBUS_KEY"))?;
        }
        let store = own_store::open(&config.store).await?;
        let keys = Keys::on_store(Arc::clone(&store), Clock::system());
        Ok(Self { store, keys, operator: Principal::operator() })
    }

    /// All keys.
    ///
    /// # Errors
    /// As over HTTP, and so for all methods.
    pub async fn all(&self) -> Result<Vec<Document<Key>>, Failure> {
        let all = self.keys.all(&self.operator).await.map_err(failure)?;
        all.iter().map(document).collect()
    }

    /// One key.
    pub async fn one(&self, id: &str) -> Result<Document<Key>, Failure> {
        document(&self.keys.one(&self.operator, id).await.map_err(failure)?)
    }

    /// Makes a key.
    pub async fn create(&self, new: &NewKey) -> Result<Document<Key>, Failure> {
        let body = serde_json::to_vec(new).map_err(|error| error.to_string())?;
        let new = keys::NewKey::parse(&body).map_err(failure)?;
        document(&self.keys.create(&self.operator, new).await.map_err(failure)?)
    }

    /// Gives a key a new secret.
    pub async fn rotate(&self, id: &str, overlap: Duration) -> Result<Document<Key>, Failure> {
        document(&self.keys.rotate(&self.operator, id, overlap).await.map_err(failure)?)
    }

    /// Enables a key that a restore has disabled.
    pub async fn enable(&self, id: &str) -> Result<Document<Key>, Failure> {
        document(&self.keys.enable(&self.operator, id).await.map_err(failure)?)
    }

    /// Revokes a key.
    pub async fn revoke(&self, id: &str) -> Result<(), Failure> {
        self.keys.revoke(&self.operator, id).await.map_err(failure)
    }

    /// Closes the store.
    pub async fn close(self) {
        self.store.close().await;
    }
}

fn document(value: &impl Serialize) -> Result<Document<Key>, Failure> {
    let json = serde_json::to_vec(value).map_err(|error| error.to_string())?;
    Ok(Document::new(json.into()))
}

/// The error with every fault, as a client shows it.
fn failure(error: Error) -> Failure {
    let Error { report } = error;
    if report.code == Code::InternalError
        && let Some(cause) = report.cause
    {
        return Failure::Failed(cause);
    }
    let problem = serde_json::to_value(&report).and_then(serde_json::from_value::<Problem>);
    match problem {
        Ok(problem) => Failure::from(agentbus_client::Error::Refused(Box::new(problem))),
        Err(_) => Failure::Failed(report.detail),
    }
}
