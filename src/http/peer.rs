//! The peer of a connection, and the clients that its requests count against.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::HeaderMap;

use super::shares::{Client, Permit, Pool, Refused, Shares};

/// The peer of a connection: a client, or a trusted proxy of many clients.
pub(super) struct Peer {
    client: Arc<Client>,
    /// Only for a proxy: finds the clients that its headers name.
    proxy: Option<Arc<Shares>>,
    /// The permit of the connection; `None` for a proxy, whose connections many clients share.
    connection: Option<Permit>,
    /// Requests that want the connection not to be counted against the client.
    disowners: AtomicUsize,
}

impl Peer {
    /// Admits a connection from this address.
    ///
    /// # Errors
    /// The client has more than its share of the connections.
    pub(super) fn admit(shares: &Arc<Shares>, ip: IpAddr) -> Result<Arc<Self>, Refused> {
        let client = shares.client(ip);
        let proxy = shares.trusts(ip).then(|| Arc::clone(shares));
        let connection = match &proxy {
            Some(_) => None,
            None => Some(client.take(Pool::Connections, 1)?),
        };
        Ok(Arc::new(Self { client, proxy, connection, disowners: AtomicUsize::new(0) }))
    }

    /// The client that a request counts against.
    pub(super) fn client(&self, headers: &HeaderMap) -> Arc<Client> {
        match &self.proxy {
            Some(shares) => shares.forwarded(headers),
            None => Arc::clone(&self.client),
        }
    }

    /// Stops counting the connection against this client; the pool still counts it. Of several requests at once on the
    /// connection, the first one does so.
    pub(super) fn disown_connection(&self) {
        if self.disowners.fetch_add(1, Ordering::Relaxed) == 0
            && let Some(connection) = &self.connection
        {
            connection.disown();
        }
    }

    /// Counts the connection against this client again, once no request of it wants otherwise.
    pub(super) fn own_connection(&self) {
        if self.disowners.fetch_sub(1, Ordering::Relaxed) == 1
            && let Some(connection) = &self.connection
        {
            connection.own();
        }
    }
}
