//! Identity providers of tests: tokens signed by OpenSSL, so not by the library that verifies them, and a server of
//! their keys that can be slow, huge or away.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::folder::Folder;

/// The audience of all issuers of tests.
pub const AUDIENCE: &str = "agentbus";

/// A key that signs tokens.
pub struct SigningKey {
    algorithm: &'static str,
    id: String,
    /// The secret of HS256, or the private key's file.
    key: PathBuf,
    folder: Folder,
}

/// What the server of keys does with a request.
#[derive(Clone)]
pub enum Jwks {
    /// Answers with this document.
    Document(Value),
    /// Answers with a document of 10 MB, with or without saying so first.
    Huge { says_so: bool },
    /// Takes the request and says nothing.
    Hang,
    /// Begins an answer and never ends it.
    HangInside,
    /// Sends the client elsewhere.
    Redirect(String),
}

/// A server of keys on loopback.
pub struct JwksServer {
    port: u16,
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

struct Shared {
    answer: Mutex<Jwks>,
    requests: AtomicUsize,
}

/// Claims of a token that is valid for ten minutes.
pub fn claims(issuer: &str, subject: &str, grants: &Value) -> Value {
    let now = Utc::now();
    json!({
        "iss": issuer, "aud": AUDIENCE, "sub": subject, "iat": now.timestamp(),
        "exp": (now + TimeDelta::minutes(10)).timestamp(), "agentbus": grants,
    })
}

impl SigningKey {
    /// A new key of HS256, RS256, ES256 or EdDSA.
    pub fn new(algorithm: &'static str, id: &str) -> Self {
        let folder = Folder::new("jwt");
        let key = folder.join("key");
        let kind: &[&str] = match algorithm {
            "RS256" => &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            "ES256" => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            "EdDSA" => &["-algorithm", "ED25519"],
            _ => &[],
        };
        if kind.is_empty() {
            let secret = format!("{:032x}{:032x}", fastrand::u128(..), fastrand::u128(..));
            std::fs::write(&key, format!("{secret}\n")).expect("the secret is written");
        } else {
            let file = key.to_str().expect("a path of UTF-8");
            openssl(&[&["genpkey", "-out", file], kind].concat(), b"");
        }
        private(&key);
        Self { algorithm, id: id.to_owned(), key, folder }
    }

    /// The file with the secret of HS256.
    pub fn file(&self) -> &str {
        self.key.to_str().expect("a path of UTF-8")
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public key as PEM.
    pub fn public_pem(&self) -> Vec<u8> {
        openssl(&["pkey", "-in", self.file(), "-pubout"], b"")
    }

    /// The public key as an entry of a JWKS.
    pub fn jwk(&self) -> Value {
        let der = openssl(&["pkey", "-in", self.file(), "-pubout", "-outform", "DER"], b"");
        let last = |from: usize, to: usize| BASE64.encode(&der[der.len() - from..der.len() - to]);
        let key = match self.algorithm {
            "RS256" => json!({"kty": "RSA", "n": BASE64.encode(self.modulus()), "e": "AQAB"}),
            "ES256" => json!({"kty": "EC", "crv": "P-256", "x": last(64, 32), "y": last(32, 0)}),
            _ => json!({"kty": "OKP", "crv": "Ed25519", "x": last(32, 0)}),
        };
        let mut key = key;
        (key["kid"], key["alg"], key["use"]) =
            (json!(self.id), json!(self.algorithm), json!("sig"));
        key
    }

    /// The modulus of an RSA key.
    pub fn modulus(&self) -> Vec<u8> {
        let text = openssl(&["rsa", "-in", self.file(), "-noout", "-modulus"], b"");
        let text = String::from_utf8(text).expect("text");
        let hex = text.trim().strip_prefix("Modulus=").expect("a modulus");
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        (0..hex.len()).step_by(2).map(byte).collect()
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.algorithm, "typ": "JWT", "kid": self.id}), claims)
    }

    /// A token with this header, whatever it says.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        let signature = match self.algorithm {
            "HS256" => {
                let secret = std::fs::read_to_string(&self.key).expect("the secret");
                hmac(secret.trim().as_bytes(), message.as_bytes())
            }
            "EdDSA" => {
                let file = self.folder.join(&format!("message-{:x}", fastrand::u64(..)));
                std::fs::write(&file, &message).expect("the message is written");
                let file = file.to_str().expect("a path of UTF-8");
                openssl(&["pkeyutl", "-sign", "-inkey", self.file(), "-rawin", "-in", file], b"")
            }
            "ES256" => fixed(&self.der_signature(&message)),
            _ => self.der_signature(&message),
        };
        format!("{message}.{}", BASE64.encode(signature))
    }

    /// The signature as OpenSSL writes it: for ES256 not as a token has it.
    pub fn der_signature(&self, message: &str) -> Vec<u8> {
        openssl(&["dgst", "-sha256", "-sign", self.file()], message.as_bytes())
    }
}

