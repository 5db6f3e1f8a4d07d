//! Whether an address stays on this machine.

use std::net::IpAddr;

/// Whether a host name or address leads to this machine, so that no other machine can read the traffic.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}
