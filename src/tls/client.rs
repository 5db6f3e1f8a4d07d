//! TLS of the HTTP connections that agentbus opens: to webhooks and to the receiver of traces.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// TLS by ring. It trusts the system's certificate
/// authorities (also an operator's own, by `SSL_CERT_FILE`), or Mozilla's if the system has none, as in a
/// minimal container.
///
/// # Errors
/// The provider supports no version of TLS.
pub fn client_config() -> Result<ClientConfig, String> {
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
