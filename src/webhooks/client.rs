//! The HTTP client of deliveries: it goes where the URL says and nowhere else.
//!
//! Invariant: names are resolved by the guard, redirects are not followed, no
//! proxy of the environment is used, and nothing waits for ever.

use std::sync::Arc;

use reqwest::Client;
use reqwest::redirect::Policy;
use rustls::{ClientConfig, RootCertStore};

use super::guard::Guard;
use crate::limits::{
    WEBHOOK_CONNECT_TIMEOUT, WEBHOOK_IDLE_CONNECTIONS, WEBHOOK_IDLE_TIMEOUT, WEBHOOK_TIMEOUT,
};

/// A client whose every connection the guard has judged.
///
/// # Errors
/// TLS cannot be set up.
pub fn build(guard: Guard) -> Result<Client, String> {
    Client::builder()
        .dns_resolver(guard)
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(WEBHOOK_CONNECT_TIMEOUT)
        .timeout(WEBHOOK_TIMEOUT)
        .pool_max_idle_per_host(WEBHOOK_IDLE_CONNECTIONS)
        .pool_idle_timeout(WEBHOOK_IDLE_TIMEOUT)
        .user_agent(concat!("agentbus/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls()?)
        .build()
        .map_err(|error| format!("no HTTP client for webhooks: {error}"))
}

/// TLS by ring, named here so that no second provider can be picked. Trusted is
/// what the system trusts (an operator's own authority among it, also by
/// `SSL_CERT_FILE`); where it has nothing, as in a bare container, Mozilla's roots.
fn tls() -> Result<ClientConfig, String> {
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
        .map_err(|error| format!("no TLS for webhooks: {error}"))
}
