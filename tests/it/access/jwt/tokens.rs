//! Good tokens by each algorithm, and each bad token by its name.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chrono::Utc;
use serde_json::{Value, json};

use super::me;
use crate::support::Mode;
use crate::support::folder::Folder;
use crate::support::jwt::{AUDIENCE, JwksServer, SigningKey, claims, hmac, unsigned};
use crate::support::keys::Secured;

/// One issuer for each algorithm, whose public keys are in one JWKS.
struct Issuers {
    secured: Secured,
    keys: [SigningKey; 4],
    _jwks: JwksServer,
    _folder: Folder,
}

impl Issuers {
    async fn start() -> Self {
        let keys = ["RS256", "ES256", "EdDSA", "HS256"].map(|alg| SigningKey::new(alg, alg));
        let jwks = JwksServer::of(&[&keys[0], &keys[1], &keys[2]]).await;
        let folder = Folder::new("issuers");
        let file = folder.join("issuers.toml");
        let tables: Vec<String> = keys.iter().map(|key| table(key, &jwks)).collect();
        std::fs::write(&file, tables.join("\n")).expect("the file is written");
        let file = file.to_str().expect("a path of UTF-8");
        let secured = Secured::tuned(Mode::MemorySqlite, &[("JWT_ISSUERS_FILE", file)]).await;
        Self { secured, keys, _jwks: jwks, _folder: folder }
    }

    async fn status(&self, token: &str) -> u16 {
        self.secured.stranger().with_key(token).get("/v1/me").await.status
    }

    /// Expects a refusal that names this fault.
    async fn refused(&self, what: &str, token: &str, fault: &str) {
        let answer = self.secured.stranger().with_key(token).get("/v1/me").await;
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
        assert!(answer.header("www-authenticate").is_some_and(|with| with.starts_with("Bearer")));
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains(fault), "{what}: {detail}");
    }
}

/// The issuer's name is the algorithm in lower case.
fn table(key: &SigningKey, jwks: &JwksServer) -> String {
    let (algorithm, name) = (key.id(), key.id().to_lowercase());
    let place = match algorithm {
        "HS256" => format!("secret_file = {:?}", key.file()),
        _ => format!("jwks_url = {:?}", jwks.url()),
    };
    format!(
        "[issuers.{name}]\nissuer = \"https://{name}/\"\naudience = {AUDIENCE:?}\nalgorithm = {algorithm:?}\n{place}\n\
         most = {{ as = [\"ann\", \"bob\"], publish = [\"agent.task.>\"], read = [\"agent.*.t1.>\"], can = [\"observe\"] }}"
    )
}

fn good(issuer: &str) -> Value {
    claims(
        &format!("https://{issuer}/"),
        "ann",
        &json!({"as": ["ann", "cy"], "read": ["agent.task.>"]}),
    )
}

fn with(issuer: &str, name: &str, value: Value) -> Value {
    let mut claims = good(issuer);
    claims[name] = value;
    claims
}

fn without(issuer: &str, name: &str) -> Value {
    let mut claims = good(issuer);
    claims.as_object_mut().expect("an object").remove(name);
    claims
}

#[tokio::test]
async fn a_token_of_each_algorithm_grants_what_it_and_the_issuers_most_give() {
    let issuers = Issuers::start().await;
    for key in &issuers.keys {
        let name = key.id().to_lowercase();
        let me = me(&issuers.secured.stranger().with_key(&key.token(&good(&name)))).await;
        assert_eq!((&me["id"], &me["name"]), (&json!(format!("jwt-{name}")), &json!("ann")));
        assert_eq!(me["grants"], json!({"as": ["ann"], "read": ["agent.task.t1.>"]}), "{name}");
        assert_eq!(me["kind"], "agent");
        assert!(me["expires_at"].is_string());
    }
    let key = &issuers.keys[2];
    for (what, claims) in [
        ("one of many audiences", with("eddsa", "aud", json!(["x", AUDIENCE]))),
        (
            "a time with a fraction",
            with("eddsa", "exp", json!(Utc::now().timestamp() as f64 + 60.5)),
        ),
        ("valid since now", with("eddsa", "nbf", json!(Utc::now().timestamp()))),
        ("no grants", without("eddsa", "agentbus")),
        ("further claims", with("eddsa", "roles", json!(["admin"]))),
    ] {
        assert_eq!(issuers.status(&key.token(&claims)).await, 200, "{what}");
    }
    let lone = key.token_with(&json!({"alg": "EdDSA"}), &good("eddsa"));
    assert_eq!(issuers.status(&lone).await, 200, "the only key that fits");
}

