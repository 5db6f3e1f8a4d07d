//! The cookie of a browser's session (contract, section 11).
//!
//! Invariant: scripts cannot read it (`HttpOnly`), other sites' pages cannot make a browser send it
//! (`SameSite=Strict`), and over TLS it is bound to this host (`__Host-`, RFC 6265bis).

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};

/// How the cookie is named and protected.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionCookie {
    /// Whether browsers reach the server over TLS.
    pub(super) is_secure: bool,
}

impl SessionCookie {
    const fn name(self) -> &'static str {
        if self.is_secure { "__Host-agentbus_session" } else { "agentbus_session" }
    }

    /// The session in the request's cookies.
    pub(super) fn read(self, headers: &HeaderMap) -> Option<&str> {
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut pairs =
            lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| name.trim() == self.name()).map(|(_, value)| value.trim())
    }

    /// Sets the cookie for the life of a session.
    pub(super) fn set(self, session: &str, life: Duration) -> Option<HeaderValue> {
        let secure = if self.is_secure { "; Secure" } else { "" };
        let (name, life) = (self.name(), life.as_secs());
        let cookie =
            format!("{name}={session}; Path=/; HttpOnly; SameSite=Strict; Max-Age={life}{secure}");
        HeaderValue::try_from(cookie).ok()
    }

    /// Removes the cookie.
    pub(super) fn clear(self) -> Option<HeaderValue> {
        self.set("", Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_among_other_cookies() {
        let read = |is_secure, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, line.parse().expect("a value"));
            }
            SessionCookie { is_secure }.read(&headers).map(str::to_owned)
        };
        let plain = "a=1; agentbus_session=x-y_z; b=2";
        assert_eq!(read(false, &[plain]).as_deref(), Some("x-y_z"));
        assert_eq!(
            read(true, &[plain]),
            None,
            "a cookie without its prefix could be another host's"
        );
        assert_eq!(read(true, &["c=3", "__Host-agentbus_session=q"]).as_deref(), Some("q"));
        assert_eq!(read(false, &["agentbus_sessions=1", "x"]), None);
    }

    #[test]
    fn the_cookie_is_strict() {
        let life = Duration::from_secs(60);
        let set = SessionCookie { is_secure: true }.set("x", life).expect("a value");
        assert_eq!(
            set.as_bytes(),
            b"__Host-agentbus_session=x; Path=/; HttpOnly; SameSite=Strict; Max-Age=60; Secure"
        );
        let clear = SessionCookie { is_secure: false }.clear().expect("a value");
        assert!(
            clear.to_str().expect("ASCII").contains("agentbus_session=; ")
                && clear.to_str().expect("ASCII").contains("Max-Age=0")
        );
    }
}
