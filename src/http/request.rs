//! The context of one request: its caller, its route, its permits.
//!
//! Invariants: a request is active from the time when its body has arrived until its response is written, so
//! a client that sends slowly uses no permit. A request that only waits is not active.

use std::sync::{Arc, OnceLock};

use axum::extract::{FromRef, FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request};
use parking_lot::Mutex;

use super::peer::Peer;
use super::problem::Problem;
use super::request_id::RequestId;
use super::shares::{Client, Permit, Pool};
use crate::access::Principal;
use crate::message::TraceContext;
use crate::services::{Error, Services};

/// The context of a request. Clones share it.
#[derive(Clone)]
pub(super) struct RequestContext(Arc<Inner>);

struct Inner {
    id: RequestId,
    principal: Principal,
    client: Arc<Client>,
    peer: Arc<Peer>,
    route: OnceLock<Route>,
    permits: Mutex<Permits>,
    trace: Option<Arc<TraceContext>>,
}

#[derive(Default)]
struct Permits {
    active: Option<Permit>,
    response: Option<Permit>,
}

/// The route of a request, as named in metrics and the access log.
pub(super) enum Route {
    /// A route that is known without the router.
    Static(&'static str),
    /// The route that the router has matched.
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

/// The services and the context of a request, as handlers extract them.
pub(super) struct Call {
    pub(super) services: Services,
    pub(super) context: RequestContext,
}

impl<S: Sync> FromRequestParts<S> for Call
where
    Services: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let context = RequestContext::from_request_parts(parts, state).await?;
        Ok(Self { services: Services::from_ref(state), context })
    }
}

impl RequestContext {
    /// The context of an admitted request.
    pub(super) fn new(
        peer: &Arc<Peer>,
        headers: &HeaderMap,
        principal: Principal,
        id: RequestId,
        trace: Option<Arc<TraceContext>>,
    ) -> Self {
        let mut client = peer.client(headers);
        if let Some(identity) = principal.identity() {
            client = client.with_key(&identity);
        }
        let peer = Arc::clone(peer);
        let (route, permits) = (OnceLock::new(), Mutex::default());
        Self(Arc::new(Inner { id, principal, client, peer, route, permits, trace }))
    }

    /// The id of the request.
    pub(super) fn id(&self) -> &RequestId {
        &self.0.id
    }

    /// The caller.
    pub(super) fn principal(&self) -> &Principal {
        &self.0.principal
    }

    /// The trace that what the request causes belongs to.
    pub(super) fn trace(&self) -> Option<Arc<TraceContext>> {
        self.0.trace.clone()
    }

    /// The request's route; `None` before routing.
    pub(super) fn route(&self) -> Option<&Route> {
        self.0.route.get()
    }

    /// Sets the route. If the route is `limited`, the request becomes active: now, or, if its body has
    /// not arrived yet, in [`RequestBody::read`](super::body::RequestBody::read).
    ///
    /// # Errors
    /// The errors of [`Self::activate`].
    pub(super) fn enter<B: hyper::body::Body>(
        &self,
        route: Option<Route>,
        limited: bool,
        request: &Request<B>,
    ) -> Result<(), Problem> {
        let _ = self.0.route.set(route.unwrap_or(Route::Static("unmatched")));
        // The body of a request with a safe method is not read.
        if limited && (request.method().is_safe() || request.body().is_end_stream()) {
            return self.activate();
        }
        Ok(())
    }

    /// Makes the request active until its response is written.
    ///
    /// # Errors
    /// 503 when too many are active, or when the client leaves too many responses unread.
    pub(super) fn activate(&self) -> Result<(), Problem> {
        self.0.client.within_share(Pool::Responses)?;
        let mut permits = self.0.permits.lock();
        if permits.active.is_none() {
            permits.active = Some(self.0.client.take(Pool::Requests, 1)?);
        }
        Ok(())
    }

    /// Ends the active time: from now on the request only waits.
    pub(super) fn deactivate(&self) {
        self.0.permits.lock().active = None;
    }

    /// A permit for bytes of the request's body.
    ///
    /// # Errors
    /// 503 when the pool of request bodies is used up.
    pub(super) fn body_permit(&self, bytes: usize) -> Result<Permit, Problem> {
        Ok(self.0.client.take(Pool::Bodies, bytes)?)
    }

    /// Counts bytes of the response until they are written.
    ///
    /// # Errors
    /// 503 when the pool of responses is used up.
    pub(super) fn reserve_response(&self, bytes: usize) -> Result<(), Problem> {
        let mut permits = self.0.permits.lock();
        match &mut permits.response {
            Some(reserved) if reserved.covers(bytes) => reserved.shrink(bytes),
            _ => permits.response = Some(self.0.client.take(Pool::Responses, bytes)?),
        }
        Ok(())
    }

    /// Counts bytes of a response that must be sent, even beyond the limit.
    pub(super) fn force_response(&self, bytes: usize) {
        self.0.permits.lock().response = Some(self.0.client.force(Pool::Responses, bytes));
    }

    /// Checks that a response of this size could be reserved now.
    ///
    /// # Errors
    /// 503 if the pool of responses has too little left.
    pub(super) fn check_response(&self, bytes: usize) -> Result<(), Problem> {
        Ok(self.0.client.has_free(Pool::Responses, bytes)?)
    }

    /// A permit to wait for the reply to a message.
    ///
    /// # Errors
    /// 503 when too many requests wait.
    pub(super) fn reply_permit(&self) -> Result<Permit, Problem> {
        Ok(self.0.client.take(Pool::Replies, 1)?)
    }

    /// A permit for a stream, or for waiting for messages or jobs. The request is no longer active.
    ///
    /// # Errors
    /// 503 when there are too many streams and waiting requests.
    pub(super) fn wait_permit(&self) -> Result<WaitPermit, Problem> {
        let Inner { client, peer, .. } = &*self.0;
        let permit = client.take(Pool::Streams, 1)?;
        self.deactivate();
        let is_disowned = client.is_loopback() || client.is_key();
        if is_disowned {
            peer.disown_connection();
        }
        Ok(WaitPermit { peer: Arc::clone(peer), _permit: permit, is_disowned })
    }
}

/// The permit of a stream, or of a request that waits for messages or jobs. Requests from loopback count against no
/// address, since all programs of the machine, and all clients of a local proxy, have the same one. Those with a key
/// count against the key, and their connections against no address.
pub(super) struct WaitPermit {
    peer: Arc<Peer>,
    _permit: Permit,
    is_disowned: bool,
}

impl Drop for WaitPermit {
    fn drop(&mut self) {
        if self.is_disowned {
            self.peer.own_connection();
        }
    }
}
