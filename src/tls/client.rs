//! The HTTP connections that agentbus opens: to webhooks, to the receiver of traces, for the keys of issuers.
//!
//! Invariant: they go to the host in their URL alone. No redirect is followed, and no proxy of the environment is used.

use std::error::Error;
use std::sync::Arc;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};
use rustls::{ClientConfig, RootCertStore};

/// What every client has. The caller sets its limits of time.
///
/// # Errors
/// There is no TLS.
pub fn http_client() -> Result<ClientBuilder, String> {
    Ok(Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .user_agent(concat!("agentbus/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(client_config()?))
}

/// The innermost reason of an error, which says most: those around it repeat each other.
pub fn root_cause(error: &dyn Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// TLS by ring. It trusts the system's certificate
/// authorities (also an operator's own, by `SSL_CERT_FILE`), or Mozilla's if the system has none, as in a
/// minimal container.
fn client_config() -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let (added, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|config| config.with_root_certificates(roots).with_no_client_auth())
        .map_err(|error| format!("no TLS for HTTP clients: {error}"))
}
