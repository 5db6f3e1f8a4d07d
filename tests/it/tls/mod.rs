//! TLS and HTTP/2 of the listener (contract, section 11).

mod browser;
mod certificates;
mod http2;
mod load;
mod probe;

use crate::support::Agentbus;
use crate::support::tls::Tls;

/// A server with TLS, and its authority.
async fn server() -> (Agentbus, Tls) {
    let tls = Tls::new();
    (tls.settings(Agentbus::builder().memory_sqlite()).start().await, tls)
}
