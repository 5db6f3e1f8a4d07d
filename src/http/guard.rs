//! What stands around every route: the `Host` and `Origin` checks, cross-origin rules, the
//! overload limit, panics, and what is counted.

use std::any::Any;
use std::collections::HashMap;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use metrics::{Counter, Histogram};
use parking_lot::RwLock;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_layer::Layer;
use tower_service::Service;

use super::problem::Problem;
use super::work::Work;
use crate::config::{HostRule, HttpConfig, OriginRule};

/// Whom requests are taken from.
#[derive(Clone)]
pub(super) struct Door {
    hosts: HostRule,
    origins: OriginRule,
}

impl Door {
    pub(super) fn new(config: &HttpConfig) -> Self {
        Self { hosts: config.hosts.clone(), origins: config.origins.clone() }
    }

    /// Refuses a request whose `Host` is not ours: a page of another origin can point its own name at our
    /// address (DNS rebinding), but not change the name. Then refuses what a page of another origin may send
    /// without asking first.
    ///
    /// # Errors
    /// 421 or 403.
    pub(super) fn admit<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        let named = host(request).filter(|host| self.hosts.allows(host));
        let host = named.ok_or_else(unknown_host)?;
        if request.method().is_safe() || self.origins.allows(host, request.headers()) {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden_origin",
            "a page of another site may not do this; see CORS_ORIGINS and PUBLIC_URL",
        ))
    }
}

/// The one host that a request names.
fn host<B>(request: &Request<B>) -> Option<&str> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() {
        // A proxy before us may have gone by the other one.
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

/// What every request goes through: is counted among those at work where there is a limit, is counted and
/// timed, and answered for when its handler panics. One layer, and one of our own: each of axum's
/// `from_fn` costs a request several allocations, and moves it.
#[derive(Clone, Default)]
pub(super) struct Around {
    counts: Arc<Counts>,
    /// Whether requests are counted among those at work; not where they must always be answered.
    limited: bool,
}

impl Around {
    /// The same, with the limit on requests at work.
    pub(super) fn limited(&self) -> Self {
        Self { limited: true, ..self.clone() }
    }

    /// Lets a request in. One whose body is still to come is at work once that is there.
    pub(super) fn enter<B>(
        &self,
        request: &Request<B>,
        work: Option<&Work>,
    ) -> (Entry, Result<(), Problem>)
    where
        B: hyper::body::Body,
    {
        let (method, is_safe) = (known_method(request.method()), request.method().is_safe());
        let entry = Entry { begun: Instant::now(), method, counts: Arc::clone(&self.counts) };
        let admitted = match work {
            // What a safe method comes with is not read.
            Some(work) if self.limited && (is_safe || request.body().is_end_stream()) => {
                work.begin()
            }
            _ => Ok(()),
        };
        (entry, admitted)
    }
}

/// A request that has come in.
pub(super) struct Entry {
    begun: Instant,
    method: &'static str,
    counts: Arc<Counts>,
}

impl Entry {
    /// Answers by `work`, or with the refusal, and counts the request for its route.
    pub(super) async fn answer<F>(
        self,
        route: impl AsRef<str>,
        work: Result<F, Problem>,
    ) -> Response
    where
        F: Future<Output = Response>,
    {
        let Self { begun, method, counts } = self;
        let response = match work {
            Ok(work) => AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(panicked),
            Err(refusal) => refusal.into_response(),
        };
        let (route, status, elapsed) = (route.as_ref(), response.status(), begun.elapsed());
        counts.count(route, method, status, elapsed);
        tracing::debug!(method, route, status = status.as_u16(), ?elapsed, "request");
        response
    }
}

impl<S> Layer<S> for Around {
    type Service = Surrounded<S>;

    fn layer(&self, inner: S) -> Surrounded<S> {
        Surrounded { inner, around: self.clone() }
    }
}

/// A route with [`Around`] around it.
#[derive(Clone)]
pub(super) struct Surrounded<S> {
    inner: S,
    around: Around,
}

impl<S> Service<Request> for Surrounded<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let route = Route(request.extensions().get::<MatchedPath>().cloned());
        let (entry, admitted) = self.around.enter(&request, request.extensions().get());
        let work = admitted.map(|()| self.inner.call(request).map(|Ok(response)| response));
        entry.answer(route, work).map(Ok).boxed()
    }
}

/// The route of a request, as metrics name it.
struct Route(Option<MatchedPath>);

impl AsRef<str> for Route {
    fn as_ref(&self) -> &str {
        self.0.as_ref().map_or("unmatched", MatchedPath::as_str)
    }
}

/// Lets the configured origins call from browsers.
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
            ])
            .expose_headers([header::LOCATION, header::RETRY_AFTER]),
    )
}

/// Counts and times requests by route, through handles that are looked up once each: a label
/// is text, and a look-up by labels costs more than the rest of the layer.
#[derive(Default)]
pub(super) struct Counts(RwLock<HashMap<String, RouteCounts>>);

struct RouteCounts {
    seconds: Histogram,
    /// By method and status: a handful.
    answers: Vec<(&'static str, StatusCode, Counter)>,
}

impl RouteCounts {
    fn new(route: &str) -> Self {
        let seconds =
            metrics::histogram!("agentbus_http_request_seconds", "route" => route.to_owned());
        Self { seconds, answers: Vec::new() }
    }

    fn answer(&self, method: &str, status: StatusCode) -> Option<&Counter> {
        let same = |known: &&(&str, StatusCode, Counter)| known.0 == method && known.1 == status;
        self.answers.iter().find(same).map(|(_, _, counter)| counter)
    }
}

impl Counts {
    fn count(&self, route: &str, method: &'static str, status: StatusCode, elapsed: Duration) {
        let known = self.0.read();
        if let Some(counts) = known.get(route)
            && let Some(counter) = counts.answer(method, status)
        {
            counter.increment(1);
            counts.seconds.record(elapsed.as_secs_f64());
            return;
        }
        drop(known);
        let mut known = self.0.write();
        let counts = known.entry(route.to_owned()).or_insert_with(|| RouteCounts::new(route));
        counts.seconds.record(elapsed.as_secs_f64());
        let labels = [
            ("route", route.to_owned()),
            ("method", method.to_owned()),
            ("status", status.as_str().to_owned()),
        ];
        let counter = metrics::counter!("agentbus_http_requests_total", &labels);
        counter.increment(1);
        // Another request may have added it meanwhile.
        if counts.answer(method, status).is_none() {
            counts.answers.push((method, status, counter));
        }
    }
}

/// The method as a label; a client may invent others without end.
fn known_method(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// A handler that panicked costs one answer.
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let detail = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    Problem::internal(&format!("a handler panicked: {detail}")).into_response()
}
