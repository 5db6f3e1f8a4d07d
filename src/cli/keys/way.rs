//! The two ways to the keys: the API of a server, or the store itself.

use std::time::Duration;

use agentbus_client::{Client, Document, Key, NewKey};

use super::on_store::StoreKeys;
use crate::cli::failure::Failure;

/// A way to the keys.
pub enum Way {
    /// Over HTTP.
    Server(Client),
    /// On the store.
    Store(StoreKeys),
}

impl Way {
    /// All keys.
    ///
    /// # Errors
    /// The server or store refuses or cannot be reached; so for all methods.
    pub async fn all(&self) -> Result<Vec<Document<Key>>, Failure> {
        match self {
            Self::Server(client) => Ok(client.keys().await?),
            Self::Store(keys) => keys.all().await,
        }
    }

    /// One key.
    pub async fn one(&self, id: &str) -> Result<Document<Key>, Failure> {
        match self {
            Self::Server(client) => Ok(client.key(id).await?),
            Self::Store(keys) => keys.one(id).await,
        }
    }

    /// Makes a key.
    pub async fn create(&self, new: &NewKey) -> Result<Document<Key>, Failure> {
        match self {
            Self::Server(client) => Ok(client.create_key(new).await?),
            Self::Store(keys) => keys.create(new).await,
        }
    }

    /// Gives a key a new secret.
    pub async fn rotate(&self, id: &str, overlap: Duration) -> Result<Document<Key>, Failure> {
        match self {
            Self::Server(client) => Ok(client.rotate_key(id, overlap.as_secs()).await?),
            Self::Store(keys) => keys.rotate(id, overlap).await,
        }
    }

    /// Revokes a key.
    pub async fn revoke(&self, id: &str) -> Result<(), Failure> {
        match self {
            Self::Server(client) => Ok(client.revoke_key(id).await?),
            Self::Store(keys) => keys.revoke(id).await,
        }
    }

    /// Closes the store.
    pub async fn close(self) {
        if let Self::Store(keys) = self {
            keys.close().await;
        }
    }
}
