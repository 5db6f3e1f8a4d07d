//! How a connection proves who it is, and whom it trusts.
//!
//! Invariant: what is wrong is named with its setting and its file, never with the content of the file.

use std::fmt::Display;
use std::path::Path;

use async_nats::{ConnectError, ConnectErrorKind, ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::config::NatsConfig;

/// Adds credentials and TLS files to the options. The files are read anew for each new connection.
pub(super) fn apply(
    config: &NatsConfig,
    mut options: ConnectOptions,
) -> Result<ConnectOptions, String> {
    if let Some(path) = &config.creds {
        let setting = at("NATS_CREDS", path);
        let creds = read(path).map_err(&setting)?;
        options = options.credentials(&creds).map_err(|_| {
            setting("holds no user JWT with its seed, as `nsc generate creds` writes them".into())
        })?;
    }
    if let Some(path) = &config.nkey {
        let setting = at("NATS_NKEY", path);
        let content = read(path).map_err(&setting)?;
        let seed = content.trim();
        if !seed.starts_with("SU") || nkeys::KeyPair::from_seed(seed).is_err() {
            return Err(setting(
                "holds no seed of a user (SU…), as `nk -gen user` writes it".into(),
            ));
        }
        options = options.nkey(seed.to_owned());
    }
    if let Some(user) = &config.user {
        options =
            options.user_and_password(user.clone(), config.password.clone().unwrap_or_default());
    }
    if let Some(token) = &config.token {
        options = options.token(token.clone());
    }
    if config.creds.is_none()
        && config.nkey.is_none()
        && config.user.is_none()
        && config.token.is_none()
        && let Some((user, password)) = user_in_url(config)
    {
        options = match password {
            Some(password) => options.user_and_password(user, password),
            None => options.token(user),
        };
    }
    if let Some(path) = &config.tls_ca {
        options = options.add_root_certificates(path.clone()).require_tls(true);
    }
    if let (Some(cert), Some(key)) = (&config.tls_cert, &config.tls_key) {
        options = options.add_client_certificate(cert.clone(), key.clone()).require_tls(true);
    }
    Ok(options)
}

/// Checks the files that the configuration names: a line for each that cannot be used.
#[must_use]
pub fn check_credentials(config: &NatsConfig) -> Vec<String> {
    let certificates = |setting, path: &Option<_>| check(setting, path, has_certificate);
    let found = [
        apply(config, ConnectOptions::new()).err(),
        certificates("NATS_TLS_CA", &config.tls_ca),
        certificates("NATS_TLS_CERT", &config.tls_cert),
        check("NATS_TLS_KEY", &config.tls_key, has_key),
    ];
    found.into_iter().flatten().collect()
}

/// Why a connection failed, with the settings to look at.
pub(super) fn explain(config: &NatsConfig, error: &ConnectError) -> String {
    // rustls names what it does not accept; a server that does not accept this side's certificate sends an alert.
    let text = error.to_string();
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            format!("it refuses {}: {text}", shown(config))
        }
        _ if text.contains("invalid peer certificate") => {
            format!(
                "its certificate is not accepted, see NATS_TLS_CA and the name in NATS_URL: {text}"
            )
        }
        _ if text.contains("could not add certificate or key") => {
            format!(
                "NATS_TLS_KEY is not the key of NATS_TLS_CERT, or one of them is of a kind that TLS cannot use: {text}"
            )
        }
        _ if text.contains("received fatal alert") => {
            format!("it does not accept the client's certificate, see NATS_TLS_CERT: {text}")
        }
        _ => text,
    }
}

/// The user and password of the first address that has them; a user alone is a token. async-nats 0.51 ignores them.
fn user_in_url(config: &NatsConfig) -> Option<(String, Option<String>)> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    config.addresses().iter().find_map(|address| {
        let address: ServerAddr = address.parse().ok()?;
        Some((decoded(address.username()?), address.password().map(decoded)))
    })
}

/// The credentials in use, by their settings.
fn shown(config: &NatsConfig) -> &'static str {
    match config {
        NatsConfig { creds: Some(_), .. } => "the user of NATS_CREDS",
        NatsConfig { nkey: Some(_), .. } => "the key of NATS_NKEY",
        NatsConfig { user: Some(_), .. } => "NATS_USER with NATS_PASSWORD",
        NatsConfig { token: Some(_), .. } => "NATS_TOKEN",
        NatsConfig { tls_cert: Some(_), .. } => "the certificate of NATS_TLS_CERT as a user",
        _ if user_in_url(config).is_some() => "the user in NATS_URL",
        _ => "a client without credentials (NATS_CREDS, NATS_NKEY, NATS_USER or NATS_TOKEN)",
    }
}

fn at(setting: &'static str, path: &Path) -> impl Fn(String) -> String {
    let path = path.display().to_string();
    move |fault| format!("{setting}={path}: {fault}")
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

fn check<T: AsRef<Path>>(
    setting: &'static str,
    path: &Option<T>,
    parse: impl Fn(&[u8]) -> Result<(), &'static str>,
) -> Option<String> {
    let path = path.as_ref()?.as_ref();
    let fault: Box<dyn Display> = match std::fs::read(path) {
        Ok(content) => Box::new(parse(&content).err()?),
        Err(error) => Box::new(error),
    };
    Some(at(setting, path)(fault.to_string()))
}

fn has_certificate(pem: &[u8]) -> Result<(), &'static str> {
    let first = CertificateDer::pem_slice_iter(pem).next();
    let is_there = first.is_some_and(|certificate| certificate.is_ok());
    is_there.then_some(()).ok_or("holds no certificate (BEGIN CERTIFICATE)")
}

fn has_key(pem: &[u8]) -> Result<(), &'static str> {
    let key = PrivateKeyDer::from_pem_slice(pem);
    key.map(drop).map_err(|_| "holds no private key that is not encrypted (BEGIN PRIVATE KEY)")
}
