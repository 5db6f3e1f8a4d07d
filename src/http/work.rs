//! One request, and what it uses of what is shared.
//!
//! Invariants: a request is counted among those at work once its body is there, so that a client which
//! sends slowly takes nobody's permit, and until its answer is written. While it only waits it is not at work.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::HeaderMap;
use parking_lot::{Mutex, MutexGuard};

use super::problem::Problem;
use super::shares::{Client, Permit, Pool, Refused, Shares};

/// Who is at the other end of a connection.
pub(super) struct Peer {
    client: Arc<Client>,
    /// A proxy that names its clients; `None` for one that is a client itself.
    proxy: Option<Arc<Shares>>,
    connection: Option<Permit>,
}

impl Peer {
    /// Lets a connection in.
    ///
    /// # Errors
    /// This client has more than its share of the connections.
    pub(super) fn admit(shares: &Arc<Shares>, ip: IpAddr) -> Result<Arc<Self>, Refused> {
        let client = shares.client(ip);
        let proxy = shares.trusts(ip).then(|| Arc::clone(shares));
        let connection = match &proxy {
            Some(_) => None,
            None => Some(client.take(Pool::Connections, 1)?),
        };
        Ok(Arc::new(Self { client, proxy, connection }))
    }

    /// Its connection is not counted as this client's for a while; the pool counts it still.
    fn set_aside(&self) {
        if let Some(connection) = &self.connection {
            connection.disown();
        }
    }

    fn count_again(&self) {
        if let Some(connection) = &self.connection {
            connection.own();
        }
    }

    /// Who sends a request.
    fn client(&self, headers: &HeaderMap) -> Arc<Client> {
        match &self.proxy {
            Some(shares) => shares.forwarded(headers),
            None => Arc::clone(&self.client),
        }
    }
}

/// A request's work. Clones are of the same.
#[derive(Clone)]
pub(super) struct Work(Arc<Inner>);

struct Inner {
    client: Arc<Client>,
    peer: Arc<Peer>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    request: Option<Permit>,
    answer: Option<Permit>,
}

impl Work {
    /// A request's that has come in.
    pub(super) fn new(peer: &Arc<Peer>, headers: &HeaderMap) -> Self {
        let (client, peer) = (peer.client(headers), Arc::clone(peer));
        Self(Arc::new(Inner { client, peer, held: Mutex::default() }))
    }

    /// The request is there, whole: it is at work until its answer is written.
    ///
    /// # Errors
    /// 503 when too much is, or when the client leaves too many answers unread.
    pub(super) fn begin(&self) -> Result<(), Problem> {
        self.0.client.within_share(Pool::Answers)?;
        let mut held = self.held();
        if held.request.is_none() {
            held.request = Some(self.0.client.take(Pool::Requests, 1)?);
        }
        Ok(())
    }

    /// Counts bytes of its body.
    ///
    /// # Errors
    /// 503 when all bodies together are too much.
    pub(super) fn body(&self, bytes: usize) -> Result<Permit, Problem> {
        Ok(self.0.client.take(Pool::Bodies, bytes)?)
    }

    /// Counts bytes of its answer until they are written.
    ///
    /// # Errors
    /// 503 when all answers together are too much.
    pub(super) fn answer(&self, bytes: usize) -> Result<(), Problem> {
        let mut held = self.held();
        match &mut held.answer {
            Some(counted) if counted.covers(bytes) => counted.shrink(bytes),
            _ => held.answer = Some(self.0.client.take(Pool::Answers, bytes)?),
        }
        Ok(())
    }

    /// Whether an answer of so many bytes could be given now.
    ///
    /// # Errors
    /// 503 when not.
    pub(super) fn could_answer(&self, bytes: usize) -> Result<(), Problem> {
        Ok(self.0.client.has_room(Pool::Answers, bytes)?)
    }

    /// Counts bytes of an answer that must be given, whatever is left for it.
    pub(super) fn must_answer(&self, bytes: usize) {
        self.held().answer = Some(self.0.client.force(Pool::Answers, bytes));
    }

    /// It will wait for a reply to what it sends.
    ///
    /// # Errors
    /// 503 when too many do.
    pub(super) fn wait_for_reply(&self) -> Result<Permit, Problem> {
        Ok(self.0.client.take(Pool::Replies, 1)?)
    }

    /// It only waits from here on: it is not at work.
    pub(super) fn pause(&self) {
        self.held().request = None;
    }

    /// It only waits from here on, for what anybody may send: it is not at work.
    ///
    /// # Errors
    /// 503 when too many do.
    pub(super) fn stand_by(&self) -> Result<StandBy, Problem> {
        let Inner { client, peer, .. } = &*self.0;
        let stream = match client.is_loopback() {
            true => None,
            false => Some(client.take(Pool::Streams, 1)?),
        };
        self.pause();
        if stream.is_none() {
            peer.set_aside();
        }
        Ok(StandBy { peer: Arc::clone(peer), stream })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock()
    }
}

/// A stream, or a request that waits for messages or jobs. Not counted by address on loopback, where one address is
/// every program, and every client of a proxy.
pub(super) struct StandBy {
    peer: Arc<Peer>,
    stream: Option<Permit>,
}

impl Drop for StandBy {
    fn drop(&mut self) {
        if self.stream.is_none() {
            self.peer.count_again();
        }
    }
}
