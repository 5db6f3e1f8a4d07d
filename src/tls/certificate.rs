//! The certificate of the server and its key, from two PEM files (`HTTP_TLS_CERT`, `HTTP_TLS_KEY`).
//!
//! Invariant: a pair that was parsed can be served: the key is that of the first certificate. What is wrong is named
//! with its setting and its file, never with the content of the file.

use std::fmt::Display;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode as _, Reader as _, SliceReader, Tag, Tagged as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::config::TlsFiles;
use crate::limits::MAX_PEM_BYTES;

/// The content of both files.
#[derive(Clone, PartialEq, Eq)]
pub struct PemPair {
    cert: Vec<u8>,
    key: Vec<u8>,
}

/// A certificate with its chain and its key.
pub struct CertifiedPair {
    /// What rustls serves.
    pub(super) certified: Arc<CertifiedKey>,
    /// From when the certificate is valid.
    pub begins_at: DateTime<Utc>,
    /// Until when the certificate is valid.
    pub expires_at: DateTime<Utc>,
}

impl PemPair {
    /// Reads both files.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(files: &TlsFiles) -> Result<Self, String> {
        let cert = read(&files.cert).map_err(|error| in_cert(files, error))?;
        let key = read(&files.key).map_err(|error| in_key(files, error))?;
        Ok(Self { cert, key })
    }

    /// Parses the pair.
    ///
    /// # Errors
    /// It cannot be served.
    pub fn parse(&self, files: &TlsFiles) -> Result<CertifiedPair, String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.cert).collect();
        let chain = chain.map_err(|_| in_cert(files, "is no valid PEM file"))?;
        let Some(first) = chain.first() else {
            return Err(in_cert(files, "holds no certificate (BEGIN CERTIFICATE)"));
        };
        let unreadable = || in_cert(files, "its first certificate cannot be read");
        let (begins_at, expires_at) = validity(first).ok_or_else(unreadable)?;
        let key = self.private_key().map_err(|error| in_key(files, error))?;
        let provider = rustls::crypto::ring::default_provider();
        let certified = CertifiedKey::from_der(chain, key, &provider);
        let certified = certified.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                in_key(files, "is not the key of the first certificate in HTTP_TLS_CERT")
            }
            rustls::Error::InvalidCertificate(_) => unreadable(),
            _ => in_key(files, "is no key that TLS can use: RSA of 2,048 bits or more, ECDSA (P-256, P-384), or Ed25519"),
        })?;
        Ok(CertifiedPair { certified: Arc::new(certified), begins_at, expires_at })
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, &'static str> {
        let is_encrypted = memchr::memmem::find(&self.key, b"ENCRYPTED").is_some();
        PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| match error {
            _ if is_encrypted => {
                "is encrypted: decrypt it (openssl pkey), and protect the file by its mode, 0600"
            }
            rustls::pki_types::pem::Error::NoItemsFound => {
                "holds no private key (BEGIN PRIVATE KEY)"
            }
            _ => "is no valid PEM file",
        })
    }
}

fn in_cert(files: &TlsFiles, fault: impl Display) -> String {
    format!("HTTP_TLS_CERT={}: {fault}", files.cert.display())
}

fn in_key(files: &TlsFiles, fault: impl Display) -> String {
    format!("HTTP_TLS_KEY={}: {fault}", files.key.display())
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(MAX_PEM_BYTES).read_to_end(&mut content)?;
    Ok(content)
}

/// From when and until when a certificate is valid (RFC 5280, section 4.1.2.5).
fn validity(certificate: &[u8]) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let signed = first_of(certificate)?;
    let mut fields = SliceReader::new(signed.value()).ok()?;
    // The version, which may be missing, the serial number, the signature's algorithm, the issuer, the validity.
    let is_versioned = fields.peek_tag().ok()?.is_context_specific();
    let before = 3 + usize::from(is_versioned);
    let validity = (0..=before).map_while(|_| AnyRef::decode(&mut fields).ok()).nth(before)?;
    let mut times = SliceReader::new(validity.value()).ok()?;
    let mut time = || time(AnyRef::decode(&mut times).ok()?);
    Some((time()?, time()?))
}

/// The first element of the sequence that these bytes are.
fn first_of(sequence: &[u8]) -> Option<AnyRef<'_>> {
    let outer = AnyRef::from_der(sequence).ok()?;
    AnyRef::decode(&mut SliceReader::new(outer.value()).ok()?).ok()
}

fn time(value: AnyRef<'_>) -> Option<DateTime<Utc>> {
    let since_epoch = match value.tag() {
        Tag::UtcTime => value.decode_as::<UtcTime>().ok()?.to_unix_duration(),
        _ => value.decode_as::<GeneralizedTime>().ok()?.to_unix_duration(),
    };
    DateTime::from_timestamp(i64::try_from(since_epoch.as_secs()).ok()?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_validity_of_a_certificate_is_read() {
        for (from, to) in [(1999, 2049), (2020, 2050), (2026, 9999)] {
            let key = rcgen::KeyPair::generate().expect("a key");
            let mut params =
                rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
            params.not_before = rcgen::date_time_ymd(from, 1, 2);
            params.not_after = rcgen::date_time_ymd(to, 3, 4);
            let certificate = params.self_signed(&key).expect("a certificate");
            let (begins, expires) = validity(certificate.der()).expect("the validity");
            assert_eq!(begins.to_rfc3339(), format!("{from}-01-02T00:00:00+00:00"));
            assert_eq!(expires.to_rfc3339(), format!("{to}-03-04T00:00:00+00:00"));
            for cut in 0..certificate.der().len() {
                assert_eq!(validity(&certificate.der()[..cut]), None, "{cut}");
            }
        }
    }
}
