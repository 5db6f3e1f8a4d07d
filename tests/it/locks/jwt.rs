//! An operator of NATS with an account and a user, as `nsc` makes them: tokens signed with nkeys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

use super::document::Allowed;

/// Keys, and the configuration of a server that trusts the operator.
pub struct Operator {
    account: KeyPair,
    pub config: String,
}

impl Operator {
    pub fn new() -> Self {
        let (operator, system, account) =
            (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
        let own = token(&operator, &operator, "operator", json!({}));
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        });
        let mut with_jetstream = limits.clone();
        for limit in ["mem_storage", "disk_storage", "streams", "consumer"] {
            with_jetstream[limit] = json!(-1);
        }
        let system_token = token(&operator, &system, "account", json!({"limits": limits}));
        let account_token =
            token(&operator, &account, "account", json!({"limits": with_jetstream}));
        let (system, account_key) = (system.public_key(), account.public_key());
        let config = format!(
            "operator: {own}\nsystem_account: {system}\nresolver: MEMORY\n\
             resolver_preload: {{ {system}: {system_token}, {account_key}: {account_token} }}"
        );
        Self { account, config }
    }

    /// A `.creds` file of a user with these permissions.
    pub fn creds(&self, allowed: &Allowed) -> String {
        let user = KeyPair::new_user();
        let claims = json!({
            "pub": {"allow": allowed.publish}, "sub": {"allow": allowed.subscribe}, "subs": -1, "data": -1, "payload": -1,
        });
        let token = token(&self.account, &user, "user", claims);
        let seed = user.seed().expect("a seed");
        format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }
}

fn token(issuer: &KeyPair, subject: &KeyPair, kind: &str, mut claims: Value) -> String {
    claims["type"] = json!(kind);
    claims["version"] = json!(2);
    let (issuer_key, subject) = (issuer.public_key(), subject.public_key());
    let claims = json!({"jti": subject, "iat": 1, "iss": issuer_key, "name": kind, "sub": subject, "nats": claims});
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(json!({"typ": "JWT", "alg": "ed25519-nkey"})), part(claims));
    let signature = issuer.sign(signed.as_bytes()).expect("signed");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
