//! Which web pages may send requests (contract, section 3, Other sites' pages).
//!
//! Invariant: a page of another site, if its origin is not configured, changes nothing here, whatever it
//! sends. Browsers send the origin of a page, and the origin is checked for every content type.

use axum::http::{HeaderMap, header};

/// The value of `CORS_ORIGINS` for every origin.
const ANY: &str = "*";

/// The origins of the server itself, and those whose pages may send requests to it.
#[derive(Clone, Debug, Default)]
pub struct OriginRule {
    /// The origin of `PUBLIC_URL`, if it is set.
    public: Option<String>,
    /// The origins in `CORS_ORIGINS`.
    listed: Vec<String>,
    /// Whether the listener speaks TLS.
    is_tls: bool,
}

impl OriginRule {
    /// Makes the rule from the origin of `PUBLIC_URL` and those in `CORS_ORIGINS`. `is_tls`: the scheme of the listener is
    /// `https`.
    #[must_use]
    pub fn new(public: Option<String>, listed: Vec<String>, is_tls: bool) -> Self {
        Self { public, listed, is_tls }
    }

    /// Whether pages of any origin may read. To change something, an origin must be listed.
    #[must_use]
    pub fn any(&self) -> bool {
        self.listed.iter().any(|origin| origin == ANY)
    }

    /// Whether `CORS_ORIGINS` is empty: only the server's own pages may send requests then.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// The origins in `CORS_ORIGINS`.
    pub fn listed(&self) -> impl Iterator<Item = &str> {
        self.listed.iter().map(String::as_str)
    }

    /// Whether a request may change something: it comes from no page, or from a page of this server or of
    /// a listed origin.
    #[must_use]
    pub fn allows(&self, host: &str, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let (origin, another) = (origins.next(), origins.next());
        match origin {
            Some(origin) if another.is_none() => {
                origin.to_str().is_ok_and(|origin| self.knows(origin, host))
            }
            Some(_) => false,
            None => !headers
                .get_all("sec-fetch-site")
                .iter()
                .any(|site| site.as_bytes().eq_ignore_ascii_case(b"cross-site")),
        }
    }

    fn knows(&self, origin: &str, host: &str) -> bool {
        let ours = format!("{}://{host}", if self.is_tls { "https" } else { "http" });
        let same =
            |known: &str| known != ANY && without_default_port(known).eq_ignore_ascii_case(origin);
        same(&ours) || self.public.as_deref().is_some_and(same) || self.listed().any(same)
    }
}

/// The origin without its scheme's default port, as browsers send it.
fn without_default_port(origin: &str) -> &str {
    let port = if origin.starts_with("https:") { ":443" } else { ":80" };
    origin.strip_suffix(port).unwrap_or(origin)
}

/// The origin and the host of `PUBLIC_URL`, if that is a URL such as `https://bus.example.com`.
pub(super) fn public(url: &str) -> Option<(String, String)> {
    let trimmed = url.trim_end_matches('/');
    let (scheme, host) = trimmed.split_once("://")?;
    let well = matches!(scheme, "http" | "https")
        && !host.is_empty()
        && !host.contains(['/', '?', '#', '@', ' ']);
    well.then(|| (without_default_port(trimmed).to_owned(), host.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> OriginRule {
        let listed = vec!["https://app.example.com".to_owned(), ANY.to_owned()];
        OriginRule::new(Some("https://bus.example.com".to_owned()), listed, false)
    }

    fn allowed(rule: &OriginRule, headers: &[(&str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: axum::http::HeaderName = name.parse().expect("a name");
            map.append(name, value.parse().expect("a value"));
        }
        rule.allows("127.0.0.1:8080", &map)
    }

    #[test]
    fn programs_our_own_pages_and_listed_origins_may_act() {
        for headers in [
            &[][..],
            &[("origin", "http://127.0.0.1:8080")],
            &[("origin", "https://bus.example.com")],
            &[("origin", "https://app.example.com")],
            &[("origin", "https://app.example.com"), ("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
        ] {
            assert!(allowed(&rule(), headers), "{headers:?}");
        }
    }

    #[test]
    fn other_pages_may_not_and_a_star_does_not_change_that() {
        for headers in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "")],
            &[("origin", "*")],
            &[("origin", "https://127.0.0.1:8080")],
            &[("origin", "http://127.0.0.1:8081")],
            &[("origin", "http://bus.example.com")],
            &[("origin", "https://app.example.com"), ("origin", "https://evil.example")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "Cross-Site")],
        ] {
            assert!(!allowed(&rule(), headers), "{headers:?}");
        }
    }

    #[test]
    fn a_default_port_is_no_part_of_an_origin() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, "http://bus.example.com".parse().expect("a value"));
        assert!(OriginRule::default().allows("bus.example.com:80", &headers));
        assert!(!OriginRule::default().allows("bus.example.com:8080", &headers));
        let public = |url| public(url).map(|(origin, host)| format!("{origin} {host}"));
        assert_eq!(
            public("https://b.example:443/").as_deref(),
            Some("https://b.example b.example:443")
        );
        for wrong in
            ["b.example", "ftp://b.example", "https://", "https://b.example/x", "https://a@b"]
        {
            assert_eq!(public(wrong), None, "{wrong}");
        }
    }
}
