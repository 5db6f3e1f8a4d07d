//! The address of a server.

use reqwest::Url;

/// Parses the address of a server. The scheme may be missing. A path may precede `/v1`.
///
/// # Errors
/// Why the text is not an address.
pub fn parse_address(text: &str) -> Result<Url, String> {
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&full).map_err(|error| format!("'{text}' is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!("'{text}' must be an http:// or https:// address"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("'{text}' must end with the path in front of /v1"));
    }
    Ok(url)
}

/// Whether the server is on this machine. If so, no proxy is used: it would look for the server on its own
/// machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || literal.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The address for people to see: without its password, and without a final slash.
pub(crate) fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    if shown.password().is_some() {
        // Fails only for a URL without a host, which `parse_address` refuses.
        let _ = shown.set_password(Some("***"));
    }
    shown.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_goes_round_every_proxy() {
        for (url, expected) in [
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example", false),
        ] {
            assert_eq!(parse_address(url).map(|url| is_loopback(&url)), Ok(expected), "{url}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let url = parse_address("http://ann:secret@a.example").expect("an address");
        assert_eq!(shown(&url), "http://ann:***@a.example");
    }
}
