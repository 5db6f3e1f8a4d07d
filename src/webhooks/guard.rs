//! Decides which addresses a webhook may reach: those of the public Internet, unless the operator allows
//! others (`WEBHOOK_ALLOW_PRIVATE`).
//!
//! Whoever may create a webhook chooses where this server connects to. So a webhook must not reach what only
//! this server can reach (server-side request forgery). Invariant: every address is checked right before a
//! connection. The resolver ([`Guard::resolve`]) checks those of names, and [`Guard::check`] literal ones in
//! the URL, so a name that later resolves to another address (DNS rebinding) gains nothing. The client
//! (`super::client`) follows no redirects and uses no proxies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::limits::MAX_WEBHOOK_URL;

/// The addresses that the operator allows.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    /// Whether addresses outside the public Internet may be reached.
    pub allow_private: bool,
}

/// An address that may not be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no address of the public Internet (WEBHOOK_ALLOW_PRIVATE)")]
pub struct NotPublic(IpAddr);

impl Guard {
    /// Parses a webhook's URL. A literal address is checked here in any spelling: the URL standard reads
    /// `0x7f.1` and `2130706433` as 127.0.0.1.
    ///
    /// # Errors
    /// The rule that the text breaks, in words for the client.
    pub fn parse(self, text: &str) -> Result<Url, String> {
        if text.len() > MAX_WEBHOOK_URL {
            return Err(format!("must have at most {MAX_WEBHOOK_URL} bytes"));
        }
        // The URL standard would skip these characters silently.
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("must hold no white space".to_owned());
        }
        let url = Url::parse(text).map_err(|error| format!("must be a URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("must begin with http:// or https://".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must hold no user name and no password".to_owned());
        }
        if url.fragment().is_some() {
            return Err("must hold no fragment, which is never sent".to_owned());
        }
        self.check(&url).map_err(|error| format!("must be public: {error}"))?;
        Ok(url)
    }

    /// Checks a literal address in a URL. A name passes, since it is checked when it is resolved.
    ///
    /// # Errors
    /// The address that is not public.
    pub fn check(self, url: &Url) -> Result<(), NotPublic> {
        let host = url.host_str().unwrap_or_default();
        match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(ip) => self.check_ip(ip),
            Err(_) => Ok(()),
        }
    }

    /// Refuses a name that resolves only to addresses that are not public. A name that cannot be resolved
    /// now passes, since it is checked again at each delivery.
    ///
    /// # Errors
    /// One of the addresses that are not public.
    pub async fn check_name(self, url: &Url, patience: Duration) -> Result<(), NotPublic> {
        let (Some(host), false) = (url.host_str(), self.allow_private) else {
            return Ok(());
        };
        match tokio::time::timeout(patience, tokio::net::lookup_host((host, 0))).await {
            Ok(Ok(found)) => self.public_of(found.collect()).map(|_| ()),
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }

    fn check_ip(self, ip: IpAddr) -> Result<(), NotPublic> {
        if self.allow_private || is_public(ip) { Ok(()) } else { Err(NotPublic(ip)) }
    }

    /// Keeps the addresses that may be connected to.
    ///
    /// # Errors
    /// None of them may be connected to; contains one of them.
    fn public_of(self, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, NotPublic> {
        let refused = found.iter().find_map(|addr| self.check_ip(addr.ip()).err());
        let good: Vec<_> =
            found.into_iter().filter(|addr| self.check_ip(addr.ip()).is_ok()).collect();
        match refused {
            Some(refused) if good.is_empty() => Err(refused),
            _ => Ok(good),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let good = guard.public_of(found.collect())?;
            Ok(Box::new(good.into_iter()) as Addrs)
        })
    }
}

/// Whether an address belongs to the public Internet, by IANA's registries of special-purpose addresses (RFC
/// 6890 and later additions).
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let special = match ip.octets() {
        // This network; private; loopback; link-local; private again.
        [0 | 10 | 127, ..] | [169, 254, ..] | [172, 16..=31, ..] | [192, 168, ..] => true,
        // Shared by carriers (100.64.0.0/10); protocol assignments; 6to4 relays.
        [100, 64..=127, ..] | [192, 0, 0, _] | [192, 88, 99, _] => true,
        // Azure's platform services: a public address that only its own machines reach.
        [168, 63, 129, 16] => true,
        // Documentation; benchmarking.
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18 | 19, ..] => true,
        // Multicast, reserved, broadcast.
        [224..=255, ..] => true,
        _ => false,
    };
    !special
}

