//! Handles a request, from admission to the end of the response.
//!
//! Invariants: every request passes the same admission. Every response is counted and logged in one place, and
//! counts against its client until it is written. A client that leaves before gets none. Most requests post one message. They skip the
//! router, whose boxed layers, futures and bodies cost more than the handler; nothing else is different for
//! them.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};
use futures_util::future::BoxFuture;
use hyper::Request;
use hyper::body::Incoming;
use tower_service::Service as _;
use tracing::Instrument as _;

use super::admission::{Admission, cross_origin};
use super::body::RequestBody;
use super::messages;
use super::metering::{AccessLine, Metering, known_method};
use super::peer::Peer;
use super::problem::{self, Problem};
use super::request::{RequestContext, Route};
use super::request_id::RequestId;
use super::request_trace::RequestTrace;
use super::response_body::CountedBody;
use super::route_layer;
use super::stream::{unavailable, wants_events};
use crate::config::HttpConfig;
use crate::services::Services;
use crate::services::calls::Call;

/// Serves requests: admits and meters them, and calls the handler of their route.
pub struct App {
    admission: Admission,
    metering: Metering,
    routes: Router,
    /// Responds to refused requests with the headers that pages of other origins need to read the refusal; `None` if
    /// there are no such origins.
    refusals: Option<Router>,
    /// The services for `POST /v1/messages` without the router, if the shortcut is on.
    shortcut: Option<Services>,
}

impl App {
    /// An app with these routes.
    pub(super) fn new(config: &HttpConfig, routes: Router, services: Option<Services>) -> Self {
        let refusals = (!config.origins.is_empty())
            .then(|| cross_origin(Router::new().fallback(refused), &config.origins));
        Self {
            admission: Admission::new(config, services),
            metering: Metering::new(config.access_log),
            routes,
            refusals,
            shortcut: None,
        }
    }

    /// Lets every request in, whatever its credential.
    pub(super) fn open(self) -> Self {
        Self { admission: self.admission.open(), ..self }
    }

    /// Makes `POST /v1/messages` skip the router.
    pub(super) fn with_shortcut(self, services: Services) -> Self {
        Self { shortcut: Some(services), ..self }
    }

    /// Serves one request. The future is boxed, since hyper reserves its size in every connection, idle
    /// ones too.
    pub(super) fn answer<'a>(
        &'a self,
        request: Request<Incoming>,
        peer: &'a Arc<Peer>,
    ) -> BoxFuture<'a, Response<CountedBody>> {
        Box::pin(async move {
            let (begun, id) = (Instant::now(), RequestId::of(request.headers()));
            let (method, events) = (request.method().clone(), wants_events(&request));
            let trace = RequestTrace::begin(&request);
            let span =
                tracing::debug_span!("request", request_id = %id, method = known_method(&method));
            let (mut response, context) = match self.admission.admit(&request, peer).await {
                Ok(principal) => {
                    let caused = trace.context().cloned();
                    let headers = request.headers();
                    let context = RequestContext::new(peer, headers, principal, id.clone(), caused);
                    let response = self.dispatch(request, &context).instrument(span).await;
                    (response, Some(context))
                }
                Err(problem) => {
                    let cookie = self.admission.stale_cookie(&request, &problem);
                    let mut response = self.refuse(request, problem).await;
                    let cookie = cookie.map(|cookie| (header::SET_COOKIE, cookie));
                    response.headers_mut().extend(cookie);
                    (response, None)
                }
            };
            let route = context.as_ref().map_or(Some("refused"), |c| c.route().map(Route::as_str));
            let mut status = response.status();
            if let (Some(context), Some(needs)) = (&context, problem::needs(&response)) {
                let route = route.unwrap_or_default();
                self.admission.record_denial(context.principal(), route, needs);
            }
            if events && is_temporary(response.status()) {
                response = unavailable(response, &id);
            }
            problem::finish(&mut response, &id, &method);
            if let Some(context) = &context
                && let Err(refusal) = CountedBody::reserve(&response, context, method.is_safe())
            {
                response = refusal.into_response();
                status = response.status();
                problem::finish(&mut response, &id, &method);
            }
            self.metering.count(route, &method, status, begun.elapsed());
            response.headers_mut().insert(RequestId::HEADER, id.to_header());
            let key = context.as_ref().and_then(|c| c.principal().key()).map(|key| key.id.as_str());
            let trace_id = trace.context().map(|trace| trace.trace_id());
            let line = AccessLine { route, method: &method, status, id: &id, key, trace_id };
            self.metering.log(&line, response.body(), begun.elapsed());
            trace.end(route, &method, status, &id, key);
            response.map(|body| CountedBody::new(body, context))
        })
    }

    /// The response to a request that was not admitted.
    async fn refuse(&self, mut request: Request<Incoming>, problem: Problem) -> Response {
        let Some(refusals) = &self.refusals else { return problem.into_response() };
        request.extensions_mut().insert(problem);
        match refusals.clone().call(request.map(Body::new)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    async fn dispatch(&self, mut request: Request<Incoming>, context: &RequestContext) -> Response {
        if let Some(services) = &self.shortcut
            && request.method() == Method::POST
            && request.uri().path() == messages::PATH
        {
            let entered = context.enter(Some(Route::Static(messages::PATH)), true, &request);
            let entered = entered.and_then(|()| route_layer::check(Some(Call::Publish), context));
            return route_layer::respond(entered.map(|()| async {
                let (parts, body) = request.into_parts();
                let body = RequestBody::new(parts.headers, body, context.clone());
                messages::publish(services, parts.uri.query(), body).await.into_response()
            }))
            .await;
        }
        request.extensions_mut().insert(context.clone());
        match self.routes.clone().call(request.map(Body::new)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Responds with the refusal of a request.
async fn refused(Extension(problem): Extension<Problem>) -> Problem {
    problem
}

/// Whether a client should repeat a request that got this status.
fn is_temporary(status: StatusCode) -> bool {
    matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
}