/// Header and claims of a token, encoded.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

/// HMAC with SHA-256, by OpenSSL.
pub fn hmac(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = format!("hexkey:{hex}");
    openssl(&["dgst", "-sha256", "-mac", "HMAC", "-macopt", &key, "-binary"], message)
}

/// Makes a file its owner's alone.
pub fn private(file: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(file, mode).expect("its mode is set");
}

fn openssl(args: &[&str], input: &[u8]) -> Vec<u8> {
    let command = Command::new("openssl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = command.expect("openssl runs");
    child.stdin.take().expect("a pipe").write_all(input).expect("openssl reads");
    let output = child.wait_with_output().expect("openssl ends");
    assert!(output.status.success(), "openssl {args:?}");
    output.stdout
}

/// The two numbers of a signature in DER, 32 bytes each (RFC 7518, section 3.4).
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let (length, number) = (usize::from(rest[1]), &rest[2..]);
        let (number, after) = number.split_at(length);
        let plain = &number[number.len().saturating_sub(32)..];
        numbers.extend(std::iter::repeat_n(0, 32 - plain.len()));
        numbers.extend_from_slice(plain);
        rest = after;
    }
    numbers
}

impl JwksServer {
    /// A server that answers so.
    pub async fn start(answer: Jwks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared { answer: Mutex::new(answer), requests: AtomicUsize::new(0) });
        let task = Some(tokio::spawn(accept(listener, Arc::clone(&shared))));
        Self { port, shared, task }
    }

    /// A server of these keys.
    pub async fn of(keys: &[&SigningKey]) -> Self {
        Self::start(Jwks::of(keys)).await
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/keys", self.port)
    }

    /// Answers so from now on.
    pub fn set(&self, answer: Jwks) {
        *self.shared.answer.lock().expect("no panic") = answer;
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Ends it: connections are refused.
    pub async fn kill(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for JwksServer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Jwks {
    /// The document of these keys.
    pub fn of(keys: &[&SigningKey]) -> Self {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        Self::Document(json!({ "keys": keys }))
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        shared.requests.fetch_add(1, Ordering::SeqCst);
        let answer = shared.answer.lock().expect("no panic").clone();
        tokio::spawn(async move { serve(client, answer).await });
    }
}

/// Answers one request. Then the connection ends, so that no later request gets an answer that was set before.
async fn serve(mut client: TcpStream, answer: Jwks) -> std::io::Result<()> {
    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    match answer {
        Jwks::Document(document) => {
            let body = document.to_string();
            let head = format!("{OK}content-length: {}\r\n\r\n{body}", body.len());
            client.write_all(head.as_bytes()).await?;
        }
        Jwks::Huge { says_so } => {
            let body = format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(10_000_000));
            let length = format!("content-length: {}\r\n", body.len());
            let head = format!("{OK}{}\r\n", if says_so { &length } else { "" });
            client.write_all(head.as_bytes()).await?;
            client.write_all(body.as_bytes()).await?;
        }
        Jwks::Hang => std::future::pending().await,
        Jwks::HangInside => {
            client.write_all(format!("{OK}content-length: 100\r\n\r\n{{").as_bytes()).await?;
            std::future::pending::<()>().await;
        }
        Jwks::Redirect(to) => {
            let head = format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
            client.write_all(head.as_bytes()).await?;
        }
    }
    client.shutdown().await
}
