//! Tokens of identity providers.

mod bearers;
mod files;
mod jwks;
mod tokens;

use serde_json::{Value, json};

use crate::support::folder::Folder;
use crate::support::jwt::{AUDIENCE, JwksServer, SigningKey, claims};
use crate::support::keys::Secured;
use crate::support::{Http, Mode};

/// The issuer of most tests.
const ISSUER: &str = "https://login.example.com/";

/// A server that accepts the tokens of one issuer, `corp`, by Ed25519.
struct Corp {
    secured: Secured,
    key: SigningKey,
    jwks: JwksServer,
    folder: Folder,
}

impl Corp {
    /// An issuer whose tokens may grant everything; `more` are further lines of its table.
    async fn start(mode: Mode, more: &str) -> Self {
        let key = SigningKey::new("EdDSA", "k1");
        let jwks = JwksServer::of(&[&key]).await;
        let folder = Folder::new("issuers");
        let file = folder.join("issuers.toml");
        std::fs::write(&file, corp(&jwks, more)).expect("the file is written");
        let file = file.to_str().expect("a path of UTF-8");
        let secured = Secured::tuned(mode, &[("JWT_ISSUERS_FILE", file)]).await;
        Self { secured, key, jwks, folder }
    }

    /// A token of this subject for ten minutes.
    fn token(&self, subject: &str, grants: &Value) -> String {
        self.key.token(&claims(ISSUER, subject, grants))
    }

    /// A client with such a token.
    fn client(&self, subject: &str, grants: &Value) -> Http {
        self.secured.stranger().with_key(&self.token(subject, grants))
    }
}

/// A file with the issuer `corp`.
fn corp(jwks: &JwksServer, more: &str) -> String {
    let most = match more.contains("most") {
        true => "",
        false => {
            r#"most = { as = ["*"], publish = ["agent.>"], read = ["agent.>"], enqueue = ["*"], work = ["*"],
                can = ["observe", "process", "webhooks", "keys"] }"#
        }
    };
    format!(
        "[issuers.corp]\nissuer = {ISSUER:?}\naudience = {AUDIENCE:?}\nalgorithm = \"EdDSA\"\njwks_url = {:?}\n\
         {most}\n{more}\n",
        jwks.url()
    )
}

/// What a token may do by the server's word.
async fn me(http: &Http) -> Value {
    http.get("/v1/me").await.expect(200).json()
}

/// A message by this sender.
fn message(sender: &str) -> Value {
    json!({"kind": "message", "type": "note", "sender_id": sender})
}
