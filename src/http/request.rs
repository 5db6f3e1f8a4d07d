//! One request: its caller, its route, and the permits that it holds.
//!
//! Invariants: a request is active from when its body is there, so that a client which sends slowly takes nobody's
//! permit, until its response is written. While it only waits it is not active.

use std::sync::{Arc, OnceLock};

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request};
use parking_lot::Mutex;

use super::peer::Peer;
use super::problem::Problem;
use super::shares::{Client, Permit, Pool};
use crate::access::Principal;
use crate::services::Error;

/// The context of a request. Clones are of the same.
#[derive(Clone)]
pub(super) struct RequestContext(Arc<Inner>);

struct Inner {
    principal: Principal,
    client: Arc<Client>,
    peer: Arc<Peer>,
    route: OnceLock<Route>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    active: Option<Permit>,
    response: Option<Permit>,
}

/// The route of a request, as metrics and the access log name it.
pub(super) enum Route {
    /// Known without the router.
    Static(&'static str),
    /// What the router matched.
    Matched(MatchedPath),
}

impl Route {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Static(route) => route,
            Self::Matched(path) => path.as_str(),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let context = parts.extensions.get::<Self>().cloned();
        context.ok_or_else(|| Error::internal("a request without its context").into())
    }
}

impl RequestContext {
    /// The context of an admitted request.
    pub(super) fn new(peer: &Arc<Peer>, headers: &HeaderMap, principal: Principal) -> Self {
        let (client, peer) = (peer.client(headers), Arc::clone(peer));
        let (route, held) = (OnceLock::new(), Mutex::default());
        Self(Arc::new(Inner { principal, client, peer, route, held }))
    }

    /// On whose behalf it is made.
    pub(super) fn principal(&self) -> &Principal {
        &self.0.principal
    }

    /// Its route; `None` before it has met one.
    pub(super) fn route(&self) -> Option<&Route> {
        self.0.route.get()
    }

    /// It has met its route, if it has one. Where the route is `limited` it is active from now on, or, with a body
    /// that is still to come, once that is there.
    ///
    /// # Errors
    /// Those of [`Self::activate`].
    pub(super) fn enter<B: hyper::body::Body>(
        &self,
        route: Option<Route>,
        limited: bool,
        request: &Request<B>,
    ) -> Result<(), Problem> {
        let _ = self.0.route.set(route.unwrap_or(Route::Static("unmatched")));
        // The body of a safe method is not read.
        if limited && (request.method().is_safe() || request.body().is_end_stream()) {
            return self.activate();
        }
        Ok(())
    }

    /// The request is there, whole: it is active until its response is written.
    ///
    /// # Errors
    /// 503 when too many are, or when the client leaves too many responses unread.
    pub(super) fn activate(&self) -> Result<(), Problem> {
        self.0.client.within_share(Pool::Answers)?;
        let mut held = self.0.held.lock();
        if held.active.is_none() {
            held.active = Some(self.0.client.take(Pool::Requests, 1)?);
        }
        Ok(())
    }

    /// It only waits from here on: it is not active.
    pub(super) fn deactivate(&self) {
        self.0.held.lock().active = None;
    }

    /// A permit for bytes of its body.
    ///
    /// # Errors
    /// 503 when all bodies together are too much.
    pub(super) fn body_permit(&self, bytes: usize) -> Result<Permit, Problem> {
        Ok(self.0.client.take(Pool::Bodies, bytes)?)
    }

    /// Counts bytes of its response until they are written.
    ///
    /// # Errors
    /// 503 when all responses together are too much.
    pub(super) fn reserve_response(&self, bytes: usize) -> Result<(), Problem> {
        let mut held = self.0.held.lock();
        match &mut held.response {
            Some(reserved) if reserved.covers(bytes) => reserved.shrink(bytes),
            _ => held.response = Some(self.0.client.take(Pool::Answers, bytes)?),
        }
        Ok(())
    }

    /// Counts bytes of a response that must be sent, even beyond the limit.
    pub(super) fn force_response(&self, bytes: usize) {
        self.0.held.lock().response = Some(self.0.client.force(Pool::Answers, bytes));
    }

    /// Whether a response of this size could be reserved now.
    ///
    /// # Errors
    /// 503 when not.
    pub(super) fn check_response(&self, bytes: usize) -> Result<(), Problem> {
        Ok(self.0.client.has_room(Pool::Answers, bytes)?)
    }

    /// A permit to wait for a reply to what it sends.
    ///
    /// # Errors
    /// 503 when too many do.
    pub(super) fn reply_permit(&self) -> Result<Permit, Problem> {
        Ok(self.0.client.take(Pool::Replies, 1)?)
    }

    /// A permit to wait for what anybody may send. The request is not active from here on.
    ///
    /// # Errors
    /// 503 when too many do.
    pub(super) fn wait_permit(&self) -> Result<WaitPermit, Problem> {
        let Inner { client, peer, .. } = &*self.0;
        let permit = match client.is_loopback() {
            true => None,
            false => Some(client.take(Pool::Streams, 1)?),
        };
        self.deactivate();
        if permit.is_none() {
            peer.disown_connection();
        }
        Ok(WaitPermit { peer: Arc::clone(peer), permit })
    }
}

/// Held by a stream, or a request that waits for messages or jobs. Not counted by address on loopback, where one
/// address is every program, and every client of a proxy.
pub(super) struct WaitPermit {
    peer: Arc<Peer>,
    permit: Option<Permit>,
}

impl Drop for WaitPermit {
    fn drop(&mut self) {
        if self.permit.is_none() {
            self.peer.own_connection();
        }
    }
}
