//! Who may come in.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::source::Source;

/// Settings of identity and access.
#[derive(Clone, Debug, Default)]
pub struct AccessConfig {
    /// Whether every request needs a credential (`AUTH=required`).
    pub required: bool,
    /// The file with the root key.
    pub root_key_file: Option<PathBuf>,
    /// The file with the issuers of tokens.
    pub jwt_issuers_file: Option<PathBuf>,
    /// Where metrics and health are served without a credential: an address on loopback.
    pub metrics_addr: Option<SocketAddr>,
}

impl AccessConfig {
    pub(super) fn from_source(source: &Source, errors: &mut Vec<String>) -> Self {
        let required = match source.get("AUTH").unwrap_or("off") {
            "off" => false,
            "required" => true,
            _ => {
                errors.push("AUTH must be off or required".to_owned());
                true
            }
        };
        let metrics_addr = source.get("METRICS_ADDR").and_then(|text| {
            let addr = text.parse::<SocketAddr>().ok().filter(|addr| addr.ip().is_loopback());
            if addr.is_none() {
                errors.push(format!(
                    "METRICS_ADDR={text:?} must be an address on loopback, such as 127.0.0.1:9090: it is served \
                     without a credential"
                ));
            }
            addr
        });
        let root_key_file = source.get("ROOT_KEY_FILE").map(PathBuf::from);
        let jwt_issuers_file = source.get("JWT_ISSUERS_FILE").map(PathBuf::from);
        Self { required, root_key_file, jwt_issuers_file, metrics_addr }
    }
}
