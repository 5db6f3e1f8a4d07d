//! TLS: of the connections that agentbus opens (`client`), and of those that it accepts (`server`).
//!
//! Invariant: all of it is rustls with ring, named where a configuration is built, so that no second provider can be
//! picked.

mod certificate;
mod client;
mod server;

pub use certificate::PemPair;
pub use client::{http_client, root_cause};
pub use server::{ALPN_HTTP2, TlsServer};
