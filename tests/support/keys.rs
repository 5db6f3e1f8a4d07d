//! A server that needs keys, with a root key, and clients with the keys that a test makes.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::folder::Folder;
use super::{Deployment, Http, Mode};

/// The root key of all deployments of a test run. It is no secret.
pub const ROOT: &str = "ab_root_0123456789abcdefghijklmnopqrstuvwxyzABCDEF";

/// A deployment with `AUTH=required`.
pub struct Secured {
    pub deployment: Deployment,
    /// A client with every grant.
    pub root: Http,
    folder: Folder,
}

/// A key and a client that uses it.
#[derive(Clone)]
pub struct Keyed {
    pub id: String,
    pub key: String,
    pub http: Http,
}

impl Secured {
    pub async fn start(mode: Mode) -> Self {
        Self::tuned(mode, &[]).await
    }

    /// With these variables of the environment.
    pub async fn tuned(mode: Mode, env: &[(&str, &str)]) -> Self {
        let folder = Folder::new("keys");
        let file = root_key_file(&folder);
        let path = file.to_str().expect("a path of UTF-8").to_owned();
        let deployment = Deployment::tuned(mode, |builder| {
            let builder = builder.env("AUTH", "required").env("ROOT_KEY_FILE", &path);
            env.iter().fold(builder, |builder, (name, value)| builder.env(name, value))
        })
        .await;
        let root = deployment.http().with_key(ROOT);
        Self { deployment, root, folder }
    }

    /// A client without a key.
    pub fn stranger(&self) -> &Http {
        self.deployment.http()
    }

    /// Makes a key with these grants.
    pub async fn key(&self, grants: Value) -> Keyed {
        self.make(json!({"name": "test", "grants": grants})).await
    }

    /// Makes a key.
    pub async fn make(&self, body: Value) -> Keyed {
        let made = self.root.post_json("/v1/keys", &body).await.expect(201).json();
        let text = |name: &str| made[name].as_str().expect("a text").to_owned();
        let (id, key) = (text("id"), text("key"));
        let http = self.deployment.http().with_key(&key);
        Keyed { id, key, http }
    }

    /// Ends the root key: removes its file.
    pub fn end_root(&self) {
        std::fs::remove_file(self.folder.join("root.key")).expect("the file is removed");
    }

    /// Revokes a key.
    pub async fn revoke(&self, id: &str) {
        self.root.delete(&format!("/v1/keys/{id}")).await.expect(204);
    }
}

/// A file with the root key that its owner alone reads.
pub fn root_key_file(folder: &Folder) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.path().join("root.key");
    std::fs::write(&path, ROOT).expect("the file is written");
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&path, mode).expect("its mode is set");
    path
}
