//! Certificates for servers with TLS, signed by an authority of the test.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use chrono::{DateTime, Datelike, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};

use super::agentbus::Builder;
use super::folder::Folder;

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Pair {
    pub cert: String,
    pub key: String,
    /// The certificate, as clients see it.
    pub der: Vec<u8>,
}

/// An authority, and the files of a server whose certificate it has signed.
pub struct Tls {
    authority: CertifiedIssuer<'static, KeyPair>,
    folder: Folder,
}

impl Tls {
    /// An authority, and files with a certificate for `localhost` and 127.0.0.1.
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let tls = Self { authority, folder: Folder::new("tls") };
        std::fs::write(tls.ca(), tls.ca_pem()).expect("written");
        tls.install(&tls.issue());
        tls
    }

    /// A new certificate that is valid now.
    pub fn issue(&self) -> Pair {
        self.issue_for(&["localhost", "127.0.0.1"], 2020, None)
    }

    /// A new certificate for a client of this name, in its subject and its alternative names.
    pub fn issue_client(&self, name: &str) -> Pair {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        self.sign(&params)
    }

    /// A new certificate for these names, from the start of a year, until the day of a time.
    pub fn issue_for(&self, names: &[&str], from: i32, until: Option<DateTime<Utc>>) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = date_time_ymd(from, 1, 1);
        if let Some(until) = until {
            let (month, day) = (until.month() as u8, until.day() as u8);
            params.not_after = date_time_ymd(until.year(), month, day);
        }
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.authority).expect("a certificate");
        Pair { cert: cert.pem(), key: key.serialize_pem(), der: cert.der().to_vec() }
    }

    /// Writes a pair into files of its own, and returns their paths: the certificate, the key.
    pub fn files_of(&self, name: &str, pair: &Pair) -> [String; 2] {
        [("cert", &pair.cert), ("key", &pair.key)].map(|(kind, pem)| {
            let path = self.folder.join(&format!("{name}-{kind}.pem"));
            std::fs::write(&path, pem).expect("written");
            path.display().to_string()
        })
    }

    /// Replaces the files of the server, each as a whole.
    pub fn install(&self, pair: &Pair) {
        self.replace(&self.cert(), &pair.cert);
        self.replace(&self.key(), &pair.key);
    }

    /// Replaces a file as a whole. Nobody but its owner may read it.
    pub fn replace(&self, path: &PathBuf, content: &str) {
        let new = self.folder.join("new");
        std::fs::write(&new, content).expect("written");
        std::fs::set_permissions(&new, Permissions::from_mode(0o600)).expect("closed");
        std::fs::rename(&new, path).expect("renamed");
    }

    /// The authority's certificate, as PEM.
    pub fn ca_pem(&self) -> String {
        self.authority.pem()
    }

    /// The file of the authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// `HTTP_TLS_CERT`.
    pub fn cert(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    /// `HTTP_TLS_KEY`.
    pub fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    /// The settings of a server with these files.
    pub fn settings(&self, builder: Builder) -> Builder {
        builder
            .env("HTTP_TLS_CERT", &self.cert().display().to_string())
            .env("HTTP_TLS_KEY", &self.key().display().to_string())
            .trusting(&self.ca_pem())
    }
}
