//! The TLS of the listener (contract, section 11): TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN.
//!
//! Invariant: there is always a certificate to serve. Files that changed are served to new connections; a pair that
//! cannot be served is refused with one line of the log, and the last good one stays.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use tokio_util::sync::CancellationToken;

use super::certificate::{CertifiedPair, PemPair};
use crate::clock::Clock;
use crate::config::TlsFiles;
use crate::limits::CERTIFICATE_POLL;

/// The name of HTTP/2 in ALPN (RFC 9113, section 3.2).
pub const ALPN_HTTP2: &[u8] = b"h2";

/// What new connections get.
pub struct TlsServer {
    files: TlsFiles,
    clock: Clock,
    served: RwLock<Served>,
}

struct Served {
    pem: PemPair,
    config: Arc<ServerConfig>,
}

impl TlsServer {
    /// Reads the files.
    ///
    /// # Errors
    /// They cannot be served, as a text for the operator.
    pub fn load(files: &TlsFiles, clock: Clock) -> Result<Self, String> {
        let served = serve(files, PemPair::read(files)?, clock.now())?;
        Ok(Self { files: files.clone(), clock, served: RwLock::new(served) })
    }

    /// The configuration for a new connection.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.served.read().config)
    }

    /// Serves what the files have, until cancelled.
    pub async fn watch(self: Arc<Self>, cancel: CancellationToken) {
        let mut seen = Ok(self.served.read().pem.clone());
        let mut is_refused = false;
        while cancel.run_until_cancelled(tokio::time::sleep(CERTIFICATE_POLL)).await.is_some() {
            let files = self.files.clone();
            let found = tokio::task::spawn_blocking(move || PemPair::read(&files)).await;
            let found = found.unwrap_or_else(|fault| Err(format!("reading failed: {fault}")));
            let is_settled = found == seen;
            if is_settled && is_refused {
                continue;
            }
            let changed = found.clone().and_then(|pem| self.renew(pem));
            // The two files are not replaced at once, so a pair is refused only if it stays as it is.
            is_refused = changed.is_err() && is_settled;
            if let Err(error) = changed
                && is_refused
            {
                count("refused");
                tracing::error!(
                    "{error}. The certificate that was read before is served until the files are repaired"
                );
            }
            seen = found;
        }
    }

    fn renew(&self, pem: PemPair) -> Result<(), String> {
        if pem == self.served.read().pem {
            return Ok(());
        }
        *self.served.write() = serve(&self.files, pem, self.clock.now())?;
        count("served");
        Ok(())
    }
}

/// A configuration with this pair. It has keys of its own for session tickets, so no session outlives its
/// certificate's service.
fn serve(files: &TlsFiles, pem: PemPair, now: DateTime<Utc>) -> Result<Served, String> {
    let CertifiedPair { certified, begins_at, expires_at } = pem.parse(files)?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map(|config| config.with_no_client_auth())
        .map_err(|error| format!("no TLS for the listener: {error}"))?;
    let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), b"http/1.1".to_vec()];
    // Clients carry their sessions, so many that reconnect at once need no memory here.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer =
        Ticketer::new().map_err(|error| format!("no TLS for the listener: {error}"))?;
    let file = files.cert.display();
    if expires_at <= now {
        tracing::error!(
            "HTTP_TLS_CERT={file}: the certificate expired at {expires_at}: clients refuse it"
        );
    } else if begins_at > now {
        tracing::error!(
            "HTTP_TLS_CERT={file}: the certificate is valid from {begins_at} only: clients refuse it"
        );
    } else {
        tracing::info!(%expires_at, "HTTP_TLS_CERT={file} is served");
    }
    metrics::gauge!("agentbus_tls_certificate_expiry_seconds").set(expires_at.timestamp() as f64);
    Ok(Served { pem, config: Arc::new(config) })
}

fn count(result: &'static str) {
    metrics::counter!("agentbus_tls_reloads_total", "result" => result).increment(1);
}