/// An address that embeds an IPv4 address is as public as that one. Of the others, 2000::/3 is public, except for its
/// special ranges.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let carried =
        |high: u16, low: u16| is_public_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match ip.segments() {
        // IPv4-mapped; NAT64 (RFC 6052); 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            carried(high, low)
        }
        [0x2002, high, low, ..] => carried(high, low),
        // ISATAP (RFC 5214), below any prefix.
        [first, _, _, _, 0 | 0x200, 0x5efe, high, low] => {
            first & 0xe000 == 0x2000 && carried(high, low)
        }
        // Protocol assignments (2001::/23: Teredo, benchmarking, ORCHID); documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: Guard = Guard { allow_private: false };
    const OPEN: Guard = Guard { allow_private: true };

    #[test]
    fn special_ranges_are_not_public_to_their_last_address() {
        for special in [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            // Metadata services of Azure, Alibaba, Oracle, AWS and Google, and of some over IPv6.
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::808:808",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:0:7f00:1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b::168.63.129.16",
            "::ffff:168.63.129.16",
            "2002:a83f:8110::1",
            "2606:4700::5efe:10.0.0.1",
            "2606:4700::200:5efe:169.254.169.254",
            "64:ff9b:1::808:808",
            "100::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "5f00::1",
            "2001::1",
            "2001:0:808:808::1",
            "2001:2::1",
            "2001:10::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "3fff::1",
            "3fff:fff::1",
        ] {
            assert!(!is_public(special.parse().expect("an address")), "{special}");
        }
    }

    #[test]
    fn what_stands_next_to_them_is_public() {
        for public in [
            "1.0.0.0",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "168.63.129.15",
            "168.63.129.17",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2002:808:808::1",
            "2606:4700::1111",
            "2606:4700::5efe:8.8.8.8",
            "3ffe::1",
            "3fff:1000::1",
            "2a00::1",
        ] {
            assert!(is_public(public.parse().expect("an address")), "{public}");
        }
    }

    #[test]
    fn odd_spellings_of_an_address_are_the_address() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.1/",
            "http://017700000001/",
            "http://0177.0.0.1/",
            "http://127.0.0.1./",
            "http://%31%32%37.0.0.1/",
            "http://１２７.0.0.1/",
            "http://0/",
            "http://[::1]:8080/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "https://[0:0:0:0:0:0:0:1]/",
            "http://192.168.1",
            "http:127.0.0.1",
            "http:\\\\127.0.0.1\\x",
        ] {
            assert!(CLOSED.parse(url).is_err_and(|error| error.contains("public")), "{url}");
            assert!(OPEN.parse(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn other_urls_are_refused_whatever_is_allowed() {
        let long = format!("https://example.com/{}", "x".repeat(MAX_WEBHOOK_URL));
        for url in [
            "",
            "example.com/x",
            "ftp://example.com/",
            "file:///etc/passwd",
            "http://",
            "http:///",
            "http://a b.example/",
            " https://example.com",
            "https://example.com/\n",
            "https://ann@example.com/",
            "https://ann:pw@example.com/",
            "https://:pw@example.com/",
            "https://example.com/#x",
            "http://[fe80::1%25eth0]/",
            "http://[fe80::1%eth0]/",
            "http://256.0.0.1/",
            "http://1.2.3.4.5/",
            "javascript:alert(1)",
            "http://ex ample/",
            &long,
        ] {
            assert!(OPEN.parse(url).is_err(), "{url}");
        }
        for url in [
            "https://example.com",
            "http://example.com:1/x?y=z",
            "https://8.8.8.8/",
            "https://bücher.example/",
        ] {
            assert!(CLOSED.parse(url).is_ok(), "{url}");
        }
    }

    #[tokio::test]
    async fn names_are_checked_by_the_addresses_they_resolve_to() {
        let resolve = |guard: Guard| async move {
            let found = guard.resolve("localhost".parse().expect("a name")).await;
            found.map(|addrs| addrs.count()).map_err(|error| error.to_string())
        };
        assert!(resolve(CLOSED).await.is_err_and(|error| error.contains("WEBHOOK_ALLOW_PRIVATE")));
        assert!(resolve(OPEN).await.is_ok_and(|addresses| addresses > 0));
        let url = CLOSED.parse("http://localhost:1/").expect("a URL");
        assert!(CLOSED.check_name(&url, Duration::from_secs(30)).await.is_err());
        assert!(OPEN.check_name(&url, Duration::from_secs(30)).await.is_ok());
    }

    #[test]
    fn the_public_addresses_of_a_mixed_name_remain() {
        let addrs = |ips: &[&str]| -> Vec<SocketAddr> {
            ips.iter().map(|ip| SocketAddr::new(ip.parse().expect("an address"), 0)).collect()
        };
        assert_eq!(CLOSED.public_of(addrs(&["10.0.0.1", "8.8.8.8"])), Ok(addrs(&["8.8.8.8"])));
        assert!(CLOSED.public_of(addrs(&["10.0.0.1", "::1"])).is_err());
        assert_eq!(OPEN.public_of(addrs(&["10.0.0.1"])), Ok(addrs(&["10.0.0.1"])));
    }
}
