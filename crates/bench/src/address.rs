//! The address of the measured server, and the key that it wants.
//!
//! Invariant: no text for people shows the key.

use std::fmt;

/// Host, port and the path before `/v1`, over plain HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
    path: String,
    /// The header with the key, and its line end; empty without a key.
    authorization: String,
}

impl Address {
    /// Takes host, port and path from an `http://` URL.
    ///
    /// # Errors
    /// The scheme is `https`: the cost of TLS would count as the server's.
    pub fn from_url(url: &url::Url) -> Result<Self, String> {
        if url.scheme() != "http" {
            return Err(format!(
                "{url} asks for TLS: measure the server itself, at its http:// address"
            ));
        }
        let host = url.host_str().unwrap_or("127.0.0.1").trim_matches(['[', ']']).to_owned();
        Ok(Self {
            host,
            port: url.port_or_known_default().unwrap_or(80),
            path: url.path().trim_end_matches('/').to_owned(),
            authorization: String::new(),
        })
    }

    /// A server on loopback.
    #[must_use]
    pub fn local(port: u16) -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port,
            path: String::new(),
            authorization: String::new(),
        }
    }

    /// With this key in each request. It must be one word of visible ASCII characters.
    #[must_use]
    pub fn with_key(mut self, key: &str) -> Self {
        self.authorization = format!("Authorization: Bearer {key}\r\n");
        self
    }

    /// Host and port, as a socket takes them.
    #[must_use]
    pub fn socket(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// The request line, the `Host` header and the key's; further headers and the empty line follow.
    #[must_use]
    pub fn head(&self, method: &str, path: &str) -> String {
        let Self { path: prefix, authorization, .. } = self;
        format!("{method} {prefix}{path} HTTP/1.1\r\nHost: {self}\r\n{authorization}")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}{}", self.path)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, String> {
        Address::from_url(&url.parse().expect("a URL"))
    }

    #[test]
    fn a_url_is_host_port_and_path() {
        let plain = parse("http://127.0.0.1:8080").expect("plain");
        assert_eq!(plain, Address::local(8080));
        let behind = parse("http://[::1]/bus/").expect("plain");
        assert_eq!(behind.socket(), ("::1", 80));
        assert_eq!(
            behind.head("GET", "/v1/stats"),
            "GET /bus/v1/stats HTTP/1.1\r\nHost: [::1]:80\r\n"
        );
        let with_key = plain.with_key("hunter2");
        assert!(with_key.head("GET", "/").ends_with("\r\nAuthorization: Bearer hunter2\r\n"));
        assert!(!format!("{with_key:?} {with_key}").contains("hunter2"));
        assert!(parse("https://a.example").is_err_and(|why| why.contains("TLS")));
    }
}
