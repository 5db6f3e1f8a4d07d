//! Admission of requests: by `Host`, `Origin` and credential, in this order; and the cross-origin rules.
//!
//! Invariant: with `AUTH=required` a request without a valid credential reaches nothing but the open paths: the console's
//! files, liveness, plain readiness, preflights, `/.well-known/`.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::cookie::SessionCookie;
use super::peer::Peer;
use super::problem::Problem;
use super::request_id::RequestId;
use super::{console, stream};
use crate::access::Principal;
use crate::config::{HostRule, HttpConfig, OriginRule};
use crate::services::auth::Credential;
use crate::services::{Code, Services};

/// Which hosts a request may name, which origins may send requests, and who the caller is.
pub(super) struct Admission {
    hosts: HostRule,
    origins: OriginRule,
    cookie: SessionCookie,
    /// `None` while the server starts: no route needs a caller then.
    services: Option<Services>,
    /// Whether every request is let in: on the listener of `METRICS_ADDR`.
    is_open: bool,
}

impl Admission {
    pub(super) fn new(config: &HttpConfig, services: Option<Services>) -> Self {
        Self {
            hosts: config.hosts.clone(),
            origins: config.origins.clone(),
            cookie: SessionCookie { is_secure: config.is_public_tls },
            services,
            is_open: false,
        }
    }

    /// Lets every request in as the operator's.
    pub(super) fn open(self) -> Self {
        Self { is_open: true, ..self }
    }

    /// Returns the caller of an allowed request. Refuses a `Host` that is not a name of this server: a
    /// page of another origin can point its own name at this address (DNS rebinding), but it cannot
    /// change the name in the request. Also refuses a change that a page of an origin without permission
    /// sends.
    ///
    /// 421 for the host, 403 for the origin, 401 and 429 for the credential, in this order (contract, section 11).
    pub(super) async fn admit<B>(
        &self,
        request: &Request<B>,
        peer: &Peer,
    ) -> Result<Principal, Problem> {
        let named = host(request).filter(|host| self.hosts.allows(host));
        let host = named.ok_or_else(unknown_host)?;
        let is_ours = self.origins.allows(host, request.headers());
        let credential = self.credential(request, is_ours);
        // A page must know a key to send one, so `CORS_ORIGINS=*` lets it.
        let is_keyed = self.origins.any() && matches!(credential, Credential::Key(_));
        if !is_ours && !is_keyed && !request.method().is_safe() {
            return Err(Problem::new(
                Code::ForbiddenOrigin,
                "a page of another site may not do this; see CORS_ORIGINS and PUBLIC_URL",
            ));
        }
        if self.is_open {
            return Ok(Principal::operator());
        }
        let Some(services) = &self.services else { return Ok(Principal::without_grants()) };
        if let Some(principal) = open_caller(request, credential, services.auth.is_required()) {
            return Ok(principal);
        }
        let address = || peer.client(request.headers()).address();
        Ok(services.auth.authenticate(credential, address).await?)
    }

    /// Records in the audit log that the caller lacks a grant for a route.
    pub(super) fn record_denial(&self, principal: &Principal, route: &str, needs: &str) {
        if let Some(services) = &self.services {
            services.auth.record_denial(principal, route, needs);
        }
    }

    /// Removes the cookie of a session that was refused. Scripts cannot remove it, and with `AUTH=off` a request without
    /// it is let in.
    pub(super) fn stale_cookie<B>(
        &self,
        request: &Request<B>,
        refusal: &Problem,
    ) -> Option<HeaderValue> {
        let is_ours = self.origins.allows(host(request)?, request.headers());
        let is_session = matches!(self.credential(request, is_ours), Credential::Session(_));
        let is_refused = is_session && refusal.status() == StatusCode::UNAUTHORIZED;
        is_refused.then(|| self.cookie.clear()).flatten()
    }

    /// The credential of a request. A cookie counts only for pages that may send requests: a browser adds it by
    /// itself.
    fn credential<'a, B>(&self, request: &'a Request<B>, is_ours: bool) -> Credential<'a> {
        if let Some(ticket) = stream::ticket(request.uri()) {
            return Credential::Ticket(ticket);
        }
        match bearer(request.headers()) {
            Credential::Absent if is_ours => {
                let session = self.cookie.read(request.headers());
                session.map_or(Credential::Absent, Credential::Session)
            }
            credential => credential,
        }
    }
}

/// The key in `Authorization: Bearer` (RFC 6750).
fn bearer(headers: &HeaderMap) -> Credential<'_> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Credential::Absent };
    let parts = value.to_str().ok().and_then(|value| value.trim().split_once(' '));
    match (parts, values.next()) {
        (Some((scheme, key)), None) if scheme.eq_ignore_ascii_case("bearer") => {
            Credential::Key(key.trim())
        }
        _ => Credential::Malformed,
    }
}

/// The caller of a request that needs no credential. `None` if it needs one. Console and liveness are served whatever
/// the credential: a page must load with a cookie that has expired.
fn open_caller<B>(
    request: &Request<B>,
    credential: Credential<'_>,
    is_required: bool,
) -> Option<Principal> {
    let (method, path) = (request.method(), request.uri().path());
    let is_preflight = method == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let is_file = method.is_safe() && (path == "/livez" || console::has(path));
    let is_plain_readiness =
        method.is_safe() && path == "/readyz" && request.uri().query().is_none_or(str::is_empty);
    let is_well_known = method.is_safe() && path.starts_with("/.well-known/");
    let is_open = is_preflight
        || is_file
        || is_well_known
        || is_plain_readiness && credential == Credential::Absent;
    let open = || if is_required { Principal::without_grants() } else { Principal::anonymous() };
    is_open.then(open)
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
        // HTTP/2 names the host twice if a client sends both, and both must be the same (RFC 9113, section 8.3.1).
        Some(authority) if request.version() == Version::HTTP_2 => {
            host.is_none_or(|host| host == authority.as_str()).then_some(authority.as_str())
        }
        Some(authority) => Some(authority.as_str()),
        None => host?.to_str().ok(),
    }
}

fn unknown_host() -> Problem {
    Problem::new(
        Code::UnknownHost,
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
            // Cookies only for listed origins: with `*` browsers refuse them, too.
            .allow_credentials(!origins.any())
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
            .allow_headers([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                HeaderName::from_static("idempotency-key"),
                HeaderName::from_static("last-event-id"),
                RequestId::HEADER,
            ])
            .expose_headers([
                header::LOCATION,
                header::RETRY_AFTER,
                HeaderName::from_static("ratelimit"),
                RequestId::HEADER,
            ]),
    )
}