#[tokio::test]
async fn each_bad_token_is_refused_by_name() {
    let issuers = Issuers::start().await;
    let [rsa, _, ed, secret] = &issuers.keys;
    let now = Utc::now().timestamp();
    for (what, claims, fault) in [
        ("wrong audience", with("eddsa", "aud", json!("other")), "audience"),
        ("none of many audiences", with("eddsa", "aud", json!(["x", "y"])), "audience"),
        ("no audience", without("eddsa", "aud"), "audience"),
        ("wrong issuer", with("eddsa", "iss", json!("https://evil/")), "issuer (iss)"),
        ("many issuers", with("eddsa", "iss", json!(["https://eddsa/"])), "no JWT"),
        ("no issuer", without("eddsa", "iss"), "no JWT"),
        ("expired", with("eddsa", "exp", json!(now - 1)), "has expired"),
        ("expires at no time", with("eddsa", "exp", json!(-1)), "(exp)"),
        ("expires at the end of time", with("eddsa", "exp", json!(1e300)), "(exp)"),
        ("expires by a text", with("eddsa", "exp", json!("tomorrow")), "no JWT"),
        ("no expiry", without("eddsa", "exp"), "no time at which it ends"),
        ("not yet valid", with("eddsa", "nbf", json!(now + 3_600)), "not valid yet"),
        ("a wildcard as subject", with("eddsa", "sub", json!("*")), "subject (sub)"),
        ("a pattern as subject", with("eddsa", "sub", json!("agent.>")), "subject (sub)"),
        ("an empty subject", with("eddsa", "sub", json!("")), "subject (sub)"),
        ("a long subject", with("eddsa", "sub", json!("a".repeat(65))), "subject (sub)"),
        ("a slash in the subject", with("eddsa", "sub", json!("a/b")), "subject (sub)"),
        ("no subject", without("eddsa", "sub"), "subject (sub)"),
        (
            "grants of no kind",
            with("eddsa", "agentbus", json!({"fly": ["moon"]})),
            "claim agentbus",
        ),
        ("grants that are a list", with("eddsa", "agentbus", json!(["read"])), "claim agentbus"),
    ] {
        issuers.refused(what, &ed.token(&claims), fault).await;
    }
    let token = ed.token(&good("eddsa"));
    let header = |header: Value| ed.token_with(&header, &good("eddsa"));
    issuers.refused("unknown kid", &header(json!({"alg": "EdDSA", "kid": "k9"})), "(kid)").await;
    let critical = json!({"alg": "EdDSA", "kid": "EdDSA", "crit": ["x"], "x": 1});
    issuers.refused("an extension that must be understood", &header(critical), "no JWT").await;
    let [head, body, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("3 parts")
    };
    let forged = BASE64.encode(with("eddsa", "sub", json!("root")).to_string());
    for (what, token, fault) in [
        ("other claims", format!("{head}.{forged}.{signature}"), "signature"),
        ("no signature", format!("{head}.{body}."), "signature"),
        ("half a signature", format!("{head}.{body}.{}", &signature[..40]), "signature"),
        ("another signature", format!("{head}.{body}.{}", BASE64.encode([7; 64])), "signature"),
        ("two parts", format!("{head}.{body}"), "not a valid key"),
        ("four parts", format!("{token}.x"), "not a valid key"),
        ("nothing in it", "..".to_owned(), "no JWT"),
        ("no Base64", format!("{head}.{body}.!"), "no JWT"),
    ] {
        issuers.refused(what, &token, fault).await;
    }
    // Another key of the same algorithm, and one that the token brings with it.
    let stranger = SigningKey::new("EdDSA", "EdDSA");
    issuers.refused("a stranger's key", &stranger.token(&good("eddsa")), "signature").await;
    let own = json!({"alg": "EdDSA", "kid": "EdDSA", "jwk": stranger.jwk(), "jku": "http://127.0.0.1:1/"});
    let own = stranger.token_with(&own, &good("eddsa"));
    issuers.refused("a key of its own", &own, "signature").await;
    let other = SigningKey::new("HS256", "HS256");
    issuers.refused("another secret", &other.token(&good("hs256")), "signature").await;
    assert_eq!(issuers.status(&secret.token(&good("hs256"))).await, 200);
    assert_eq!(issuers.status(&rsa.token(&good("rs256"))).await, 200);
}

#[tokio::test]
async fn the_algorithm_is_the_issuers_and_not_the_tokens() {
    let issuers = Issuers::start().await;
    let [rsa, ec, ed, secret] = &issuers.keys;
    for none in ["none", "None", "NONE", ""] {
        for issuer in ["rs256", "hs256"] {
            let token = format!("{}.", unsigned(&json!({"alg": none}), &good(issuer)));
            issuers.refused("none", &token, "algorithm (alg)").await;
        }
    }
    // The public key is no secret: a token that is signed with it by HS256 must not pass.
    for (what, shared) in [("the PEM", rsa.public_pem()), ("the modulus", rsa.modulus())] {
        for kid in [json!("RS256"), Value::Null] {
            let message = unsigned(&json!({"alg": "HS256", "kid": kid}), &good("rs256"));
            let token = format!("{message}.{}", BASE64.encode(hmac(&shared, message.as_bytes())));
            issuers.refused(what, &token, "algorithm (alg)").await;
            let message = unsigned(&json!({"alg": "HS256", "kid": kid}), &good("hs256"));
            let token = format!("{message}.{}", BASE64.encode(hmac(&shared, message.as_bytes())));
            issuers.refused(what, &token, "signature").await;
        }
    }
    // A key of one issuer signs nothing for another, by whatever name.
    for (key, issuer) in
        [(ec, "rs256"), (rsa, "es256"), (ed, "es256"), (secret, "eddsa"), (ed, "hs256")]
    {
        issuers.refused(issuer, &key.token(&good(issuer)), "algorithm (alg)").await;
        let alg = match issuer {
            "eddsa" => "EdDSA".to_owned(),
            issuer => issuer.to_uppercase(),
        };
        let claimed = key.token_with(&json!({"alg": alg, "kid": key.id()}), &good(issuer));
        let fault = if issuer == "hs256" { "signature" } else { "(kid)" };
        issuers.refused(issuer, &claimed, fault).await;
    }
    let message = unsigned(&json!({"alg": "ES256", "kid": "ES256"}), &good("es256"));
    let der = format!("{message}.{}", BASE64.encode(ec.der_signature(&message)));
    issuers.refused("a signature in DER", &der, "signature").await;
    let zeros = format!("{message}.{}", BASE64.encode([0; 64]));
    issuers.refused("a signature of zeros", &zeros, "signature").await;
}
