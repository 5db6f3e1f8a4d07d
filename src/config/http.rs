//! The settings of the listener, with safe defaults.
//!
//! Invariant: while requests need no credential, the server listens only on loopback, unless the operator allows
//! more. A request must name a host of this server, so that a web page cannot reach it by pointing its own
//! name at this address (DNS rebinding).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::origins::{self, OriginRule};
use super::source::Source;
use crate::limits::DEFAULT_MAX_CONNECTIONS;

/// Settings of the HTTP server.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// The address to listen on; port 0 takes a free port.
    pub addr: SocketAddr,
    /// The hosts that a request may name.
    pub hosts: HostRule,
    /// The origins whose pages may send requests.
    pub origins: OriginRule,
    /// Proxies whose `X-Forwarded-For` names the client.
    pub trusted_proxies: Vec<IpNet>,
    /// The most connections that are open at once.
    pub max_connections: usize,
    /// Whether each response is logged.
    pub access_log: bool,
    /// The certificate and the key of the listener, if it speaks TLS.
    pub tls: Option<TlsFiles>,
    /// Whether browsers reach the server over TLS, its own or that of `PUBLIC_URL=https:`, so that cookies may require
    /// it.
    pub is_public_tls: bool,
}

/// The PEM files of a certificate with its chain, and of its key.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// `HTTP_TLS_CERT`.
    pub cert: PathBuf,
    /// `HTTP_TLS_KEY`.
    pub key: PathBuf,
}

/// The hosts that name this server.
#[derive(Clone, Debug, Default)]
pub struct HostRule {
    names: Vec<String>,
}

impl HostRule {
    /// Whether a `Host` header (with or without a port) names this server. Loopback names always do, and
    /// so do the names in `PUBLIC_HOST`.
    #[must_use]
    pub fn allows(&self, host: &str) -> bool {
        let name = without_port(host);
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        if bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) {
            return true;
        }
        self.names.iter().any(|ours| ours.eq_ignore_ascii_case(name))
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => {
            if name.contains(':') && !name.ends_with(']') {
                host
            } else {
                name
            }
        }
        _ => host,
    }
}

impl HttpConfig {
    /// `auth_required`: every request needs a credential.
    pub(super) fn from_source(
        source: &Source,
        auth_required: bool,
        errors: &mut Vec<String>,
    ) -> Self {
        let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        let addr = source.parse("HTTP_ADDR", default, "an address such as 127.0.0.1:8080", errors);
        let anonymous = source.parse("ALLOW_ANONYMOUS", false, "true or false", errors);
        if !addr.ip().is_loopback() && !auth_required && !anonymous {
            errors.push(format!(
                "HTTP_ADDR={addr} is not loopback, and requests need no credential: anyone who reaches it can read and \
                 send everything. Set AUTH=required, or ALLOW_ANONYMOUS=true to allow that"
            ));
        }
        let mut names = list(source.get("PUBLIC_HOST"));
        if !addr.ip().is_unspecified() {
            names.push(match addr.ip() {
                IpAddr::V6(ip) => format!("[{ip}]"),
                ip @ IpAddr::V4(_) => ip.to_string(),
            });
        }
        let public = source.get("PUBLIC_URL").filter(|url| !url.is_empty()).and_then(|url| {
            let public = origins::public(url);
            if public.is_none() {
                errors.push(format!(
                    "PUBLIC_URL={url:?} is no address such as https://bus.example.com"
                ));
            }
            public
        });
        let public = public.map(|(origin, host)| {
            names.push(without_port(&host).to_owned());
            origin
        });
        let cors_origins = list(source.get("CORS_ORIGINS"));
        for origin in &cors_origins {
            if origin != "*" && (!origin.contains("://") || origin.ends_with('/')) {
                errors.push(format!(
                    "CORS_ORIGINS: {origin:?} is no origin such as https://app.example.com"
                ));
            }
        }
        let max_connections = source.parse(
            "MAX_CONNECTIONS",
            DEFAULT_MAX_CONNECTIONS,
            "a number of connections",
            errors,
        );
        if max_connections == 0 {
            errors.push("MAX_CONNECTIONS must be at least 1".to_owned());
        }
        let trusted_proxies = list(source.get("TRUSTED_PROXIES"))
            .iter()
            .filter_map(|text| {
                let network =
                    text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
                let rule = || {
                    format!(
                        "TRUSTED_PROXIES: {text:?} is no address such as 10.0.0.5 or 10.0.0.0/8"
                    )
                };
                network.map_err(|_| errors.push(rule())).ok()
            })
            .collect();
        let tls = tls(source, errors);
        let is_public_tls =
            tls.is_some() || public.as_deref().is_some_and(|origin| origin.starts_with("https:"));
        let origins = OriginRule::new(public, cors_origins, tls.is_some());
        let access_log = source.parse("ACCESS_LOG", false, "true or false", errors);
        let hosts = HostRule { names };
        Self {
            addr,
            hosts,
            origins,
            trusted_proxies,
            max_connections,
            access_log,
            tls,
            is_public_tls,
        }
    }
}

fn tls(source: &Source, errors: &mut Vec<String>) -> Option<TlsFiles> {
    let file = |name| source.get(name).map(PathBuf::from);
    match (file("HTTP_TLS_CERT"), file("HTTP_TLS_KEY")) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
        (None, None) => None,
        (cert, _) => {
            let (set, missing) = match cert {
                Some(_) => ("HTTP_TLS_CERT", "HTTP_TLS_KEY"),
                None => ("HTTP_TLS_KEY", "HTTP_TLS_CERT"),
            };
            errors.push(format!("{set} is set and {missing} is not: TLS needs both"));
            None
        }
    }
}

fn list(text: Option<&str>) -> Vec<String> {
    text.unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_configured_names_are_ours() {
        let rule = HostRule { names: vec!["bus.example.com".to_owned()] };
        for ours in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:8080",
            "127.8.9.1",
            "[::1]:8080",
            "[::1]",
            "bus.example.com",
            "Bus.Example.Com:443",
        ] {
            assert!(rule.allows(ours), "{ours}");
        }
        for other in [
            "",
            "evil.com",
            "localhost.evil.com",
            "127.0.0.1.evil.com",
            "10.0.0.1",
            "evil.com:8080",
        ] {
            assert!(!rule.allows(other), "{other}");
        }
    }
}
