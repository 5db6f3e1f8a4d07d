//! Where the measured server is.

use std::fmt;

/// Host, port and the path in front of `/v1`, over plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
    path: String,
}

impl Address {
    /// Reads a URL that is one already.
    ///
    /// # Errors
    /// It asks for TLS, whose cost would be measured as the server's.
    pub fn of(url: &url::Url) -> Result<Self, String> {
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
        })
    }

    /// A server on this machine.
    #[must_use]
    pub fn local(port: u16) -> Self {
        Self { host: "127.0.0.1".to_owned(), port, path: String::new() }
    }

    /// What a socket connects to.
    #[must_use]
    pub fn socket(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// The first lines of a request to it, without the empty line.
    #[must_use]
    pub fn head(&self, method: &str, path: &str) -> String {
        format!("{method} {}{path} HTTP/1.1\r\nHost: {self}\r\n", self.path)
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

    fn of(url: &str) -> Result<Address, String> {
        Address::of(&url.parse().expect("a URL"))
    }

    #[test]
    fn a_url_is_host_port_and_path() {
        let plain = of("http://127.0.0.1:8080").expect("plain");
        assert_eq!(plain, Address::local(8080));
        let behind = of("http://[::1]/bus/").expect("plain");
        assert_eq!(behind.socket(), ("::1", 80));
        assert_eq!(
            behind.head("GET", "/v1/stats"),
            "GET /bus/v1/stats HTTP/1.1\r\nHost: [::1]:80\r\n"
        );
        assert!(of("https://a.example").is_err_and(|why| why.contains("TLS")));
    }
}
