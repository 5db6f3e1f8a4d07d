//! Admission of requests by `Host` and `Origin`, and the cross-origin rules.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::problem::Problem;
use super::request_id::RequestId;
use crate::access::Principal;
use crate::config::{HostRule, HttpConfig, OriginRule};

/// Which hosts a request may name, and which origins may send requests.
pub(super) struct Admission {
    hosts: HostRule,
    origins: OriginRule,
    anonymous: Principal,
}

impl Admission {
    pub(super) fn new(config: &HttpConfig) -> Self {
        let (hosts, origins) = (config.hosts.clone(), config.origins.clone());
        Self { hosts, origins, anonymous: Principal::anonymous() }
    }

    /// Returns the caller of an allowed request. Refuses a `Host` that is not a name of this server: a
    /// page of another origin can point its own name at this address (DNS rebinding), but it cannot
    /// change the name in the request. Also refuses a change that a page of an origin without permission
    /// sends.
    ///
    /// 421 for the host, 403 for the origin; the host is checked first (contract, section 11).
    pub(super) fn admit<B>(&self, request: &Request<B>) -> Result<Principal, Problem> {
        let named = host(request).filter(|host| self.hosts.allows(host));
        let host = named.ok_or_else(unknown_host)?;
        if request.method().is_safe() || self.origins.allows(host, request.headers()) {
            return Ok(self.anonymous.clone());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden_origin",
            "a page of another site may not do this; see CORS_ORIGINS and PUBLIC_URL",
        ))
    }
}

/// The host of a request, if it names exactly one.
fn host<B>(request: &Request<B>) -> Option<&str> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() {
        // A proxy in front of this server may have routed by the other host.
        return None;
    }
    match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => host?.to_str().ok(),
    }
}

fn unknown_host() -> Problem {
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "unknown_host",
        "the Host of this request is not a name of this server; see PUBLIC_HOST",
    )
}

/// Adds the CORS headers that let the configured origins call from browsers.
pub(super) fn cross_origin(router: Router, origins: &OriginRule) -> Router {
    if origins.is_empty() {
        return router;
    }
    let allowed = if origins.any() {
        AllowOrigin::any()
    } else {
        let listed = origins.listed().filter_map(|origin| HeaderValue::from_str(origin).ok());
        AllowOrigin::list(listed)
    };
    router.layer(
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
            .allow_headers([
                header::CONTENT_TYPE,
                HeaderName::from_static("idempotency-key"),
                HeaderName::from_static("last-event-id"),
                RequestId::HEADER,
            ])
            .expose_headers([header::LOCATION, header::RETRY_AFTER, RequestId::HEADER]),
    )
}
