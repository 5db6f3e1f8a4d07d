//! What stands around every route: the `Host` check, cross-origin rules, the
//! overload limit, panics, and what is counted.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::OwnedSemaphorePermit;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::Shared;
use super::problem::Problem;
use crate::config::{HostRule, HttpConfig};

/// Refuses a request whose `Host` is not ours: a page of another origin can
/// point its own name at our address (DNS rebinding), but not change the name.
pub(super) async fn check_host(
    State(rule): State<Arc<HostRule>>,
    request: Request,
    next: Next,
) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    let named = request
        .uri()
        .authority()
        .map(|authority| authority.as_str())
        .or_else(|| host?.to_str().ok());
    // With two of them, a proxy before us may have gone by the other one.
    if another.is_none() && named.is_some_and(|host| rule.allows(host)) {
        return next.run(request).await;
    }
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "unknown_host",
        "the Host of this request is not a name of this server; see PUBLIC_HOST",
    )
    .into_response()
}

/// Lets the configured origins call from browsers; none by default.
pub(super) fn cross_origin(router: Router, config: &HttpConfig) -> Router {
    if config.cors_origins.is_empty() {
        return router;
    }
    let origins = if config.cors_origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let listed = config.cors_origins.iter().filter_map(|o| HeaderValue::from_str(o).ok());
        AllowOrigin::list(listed)
    };
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::CONTENT_TYPE,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
        ])
        .expose_headers([header::LOCATION, header::RETRY_AFTER]);
    router.layer(layer)
}

/// Answers at once when more is at work than can be done.
pub(super) async fn limit_requests(
    State(api): State<Shared>,
    mut request: Request,
    next: Next,
) -> Response {
    let Ok(place) = Arc::clone(&api.requests).try_acquire_owned() else {
        metrics::counter!("agentbus_http_overloaded_total").increment(1);
        return Problem::overloaded("more requests at once than this server works on")
            .into_response();
    };
    let slot = Slot(Arc::new(Mutex::new(Some(place))));
    request.extensions_mut().insert(slot.clone());
    let response = next.run(request).await;
    slot.release();
    response
}

/// A request's place among those at work.
#[derive(Clone, Debug)]
pub(super) struct Slot(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Slot {
    /// Gives the place up: from now on the request only waits.
    pub fn release(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Counts and times requests by route.
pub(super) async fn observe(request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let method = known_method(request.method());
    let begun = Instant::now();
    let response = next.run(request).await;
    let status = response.status();
    let labels = [
        ("route", route.clone()),
        ("method", method.to_owned()),
        ("status", status.as_str().to_owned()),
    ];
    metrics::counter!("agentbus_http_requests_total", &labels).increment(1);
    metrics::histogram!("agentbus_http_request_seconds", "route" => route.clone())
        .record(begun.elapsed().as_secs_f64());
    tracing::debug!(method, route, status = status.as_u16(), elapsed = ?begun.elapsed(), "request");
    response
}

/// The method as a label; a client may invent others without end.
fn known_method(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// A handler that panicked costs one answer.
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let detail = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(detail, "a handler panicked");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "an error inside the server")
        .into_response()
}
